//! When the stream cannot be gone on with, a second dump changes only what differs.

use std::collections::BTreeSet;

use crate::support::{SCHEMA, Servers, TABLES, assert_equal, wait_until};

/// Changes while no daemon and no slot sees them.
const CHANGES: &str = "UPDATE account SET version = version + 1 WHERE id IN (2, 3); DELETE FROM account WHERE id = 4;
    INSERT INTO account VALUES (0, 5), (21, 5); UPDATE part SET price = round(price, 1) WHERE number = 1;
    UPDATE part SET number = 1000 WHERE number = 100";

#[test]
fn a_redump_changes_only_what_differs() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    daemon.stop();
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    servers.execute(CHANGES);
    // Others' keys: beside the tables they stay, among the rows they go.
    let others =
        ["/copy", "/copy/", "/copy/account", "/copy/account0", "/copy/elsewhere/1", "/copyright"];
    for key in others {
        servers.put(key, "other");
    }
    servers.put("/copy/account/", "stray");
    servers.put("/copy/account/999", "stray");
    servers.put("/copy/account/5", "{}");
    let begin = servers.revision();

    let mut daemon = launch.start();
    let reason = daemon.await_line("Redumping: ");
    assert!(reason.contains("pg2etcd does not exist"), "{reason}");
    daemon.await_line("Dump finished");
    daemon.await_line("Resuming from ");
    let changed: BTreeSet<_> = servers
        .history("/copy", begin + 1)
        .events
        .into_iter()
        .map(|event| format!("{}{}", event.key, if event.value.is_some() { "" } else { " gone" }))
        .collect();
    let expected = [
        "/copy/account/ gone",
        "/copy/account/0",
        "/copy/account/2",
        "/copy/account/21",
        "/copy/account/3",
        "/copy/account/4 gone",
        "/copy/account/5",
        "/copy/account/999 gone",
        "/copy/part/a%2Fb%251/1",
        "/copy/part/a%2Fb%252/100 gone",
        "/copy/part/a%2Fb%252/1000",
    ];
    assert_eq!(changed, BTreeSet::from(expected.map(str::to_owned)));
    for key in others {
        assert_eq!(servers.keys(key).get(key).map(String::as_str), Some("other"), "{key}");
        servers.delete(key);
    }
    assert_equal(&servers, &TABLES);
}

#[test]
fn reasons_for_a_redump() {
    let servers = Servers::with(&["-c", "max_wal_size=32MB", "-c", "min_wal_size=32MB"]);
    servers.execute(SCHEMA);
    if servers.version() >= 13 {
        servers.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'");
        servers.execute("SELECT pg_reload_conf()");
    }
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    daemon.stop();
    let spoil: [(u32, &[&str], &str); 4] = [
        (10, &["DROP PUBLICATION pg2etcd"], "publication pg2etcd is gone"),
        (11, &["SELECT pg_replication_slot_advance('pg2etcd', pg_switch_wal())"], "past"),
        // The server drops WAL that the slot needs when a checkpoint finds too much of it.
        (
            13,
            &[
                "SELECT pg_switch_wal()",
                "UPDATE part SET price = price + 1",
                "SELECT pg_switch_wal()",
                "UPDATE part SET price = price + 1",
                "CHECKPOINT",
            ],
            "replication slot pg2etcd is lost",
        ),
        (
            10,
            &[
                "SELECT pg_drop_replication_slot('pg2etcd')",
                "SELECT pg_create_logical_replication_slot('pg2etcd', 'pgoutput')",
            ],
            "past",
        ),
    ];
    for (since, statements, reason) in spoil {
        if !servers.has(since, statements[0]) {
            continue;
        }
        servers.execute("INSERT INTO account SELECT max(id) + 1, 0 FROM account");
        statements.iter().for_each(|statement| servers.execute(statement));
        let mut daemon = launch.start();
        let line = daemon.await_line("Redumping: ");
        assert!(line.contains(reason), "{line}");
        assert_equal(&servers, &TABLES);
        assert_eq!(daemon.stop().matches("Redumping").count(), 1);
    }
}

#[test]
fn a_publication_that_goes_while_streaming() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    servers.execute("DROP PUBLICATION pg2etcd; UPDATE account SET version = version + 1");
    daemon.await_line("Redumping: ");
    daemon.await_lines("Dump finished", 2);
    assert_equal(&servers, &TABLES);
    wait_until("one stream", || servers.walsender().is_some());
}

#[test]
fn runs_of_keys_longer_than_what_is_read_at_once() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE many (key text PRIMARY KEY, version int NOT NULL);
         INSERT INTO many SELECT to_char(n, 'FM000000'), 0 FROM generate_series(1, 15000) n",
    );
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    daemon.stop();
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    // Rows at and around the ends of what is read at once change; a long run goes but for a few
    // rows; another comes.
    servers.execute(
        "UPDATE many SET version = 1 WHERE key::int % 500 IN (0, 1);
         DELETE FROM many WHERE key::int BETWEEN 4000 AND 12000 AND key::int % 3000 > 0;
         INSERT INTO many SELECT to_char(n, 'FM000000') || 'a', 2 FROM generate_series(12000, 18000) n",
    );
    let begin = servers.revision();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    daemon.await_line("Resuming from ");
    assert_equal(&servers, &["many"]);
    let (mut put, mut gone) = (0, 0);
    for event in servers.history("/copy/many/", begin + 1).events {
        *(if event.value.is_some() { &mut put } else { &mut gone }) += 1;
    }
    let changed = servers.value("SELECT count(*) FROM many WHERE version > 0");
    assert_eq!((Some(put.to_string()), gone), (changed, 8001 - 3));
}

//! Rows that have no key: what is said of them, and for how long.

use super::copy::{Copy, with_blocks};
use crate::support::{caught_up, wait_for};

const SCHEMA: &str = "CREATE TABLE host (id int PRIMARY KEY, name text, target text);
    ALTER TABLE host REPLICA IDENTITY FULL;
    CREATE TABLE zone (name text, id int, PRIMARY KEY (name, id));
    INSERT INTO host VALUES (1, NULL, 'a'), (2, 'b.c', 'b'), (3, '', 'c');
    INSERT INTO zone VALUES ('a.', 1), ('a..b', 2), ('ok', 3)";
const BLOCKS: &str =
    "[tables.host]\nkey = '/host/{id}/{name}'\n[tables.zone]\nkey = '/zone/{name:dns}/{id}'\n";
const ORACLE: &str = "SELECT '/host/' || id || '/' || name, row_to_json(host)::text FROM host WHERE name <> ''
    UNION ALL SELECT '/zone/' || name || '/' || id, row_to_json(zone)::text FROM zone WHERE name = 'ok'";

/// What `status` says of each table.
fn said(copy: &Copy) -> Vec<(String, String)> {
    let (status, json, _) = copy.launch.ask(&["status", "-j"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let tables = json["not_copied"].as_array().expect("a list");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut said: Vec<_> =
        tables.iter().map(|of| (text(&of["table"]), text(&of["reason"]))).collect();
    assert_eq!(status != 0, !said.is_empty(), "{said:?}");
    // TRUNCATE makes a new file, and the watch compares the table some time later.
    said.retain(|(_, reason)| !reason.starts_with("its storage changed: "));
    said
}

/// `status` is to say this of tables, at once.
#[track_caller]
fn says(copy: &Copy, expected: &[(&str, &str)]) {
    caught_up(&copy.servers);
    let said = said(copy);
    let matches = said.iter().zip(expected).all(|((table, reason), (of, begin))| {
        table == of && reason.starts_with(&format!("{begin}: "))
    });
    assert!(said.len() == expected.len() && matches, "{said:?}, and not {expected:?}");
}

#[test]
fn rows_without_a_key_are_said_until_they_have_one() {
    const TWO: &str = "2 rows have no key, the first of them";
    let mut copy = Copy::new(SCHEMA, BLOCKS, ORACLE);
    copy.launch = copy.launch.set("status.listen", "127.0.0.1:0");
    let mut daemon = copy.start();
    let pages = daemon.pages();
    copy.await_equal();
    let zones = format!("{TWO} a..b/2");
    let zone = ("public.zone", &zones[..]);
    says(&copy, &[("public.host", &format!("{TWO} 1")), zone]);
    pages.await_answer(
        "/readyz",
        Some("table=\"public.host\" not_copied=2 reason=\"2 rows have no key"),
    );
    pages.await_metric("pg2etcd_table_not_copied{table=\"public.zone\"}", |there| there == 1.0);
    let (_, text, _) = copy.launch.ask(&["status"]);
    let line = "not_copied           public.host: 2 rows have no key, the first of them 1: ";
    assert!(text.contains(line), "{text}");

    // In the stream, each in the txn of its change.
    copy.change(
        "UPDATE host SET target = 'again' WHERE id = 1; UPDATE host SET name = 'n' WHERE id = 3",
    );
    says(&copy, &[("public.host", "a row has no key, 1"), zone]);
    copy.change("UPDATE host SET id = 4 WHERE id = 1; UPDATE host SET name = NULL WHERE id = 2");
    says(&copy, &[("public.host", &format!("{TWO} 2")), zone]);
    copy.change("BEGIN; INSERT INTO host VALUES (9); DELETE FROM host WHERE id IN (4, 9); COMMIT");
    says(&copy, &[("public.host", "a row has no key, 2"), zone]);
    copy.change("INSERT INTO host SELECT n FROM generate_series(100, 1300) n");
    says(&copy, &[("public.host", "more than 1000 rows have no key, the first of them 100"), zone]);
    copy.change("UPDATE zone SET name = 'ok' WHERE id = 1; DELETE FROM zone WHERE id = 2");
    let more = "more than 1000 rows have no key, the first of them 100";
    says(&copy, &[("public.host", more)]);
    if !copy.servers.lacks(11, "TRUNCATE in the stream") {
        copy.change("BEGIN; INSERT INTO host VALUES (5); TRUNCATE host; INSERT INTO host VALUES (6); COMMIT");
        says(&copy, &[("public.host", "a row has no key, 6")]);
        copy.change("TRUNCATE host");
        says(&copy, &[]);
    }
    copy.change("DELETE FROM host");
    says(&copy, &[]);
    pages.await_answer("/readyz", None);

    // It is not forgotten with the daemon, and a compare finds what came and went unseen.
    copy.change("INSERT INTO host (id, name) VALUES (1, NULL), (2, ''), (3, 'c')");
    daemon.kill();
    copy.servers.execute("DELETE FROM host WHERE id = 1");
    let daemon = copy.start();
    says(&copy, &[("public.host", "a row has no key, 2")]);
    let marks = "/.pg2etcd/pg2etcd/without_key/";
    copy.servers.delete(&format!("{marks}host/2"));
    copy.servers.put(&format!("{marks}host/77"), "1");
    assert_eq!(copy.launch.ask(&["resync", "host"]).0, 0);
    wait_for("the compare", || match &said(&copy)[..] {
        [(_, reason)] if reason.starts_with("a row has no key, 2: ") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // With another shape no row can lack its key.
    daemon.stop();
    with_blocks(
        &copy.servers,
        "[tables.host]\nkey = '/host/{id}'\n[tables.zone]\nkey = '/zone/{name:dns}/{id}'\n",
    );
    copy.oracle = ORACLE.replace("id || '/' || name", "id").replace("WHERE name <> ''", "");
    let daemon = copy.start();
    copy.await_equal();
    wait_for("the marks to go", || match &said(&copy)[..] {
        [] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    daemon.stop();
    // A redump finds them too.
    copy.servers
        .execute("INSERT INTO zone VALUES ('', 7); SELECT pg_drop_replication_slot('pg2etcd')");
    copy.servers.put(&format!("{marks}host/78"), "1");
    let mut daemon = copy.start();
    daemon.await_line("Dump finished");
    says(&copy, &[("public.zone", "a row has no key, /7")]);
    daemon.stop();
    assert_eq!(copy.launch.ask(&["drop", "-k"]).0, 0);
    assert!(copy.servers.keys("/").is_empty(), "{:?}", copy.servers.keys("/"));
}

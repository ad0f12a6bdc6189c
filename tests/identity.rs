//! What a row's key is.

use crate::support::{Servers, assert_equal, await_equal};

/// Tables alike but for their identities, and one whose key has its columns in another order than the table.
const SCHEMA: &str = "
    CREATE TABLE by_default (a int, b text NOT NULL, c bool NOT NULL, n int, body text, PRIMARY KEY (c, b, a));
    CREATE TABLE by_index (LIKE by_default, PRIMARY KEY (a));
    CREATE UNIQUE INDEX by_index_identity ON by_index (b, a);
    ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_identity;
    CREATE TABLE by_index_alone (LIKE by_default);
    ALTER TABLE by_index_alone ALTER a SET NOT NULL;
    CREATE UNIQUE INDEX by_index_alone_identity ON by_index_alone (c, a);
    ALTER TABLE by_index_alone REPLICA IDENTITY USING INDEX by_index_alone_identity;
    CREATE TABLE whole (LIKE by_default, PRIMARY KEY (b, a));
    ALTER TABLE whole REPLICA IDENTITY FULL;";

/// From this version on an index can have columns that are no part of the key.
const WITH_INCLUDED_COLUMNS: &str = "
    CREATE TABLE including (LIKE by_default, PRIMARY KEY (b, a) INCLUDE (n));
    CREATE TABLE by_index_including (LIKE by_default);
    ALTER TABLE by_index_including ALTER a SET NOT NULL, ALTER n SET NOT NULL;
    CREATE UNIQUE INDEX by_index_including_identity ON by_index_including (b, a) INCLUDE (n);
    ALTER TABLE by_index_including REPLICA IDENTITY USING INDEX by_index_including_identity;";

const CHANGES: [&str; 7] = [
    "INSERT INTO $ SELECT n, 'b/' || n % 3, n % 2 = 0, n, repeat('x', 5000) FROM generate_series(100, 120) n",
    "UPDATE $ SET n = n + 1",
    "UPDATE $ SET a = -a, n = n + 1 WHERE a % 3 = 0",
    "UPDATE $ SET b = b || '%', c = NOT c WHERE a % 4 = 0",
    "UPDATE $ SET body = NULL WHERE a % 5 = 0",
    "DELETE FROM $ WHERE a % 7 = 0",
    "BEGIN; UPDATE $ SET a = a + 1000; UPDATE $ SET c = true; DELETE FROM $ WHERE a > 1110; UPDATE $ SET a = a - 1000; COMMIT",
];

#[test]
fn keys_follow_the_identity() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut tables = vec!["by_default", "by_index", "by_index_alone", "whole"];
    if servers.has(11, "included columns") {
        servers.execute(WITH_INCLUDED_COLUMNS);
        tables.extend(["including", "by_index_including"]);
    }
    for table in &tables {
        servers.execute(&format!("ALTER TABLE {table} ALTER body SET STORAGE EXTERNAL"));
        let rows = "SELECT n, 'b/' || n % 3, n % 2 = 0, n, repeat('y', 5000) FROM generate_series(1, 20) n";
        servers.execute(&format!("INSERT INTO {table} {rows}"));
    }
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &tables);
    assert!(servers.keys("/copy/by_default/t/b%2F2/").contains_key("/copy/by_default/t/b%2F2/2"));
    for change in CHANGES {
        for table in &tables {
            servers.execute(&change.replace('$', table));
        }
        assert_equal(&servers, &tables);
    }
    assert_eq!(daemon.stop().matches("WARN").count(), 0);
}

#[test]
fn tables_without_a_key_are_left_out_with_one_warning() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE keyless (id int); CREATE TABLE late (id int PRIMARY KEY DEFERRABLE);
         CREATE TABLE hidden (id int PRIMARY KEY); ALTER TABLE hidden REPLICA IDENTITY NOTHING;
         ALTER TABLE keyless REPLICA IDENTITY FULL; ALTER TABLE late REPLICA IDENTITY FULL;
         INSERT INTO good VALUES (1); INSERT INTO keyless VALUES (1); INSERT INTO late VALUES (1); INSERT INTO hidden VALUES (1);
         CREATE PUBLICATION pg2etcd FOR TABLE good, keyless, late;
         CREATE PUBLICATION inserts FOR TABLE hidden WITH (publish = 'insert')",
    );
    let mut daemon = servers.daemon().set("sync.catalog_period", "500ms").start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &["good"]);
    servers.execute("INSERT INTO keyless VALUES (2); UPDATE keyless SET id = 3; DELETE FROM keyless; TRUNCATE keyless");
    servers.execute("INSERT INTO late VALUES (2); UPDATE late SET id = id + 3; DELETE FROM late; INSERT INTO good VALUES (2)");
    assert_equal(&servers, &["good"]);
    servers.execute("ALTER TABLE late DROP CONSTRAINT late_pkey, ADD PRIMARY KEY (id); INSERT INTO late VALUES (5)");
    await_equal(&servers, &["good", "late"]);
    let log = daemon.stop();
    for table in ["keyless", "late"] {
        assert_eq!(log.matches(&format!("Leaving table public.{table} out: ")).count(), 1, "{log}");
    }

    let inserts = servers.daemon().set("sync.publication", "inserts").set("sync.slot", "inserts");
    let mut daemon = inserts.set("etcd.path", "inserts").start();
    daemon.await_line("Dump finished");
    servers.execute("INSERT INTO hidden VALUES (2)");
    let hidden = ["/inserts/hidden/1", "/inserts/hidden/2"];
    crate::support::wait_until("the rows of a table with REPLICA IDENTITY NOTHING", || {
        servers.keys("/inserts/").into_keys().eq(hidden)
    });
}

#[test]
fn the_identity_changes_while_it_runs() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE t (id int PRIMARY KEY, other text NOT NULL UNIQUE, n int);
         INSERT INTO t SELECT n, 'o' || n, 0 FROM generate_series(1, 20) n",
    );
    let mut daemon = servers.daemon().set("sync.catalog_period", "500ms").start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &["t"]);
    for change in [
        "ALTER TABLE t REPLICA IDENTITY USING INDEX t_other_key",
        "ALTER TABLE t DROP CONSTRAINT t_pkey",
        "ALTER TABLE t REPLICA IDENTITY FULL, ADD PRIMARY KEY (n, id)",
        "ALTER TABLE t REPLICA IDENTITY DEFAULT",
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id)",
    ] {
        servers.execute(change);
        servers.execute("UPDATE t SET n = n + 1; UPDATE t SET id = id + 100 WHERE id % 10 = 0");
        servers.execute("INSERT INTO t SELECT max(id) + 1, 'new' || max(id), 7 FROM t; DELETE FROM t WHERE id = (SELECT min(id) FROM t)");
        await_equal(&servers, &["t"]);
    }
    daemon.stop();
}

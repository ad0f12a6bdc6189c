//! What is published is what arrives, by dump and by stream alike.

use crate::support::{Daemon, Servers, assert_equal, await_equal, wait_until};

fn started(servers: &Servers) -> Daemon {
    let mut daemon = servers.daemon().set("sync.catalog_period", "300ms").start();
    daemon.await_line("Dump finished");
    daemon
}

/// What the stream has written is what a dump writes.
fn redumped(servers: &Servers, daemon: Daemon, tables: &[&str]) -> Daemon {
    daemon.stop();
    let written = servers.mod_revisions("/copy/");
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    let daemon = started(servers);
    assert_equal(servers, tables);
    assert_eq!(servers.mod_revisions("/copy/"), written, "a redump changes nothing");
    daemon
}

const PARTITIONS: &str = "
    CREATE TABLE log (id int NOT NULL, kind text NOT NULL, body text) PARTITION BY LIST (kind);
    CREATE TABLE log_a PARTITION OF log (PRIMARY KEY (kind, id)) FOR VALUES IN ('a');
    CREATE TABLE log_bc PARTITION OF log FOR VALUES IN ('b', 'c') PARTITION BY RANGE (id);
    CREATE TABLE log_bc_low PARTITION OF log_bc (PRIMARY KEY (kind, id)) FOR VALUES FROM (0) TO (100);
    CREATE TABLE log_bc_high (body text, gone int, id int NOT NULL, kind text NOT NULL, PRIMARY KEY (kind, id));
    ALTER TABLE log_bc_high DROP gone;
    ALTER TABLE log_bc ATTACH PARTITION log_bc_high FOR VALUES FROM (100) TO (1000);
    INSERT INTO log SELECT n, CASE n % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' ELSE 'c' END, 'r' || n FROM generate_series(1, 150) n";

const PARTITION_CHANGES: [&str; 3] = [
    "INSERT INTO log SELECT n, 'b', NULL FROM generate_series(500, 520) n",
    "UPDATE log SET body = body || '!'",
    "DELETE FROM log WHERE id % 5 = 0",
];

#[test]
fn partitions_under_their_own_names() {
    let servers = Servers::start();
    servers.execute(PARTITIONS);
    let mut leaves = vec!["log_a", "log_bc_low", "log_bc_high"];
    let daemon = started(&servers);
    assert_equal(&servers, &leaves);
    for change in PARTITION_CHANGES {
        servers.execute(change);
        assert_equal(&servers, &leaves);
    }
    if servers.has(11, "rows that move to another partition, TRUNCATE in the stream") {
        servers.execute("UPDATE log SET id = id + 200 WHERE kind = 'b' AND id < 100");
        servers.execute("UPDATE log SET kind = 'a' WHERE id BETWEEN 100 AND 150 AND kind = 'c'");
        assert_equal(&servers, &leaves);
        servers.execute(
            "BEGIN; TRUNCATE log_a; INSERT INTO log VALUES (1, 'a', 'x'), (2, 'b', 'y'); COMMIT",
        );
        assert_equal(&servers, &leaves);
    }
    let daemon = redumped(&servers, daemon, &leaves);
    servers.execute("ALTER TABLE log DETACH PARTITION log_a; UPDATE log_a SET body = 'alone'");
    assert_equal(&servers, &leaves);
    servers.execute("CREATE TABLE log_d PARTITION OF log (PRIMARY KEY (kind, id)) FOR VALUES IN ('d'); INSERT INTO log VALUES (1, 'd')");
    leaves.push("log_d");
    await_equal(&servers, &leaves);
    servers.execute("DROP TABLE log_bc_high");
    leaves.retain(|leaf| *leaf != "log_bc_high");
    await_equal(&servers, &leaves);
    servers.execute("TRUNCATE log");
    await_equal(&servers, &leaves);
    daemon.stop();
}

#[test]
fn partitions_under_the_name_of_their_root() {
    let servers = Servers::start();
    if servers.lacks(13, "publish_via_partition_root") {
        return;
    }
    servers.execute(PARTITIONS);
    servers.execute(
        "ALTER TABLE log ADD PRIMARY KEY (kind, id);
         CREATE TABLE other (id int PRIMARY KEY);
         CREATE PUBLICATION pg2etcd FOR ALL TABLES WITH (publish_via_partition_root = true)",
    );
    let daemon = started(&servers);
    assert_equal(&servers, &["log", "other"]);
    for change in PARTITION_CHANGES {
        servers.execute(change);
        assert_equal(&servers, &["log", "other"]);
    }
    servers.execute("UPDATE log SET id = id + 200 WHERE kind = 'b' AND id < 100");
    servers.execute("UPDATE log SET kind = 'a' WHERE id BETWEEN 100 AND 150 AND kind = 'c'");
    assert_equal(&servers, &["log", "other"]);
    let mut daemon = redumped(&servers, daemon, &["log", "other"]);
    // Before 15 a stream goes on with the name that it has learned of a partition.
    let learns = servers.has(15, "partitions attached and detached while a stream goes on");
    let begin_anew = |daemon: Daemon| match learns {
        true => daemon,
        false => {
            daemon.stop();
            servers.daemon().set("sync.catalog_period", "300ms").start()
        }
    };
    // PostgreSQL does not publish this one.
    servers.execute("TRUNCATE log_bc_low");
    await_equal(&servers, &["log", "other"]);
    servers.execute("ALTER TABLE log DETACH PARTITION log_a");
    daemon = begin_anew(daemon);
    servers.execute("UPDATE log_a SET body = 'alone'");
    await_equal(&servers, &["log", "log_a", "other"]);
    daemon.await_line("Compared table public.log_a");
    servers.execute("ALTER TABLE log ATTACH PARTITION log_a FOR VALUES IN ('a')");
    daemon = begin_anew(daemon);
    await_equal(&servers, &["log", "other"]);
    servers.execute("BEGIN; TRUNCATE log; INSERT INTO log VALUES (1, 'a'); COMMIT");
    assert_equal(&servers, &["log", "other"]);
    daemon.stop();
}

#[test]
fn tables_that_inherit() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE parent (id int PRIMARY KEY, n int);
         CREATE TABLE child (extra text, PRIMARY KEY (id)) INHERITS (parent);
         INSERT INTO parent VALUES (1, 0), (2, 0); INSERT INTO child VALUES (1, 0, 'x'), (3, 0, 'y')",
    );
    let daemon = started(&servers);
    assert_equal(&servers, &["parent", "child"]);
    servers.execute("UPDATE parent SET n = n + 1; DELETE FROM parent WHERE id = 3; INSERT INTO child VALUES (4, 4)");
    assert_equal(&servers, &["parent", "child"]);
    servers.execute("TRUNCATE ONLY parent");
    await_equal(&servers, &["parent", "child"]);
    redumped(&servers, daemon, &["parent", "child"]).stop();
}

#[test]
fn column_lists_and_row_filters() {
    let servers = Servers::start();
    if servers.lacks(15, "column lists and row filters") {
        return;
    }
    servers.execute(
        "CREATE TABLE columns (a int, secret text, b text, c int, PRIMARY KEY (c, a));
         CREATE TABLE rows (id int PRIMARY KEY, n int, kind text, body text); ALTER TABLE rows REPLICA IDENTITY FULL;
         CREATE TABLE rows_by_key (id int, n int, body text, PRIMARY KEY (n, id));
         CREATE TABLE pairs (id int PRIMARY KEY, secret text, n numeric);
         ALTER TABLE rows ALTER body SET STORAGE EXTERNAL; ALTER TABLE rows_by_key ALTER body SET STORAGE EXTERNAL;
         CREATE PUBLICATION pg2etcd FOR TABLE columns (c, b, a), rows WHERE (n > 10 AND kind <> 'hidden'),
            rows_by_key WHERE (n > 10), pairs (n, id) WHERE (id % 2 = 0)",
    );
    let tables = ["columns", "rows", "rows_by_key", "pairs"];
    let inserts = |from: i32, to: i32| {
        format!(
            "INSERT INTO columns SELECT n, 'secret', 'b' || n, -n FROM generate_series({from}, {to}) n;
             INSERT INTO rows SELECT n, n, CASE n % 5 WHEN 0 THEN 'hidden' WHEN 1 THEN NULL ELSE 'shown' END, repeat('x' || n, 3000)
               FROM generate_series({from}, {to}) n;
             INSERT INTO rows_by_key SELECT n, n, repeat('x' || n, 3000) FROM generate_series({from}, {to}) n;
             INSERT INTO pairs SELECT n, 'secret', n * 1.10 FROM generate_series({from}, {to}) n"
        )
    };
    servers.execute(&inserts(1, 30));
    let daemon = started(&servers);
    assert_equal(&servers, &tables);
    servers.execute(&inserts(101, 130));
    for change in [
        "UPDATE columns SET secret = 'more'; UPDATE columns SET b = NULL WHERE a % 3 = 0; UPDATE columns SET a = a + 1000 WHERE a % 7 = 0",
        // Rows stay out, go out, come in, and stay in; their large column is not written anew.
        "UPDATE rows SET n = n - 8 WHERE id <= 30",
        "UPDATE rows SET n = n + 8 WHERE id <= 30",
        "UPDATE rows SET kind = 'shown' WHERE id % 10 = 0; UPDATE rows SET kind = 'hidden' WHERE id % 10 = 2",
        "UPDATE rows SET id = id + 1000, n = 5 WHERE id % 10 = 3; UPDATE rows SET id = id + 1000, n = 50 WHERE id BETWEEN 1000 AND 1200",
        "UPDATE pairs SET id = id + 1001 WHERE id % 3 = 0; UPDATE pairs SET secret = 'x', n = 0 WHERE id % 5 = 0; DELETE FROM pairs WHERE id % 4 = 0",
        "DELETE FROM rows WHERE id % 9 = 0; DELETE FROM rows_by_key WHERE id % 9 = 0; DELETE FROM columns WHERE a % 9 = 0",
        "TRUNCATE pairs",
    ] {
        servers.execute(change);
        assert_equal(&servers, &tables);
    }
    // Of a row that comes in by its key alone PostgreSQL sends no large column that was not written anew.
    servers.execute("UPDATE rows_by_key SET n = n - 8 WHERE id <= 30");
    servers.execute("UPDATE rows_by_key SET n = n + 8 WHERE id <= 30");
    await_equal(&servers, &tables);
    servers.execute(
        "ALTER PUBLICATION pg2etcd SET TABLE columns, rows WHERE (n < 20), rows_by_key, pairs (id)",
    );
    await_equal(&servers, &tables);
    redumped(&servers, daemon, &tables).stop();
}

#[test]
fn only_some_operations() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1), (2, 2);
         CREATE PUBLICATION pg2etcd FOR TABLE t WITH (publish = 'insert, update')",
    );
    let daemon = servers.daemon().start();
    assert_equal(&servers, &["t"]);
    servers.execute("INSERT INTO t VALUES (3, 3); UPDATE t SET n = n + 1 WHERE id < 3; DELETE FROM t WHERE id = 1");
    let expected = [("1", 2), ("2", 3), ("3", 3)]
        .map(|(id, n)| (format!("/copy/t/{id}"), format!(r#"{{"id":{id},"n":{n}}}"#)));
    wait_until("the inserts and updates", || {
        servers.keys("/copy/").into_iter().eq(expected.clone())
    });
    daemon.stop();
}

#[test]
fn all_tables_of_a_schema() {
    let servers = Servers::start();
    if servers.lacks(15, "FOR TABLES IN SCHEMA") {
        return;
    }
    servers.execute(
        "CREATE SCHEMA s; CREATE TABLE s.a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
         INSERT INTO s.a VALUES (1); INSERT INTO b VALUES (1); CREATE PUBLICATION pg2etcd FOR TABLES IN SCHEMA s",
    );
    let daemon = started(&servers);
    assert_equal(&servers, &["s.a"]);
    servers.execute("INSERT INTO s.a VALUES (2); INSERT INTO b VALUES (2); CREATE TABLE s.c (id int PRIMARY KEY); INSERT INTO s.c VALUES (1)");
    await_equal(&servers, &["s.a", "s.c"]);
    servers.execute("ALTER TABLE b SET SCHEMA s; INSERT INTO s.b VALUES (3)");
    await_equal(&servers, &["s.a", "s.b", "s.c"]);
    servers.execute("ALTER TABLE s.a SET SCHEMA public");
    await_equal(&servers, &["s.b", "s.c"]);
    daemon.stop();
}

#[test]
fn generated_columns() {
    let servers = Servers::start();
    if servers.lacks(12, "generated columns") {
        return;
    }
    servers.execute(
        "CREATE TABLE t (double int GENERATED ALWAYS AS (n * 2) STORED, id int PRIMARY KEY, n int);
         INSERT INTO t (id, n) SELECT n, n FROM generate_series(1, 10) n",
    );
    let publishes = servers.has(18, "publish_generated_columns");
    if publishes {
        servers.execute(
            "CREATE TABLE listed (id int PRIMARY KEY, n int, double int GENERATED ALWAYS AS (n * 2) STORED);
             CREATE TABLE virtual (id int PRIMARY KEY, n int, double int GENERATED ALWAYS AS (n * 2) VIRTUAL);
             INSERT INTO virtual (id, n) VALUES (1, 1); INSERT INTO listed (id, n) VALUES (1, 1)",
        );
    }
    let tables: &[&str] = if publishes { &["t", "listed", "virtual"] } else { &["t"] };
    let change = |servers: &Servers| {
        for table in tables {
            servers.execute(&format!("INSERT INTO {table} (id, n) SELECT max(id) + 1, 7 FROM {table}; UPDATE {table} SET n = n + 1"));
        }
    };
    let daemon = started(&servers);
    assert_equal(&servers, tables);
    change(&servers);
    assert_equal(&servers, tables);
    assert!(servers.keys("/copy/").values().all(|document| !document.contains("double")));
    if publishes {
        servers.execute("ALTER PUBLICATION pg2etcd SET (publish_generated_columns = stored)");
        change(&servers);
        await_equal(&servers, tables);
        assert!(servers.keys("/copy/t/").values().all(|document| document.contains("double")));
        daemon.stop();
        servers.execute("DROP PUBLICATION pg2etcd; CREATE PUBLICATION pg2etcd FOR TABLE t, listed (id, double), virtual");
        let daemon = servers.daemon().set("sync.catalog_period", "300ms").start();
        change(&servers);
        await_equal(&servers, tables);
        let listed = servers.keys("/copy/listed/");
        assert!(listed.values().all(|document| !document.contains("\"n\"")), "{listed:?}");
        redumped(&servers, daemon, tables).stop();
    } else {
        redumped(&servers, daemon, tables).stop();
    }
}

#[test]
fn what_cannot_be_published() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
         CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
         CREATE FOREIGN TABLE far (id int) SERVER nowhere; CREATE VIEW view AS SELECT * FROM t;
         CREATE MATERIALIZED VIEW stored AS SELECT * FROM t; CREATE SEQUENCE s;
         INSERT INTO t VALUES (1); INSERT INTO unlogged VALUES (1)",
    );
    let daemon = started(&servers);
    assert_equal(&servers, &["t"]);
    servers.execute(
        "CREATE TEMP TABLE temporary (id int PRIMARY KEY); INSERT INTO temporary VALUES (1); INSERT INTO unlogged VALUES (2);
         INSERT INTO t VALUES (2); REFRESH MATERIALIZED VIEW stored; SELECT nextval('s')",
    );
    assert_equal(&servers, &["t"]);
    servers.execute("ALTER TABLE unlogged SET LOGGED; INSERT INTO unlogged VALUES (3)");
    await_equal(&servers, &["t", "unlogged"]);
    servers.execute("ALTER TABLE t SET UNLOGGED; INSERT INTO t VALUES (3)");
    await_equal(&servers, &["unlogged"]);
    servers.execute("TRUNCATE unlogged RESTART IDENTITY");
    await_equal(&servers, &["unlogged"]);
    daemon.stop();
}

/// PostgreSQL refuses an update of a table whose identity is not published as a whole.
#[test]
fn generated_columns_in_an_identity() {
    let servers = Servers::start();
    if servers.lacks(18, "generated columns in publications") {
        return;
    }
    servers.execute(
        "CREATE TABLE t (id int, double int GENERATED ALWAYS AS (id * 2) STORED, n int, PRIMARY KEY (double));
         CREATE TABLE whole (id int PRIMARY KEY, double int GENERATED ALWAYS AS (id * 2) STORED); ALTER TABLE whole REPLICA IDENTITY FULL;
         CREATE TABLE v (id int PRIMARY KEY, double int GENERATED ALWAYS AS (id * 2) VIRTUAL); ALTER TABLE v REPLICA IDENTITY FULL;
         INSERT INTO t VALUES (1, DEFAULT, 1); INSERT INTO whole VALUES (1); INSERT INTO v VALUES (1)",
    );
    let (status, log) = servers.daemon().run();
    assert_eq!(status, 2, "{log}");
    assert!(log.contains("cannot publish public.v: a virtual generated column"), "{log}");
    let (status, out, _) = servers.daemon().ask(&["check"]);
    assert!(
        status == 1 && out.contains("cannot publish public.v: a virtual generated column"),
        "{out}"
    );
    servers.execute("ALTER TABLE v REPLICA IDENTITY DEFAULT");
    let daemon = started(&servers);
    servers.execute("UPDATE t SET n = 2, id = 3; UPDATE whole SET id = 4; UPDATE v SET id = 5; INSERT INTO v VALUES (6)");
    assert_equal(&servers, &["t", "whole", "v"]);
    assert!(servers.keys("/copy/").contains_key("/copy/t/6"));
    daemon.stop();
}

#[test]
fn a_publication_of_its_own_has_partitions_under_the_name_of_their_root() {
    let servers = Servers::start();
    if servers.lacks(13, "publish_via_partition_root") {
        return;
    }
    servers.execute(
        "CREATE TABLE log (id int PRIMARY KEY, other int NOT NULL) PARTITION BY RANGE (id);
         CREATE TABLE low PARTITION OF log FOR VALUES FROM (0) TO (100);
         CREATE TABLE high PARTITION OF log FOR VALUES FROM (100) TO (200);
         CREATE UNLOGGED TABLE top PARTITION OF log FOR VALUES FROM (200) TO (300);
         CREATE UNIQUE INDEX high_other ON high (other); ALTER TABLE high REPLICA IDENTITY USING INDEX high_other;
         INSERT INTO log SELECT g, -g FROM generate_series(1, 150) g; INSERT INTO log VALUES (250, 0)",
    );
    let mut daemon = started(&servers);
    daemon.await_line("partition public.top of public.log is unlogged");
    daemon.await_line(
        "partition public.high of public.log has another replica identity (other) than the root (id)",
    );
    let published =
        |servers: &Servers| -> Vec<String> { servers.keys("/copy/").into_keys().collect() };
    assert_eq!(published(&servers).len(), 150);
    assert!(!published(&servers).contains(&"/copy/log/250".to_owned()));
    let (_, out, _) = servers.daemon().ask(&["check"]);
    assert!(
        out.contains("public.log is unlogged") && out.contains("public.log has another"),
        "{out}"
    );
    // The old tuple of the partition lacks the root's key: the row is found by a compare.
    servers.execute("DELETE FROM log WHERE id IN (7, 107); UPDATE log SET other = other - 1000 WHERE id = 108; INSERT INTO log VALUES (251, 0)");
    servers.execute("DELETE FROM top");
    await_equal(&servers, &["log"]);
    servers.execute("ALTER TABLE top SET LOGGED; INSERT INTO log VALUES (252, 0)");
    await_equal(&servers, &["log"]);
    daemon.stop();
}

#[test]
fn what_a_publication_leaves_out_is_said_at_the_start() {
    let servers = Servers::start();
    servers.execute("CREATE PUBLICATION pg2etcd WITH (publish = 'insert')");
    let mut daemon = servers.daemon().start();
    daemon.await_line("Publication pg2etcd has no table");
    daemon.await_line("Publication pg2etcd leaves UPDATE, DELETE");
    daemon.stop();
}

//! What the stream does not tell, or tells before the catalog does: the watch looks, and all comes right.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Daemon, Part, Servers, assert_equal, await_equal, wait_until};

fn started(servers: &Servers) -> Daemon {
    let mut daemon = servers.daemon().set("sync.catalog_period", "2s").start();
    daemon.await_line("Dump finished");
    daemon
}

/// A commit is streamed before its catalog rows are seen.
#[test]
fn tables_made_and_filled_in_one_transaction() {
    let servers = Servers::start();
    servers.execute("CREATE TABLE canary (id int PRIMARY KEY)");
    let daemon = started(&servers);
    let names: Vec<_> = (0..40).map(|number| format!("m{number}")).collect();
    for name in &names {
        servers.execute(&format!(
            "BEGIN; CREATE TABLE {name} (id int PRIMARY KEY, v int); INSERT INTO {name} SELECT g, g FROM generate_series(1, 3) g; COMMIT"
        ));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_equal(&servers, &names);
    for name in &names {
        servers.execute(&format!(
            "BEGIN; ALTER TABLE {name} RENAME id TO key; UPDATE {name} SET v = 7 WHERE key = 1; DELETE FROM {name} WHERE key = 2; COMMIT"
        ));
    }
    await_equal(&servers, &names);
    let log = daemon.stop();
    assert!(!log.contains("neither a primary key"), "{log}");
}

/// PostgreSQL 15 and before say nothing of a schema's new name in the stream.
#[test]
fn names_that_move() {
    let servers = Servers::start();
    servers.execute(
        "CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY); INSERT INTO s.t VALUES (1), (2);
         CREATE TABLE canary (id int PRIMARY KEY)",
    );
    if servers.has(13, "publish_via_partition_root") {
        servers.execute(
            "CREATE PUBLICATION pg2etcd FOR ALL TABLES WITH (publish_via_partition_root = true)",
        );
    }
    let mut daemon = started(&servers);
    assert_equal(&servers, &["s.t", "canary"]);
    servers.execute("ALTER SCHEMA s RENAME TO s2");
    servers.execute("INSERT INTO s2.t VALUES (3)");
    await_equal(&servers, &["s2.t", "canary"]);
    daemon.await_line("Deleting the keys of table s.t: it was renamed to s2.t");
    servers.execute("INSERT INTO s2.t VALUES (4); DELETE FROM s2.t WHERE id = 1");
    await_equal(&servers, &["s2.t", "canary"]);
    if servers.has(13, "publish_via_partition_root") {
        servers.execute(
            "CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (100); INSERT INTO root VALUES (1), (2)",
        );
        await_equal(&servers, &["s2.t", "canary", "root"]);
        servers.execute("ALTER TABLE root RENAME TO base");
        servers.execute("INSERT INTO base VALUES (3); DELETE FROM base WHERE id = 1");
        await_equal(&servers, &["s2.t", "canary", "base"]);
        servers.execute("INSERT INTO base VALUES (4); DELETE FROM base WHERE id = 2");
        await_equal(&servers, &["s2.t", "canary", "base"]);
    }
    daemon.stop();
}

/// A key that somebody put where a partition's own would be, below its root's.
#[test]
fn keys_of_others_below_the_path_stay() {
    let servers = Servers::start();
    if servers.lacks(13, "publish_via_partition_root") {
        return;
    }
    servers.execute(
        "CREATE TABLE r (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (0) TO (100); INSERT INTO r VALUES (1)",
    );
    servers.put("/copy/r1/mine", "mine");
    let daemon = started(&servers);
    servers.execute("INSERT INTO r VALUES (2); CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1)");
    wait_until("the tables", || servers.keys("/copy/late/").len() == 1);
    servers.execute("TRUNCATE r1; INSERT INTO r1 VALUES (3); ALTER TABLE r ADD n int DEFAULT 1; INSERT INTO r VALUES (4)");
    wait_until("the compare", || {
        servers.keys("/copy/r/").get("/copy/r/4").is_some_and(|text| text.contains("\"n\":1"))
    });
    servers.execute("DROP TABLE late");
    wait_until("the drop", || servers.keys("/copy/late/").is_empty());
    assert_eq!(servers.keys("/copy/r1/").get("/copy/r1/mine").map(String::as_str), Some("mine"));
    daemon.stop();
}

/// The old tuple of the leaf lacks the key of the root.
#[test]
fn identities_of_root_and_leaf_differ() {
    let servers = Servers::start();
    if servers.lacks(13, "publish_via_partition_root") {
        return;
    }
    servers.execute(
        "CREATE TABLE r (id int PRIMARY KEY, other int NOT NULL, part int NOT NULL DEFAULT 1) PARTITION BY RANGE (id);
         CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (0) TO (100);
         CREATE UNIQUE INDEX r_other ON r (other, id); ALTER TABLE r REPLICA IDENTITY USING INDEX r_other;
         INSERT INTO r SELECT g, -g FROM generate_series(1, 20) g;
         CREATE PUBLICATION pg2etcd FOR TABLE r WITH (publish_via_partition_root = true)",
    );
    let daemon = started(&servers);
    let by_other =
        |servers: &Servers| -> Vec<String> { servers.keys("/copy/r/").into_keys().collect() };
    assert_eq!(by_other(&servers).len(), 20);
    servers.execute("DELETE FROM r WHERE id = 7; UPDATE r SET other = 5 WHERE id = 8");
    wait_until("the delete", || {
        let keys = by_other(&servers);
        keys.len() == 19
            && !keys.iter().any(|key| key.ends_with("/7"))
            && keys.contains(&"/copy/r/5/8".to_owned())
    });
    daemon.stop();
}

/// One table that the role may not read stops no other.
#[test]
fn a_table_without_select_stops_no_other() {
    let servers = Servers::start();
    servers.execute(
        "CREATE ROLE copier LOGIN REPLICATION; CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1);
         GRANT SELECT ON a TO copier; CREATE PUBLICATION pg2etcd FOR ALL TABLES",
    );
    let mut daemon = servers
        .daemon()
        .set("database.user", "copier")
        .set("sync.catalog_period", "2s")
        .set("status.listen", "127.0.0.1:0")
        .start();
    daemon.await_line("Dump finished");
    servers.execute(
        "CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1);
         CREATE TABLE c (id int PRIMARY KEY, n int); INSERT INTO c VALUES (1, 1); GRANT SELECT ON c TO copier",
    );
    daemon.await_line(
        "Leaving table public.b out: role copier may not read public.b: run GRANT SELECT ON",
    );
    daemon.await_line("Compared table public.c");
    let pages = daemon.pages();
    pages.await_answer(
        "/readyz",
        Some("table=\"public.b\" reason=\"role copier may not read public.b"),
    );
    assert_eq!(pages.metric("pg2etcd_table_not_copied{table=\"public.b\"}"), 1.0);
    let ask = servers.daemon().set("database.user", "copier");
    let (status, json, _) = ask.ask(&["status", "-j"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, &json["not_copied"][0]["table"]), (1, &"public.b".into()), "{json}");
    assert!(json["not_copied"][0]["reason"].as_str().unwrap().contains("GRANT SELECT"), "{json}");
    let (_, text, _) = ask.ask(&["status"]);
    assert!(
        text.contains("not_copied           public.b: role copier may not read public.b"),
        "{text}"
    );
    servers.execute("ALTER TABLE a ADD n int DEFAULT 7");
    wait_until("the new column", || {
        servers.keys("/copy/a/").get("/copy/a/1").is_some_and(|document| document.contains("7"))
    });
    servers.execute("GRANT SELECT ON b TO copier");
    daemon.await_line("Compared table public.b");
    await_equal(&servers, &["a", "b", "c"]);
    pages.await_answer("/readyz", None);
    assert_eq!(ask.ask(&["status"]).0, 0);
    assert_eq!(daemon.count("Leaving table public.b out"), 1);
    servers.execute("CREATE TABLE keyless (id int)");
    daemon.await_line(
        "Leaving table public.keyless out: it has neither a primary key nor an identity index",
    );
    pages.await_answer("/readyz", Some("public.keyless"));
    servers.execute("DROP TABLE keyless; DROP TABLE c");
    daemon.await_line("Deleting the keys of table c: it was dropped");
    pages.await_answer("/readyz", None);
    servers.execute("ALTER TABLE b DROP CONSTRAINT b_pkey");
    daemon.await_line("Deleting the keys of table b: it cannot be copied any more: it has neither");
    daemon.stop();
    let mut daemon = servers.daemon().set("database.user", "copier").start();
    daemon.await_line("Leaving table public.b out: it has neither");
    daemon.stop();
}

/// PostgreSQL 15's `WIN1252` has no character for the byte 0x81.
#[test]
fn a_row_that_the_server_cannot_send() {
    let servers = Servers::with(&["--encoding", "WIN1252"]);
    servers.execute(
        "CREATE TABLE t (id int PRIMARY KEY, s text); CREATE TABLE other (id int PRIMARY KEY)",
    );
    let mut daemon = servers
        .daemon()
        .set("sync.catalog_period", "2s")
        .set("status.listen", "127.0.0.1:0")
        .unset("database.retry_period")
        .start();
    daemon.await_line("Dump finished");
    let pages = daemon.pages();
    pages.await_answer("/readyz", None);
    let bad = "SET client_encoding = 'SQL_ASCII'; INSERT INTO t VALUES (1, E'a\\x81')";
    servers.sql().batch_execute(bad).expect("a byte that WIN1252 has no character for");
    pages.await_answer("/readyz", Some("has no equivalent in encoding"));
    servers.execute("INSERT INTO other VALUES (1)");
    daemon.await_line("the server cannot send the change at LSN ");
    std::thread::sleep(Duration::from_secs(15));
    let log = daemon.output();
    assert!(
        log.contains(
            "of table public.t; hint: correct the row in the database, then run pg2etcd resync"
        ),
        "{log}"
    );
    assert_eq!(daemon.count("Resuming from"), 1, "{log}");
    assert_eq!(daemon.count("Works again"), 0, "{log}");
    assert!(daemon.count("has no equivalent") <= 2, "{log}");
    assert!(!pages.says("/readyz"));
    assert!(pages.metric("pg2etcd_lag_bytes") > 0.0 && pages.metric("pg2etcd_lag_seconds") > 10.0);
    // The row is in the way of a dump as well, which goes on with the others.
    assert_eq!(servers.daemon().ask(&["resync"]).0, 0);
    daemon.await_line("Leaving table public.t out: ");
    daemon.await_lines("Dump finished", 2);
    assert_equal(&servers, &["other"]);
    pages.await_answer("/readyz", Some("table=\"public.t\""));
    servers.execute("DELETE FROM t");
    daemon.await_line("Compared table public.t");
    pages.await_answer("/readyz", None);
    servers.execute("INSERT INTO t VALUES (2, 'x')");
    assert_equal(&servers, &["other", "t"]);
    daemon.stop();
}

/// A compare waits for every transaction that writes: the log says for which.
#[test]
fn what_a_snapshot_waits_for() {
    let servers = Servers::start();
    servers.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)");
    let mut daemon = started(&servers);
    let mut sql = servers.sql();
    sql.batch_execute("BEGIN; INSERT INTO other VALUES (1)").unwrap();
    let pid: i32 = sql.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    servers.execute("ALTER TABLE t ADD n int DEFAULT 7");
    daemon.await_line(&format!(
        "Waiting for a snapshot until this ends: transaction of server process {pid} (role postgres"
    ));
    sql.batch_execute("COMMIT").unwrap();
    daemon.await_line("Compared table public.t");
    assert_equal(&servers, &["t", "other"]);
    daemon.stop();
}

/// etcd is asked now and then, though no row changes.
#[test]
fn an_etcd_that_does_not_answer() {
    let servers = Servers::start();
    servers.execute("CREATE TABLE t (id int PRIMARY KEY)");
    let mut daemon = servers.daemon().set("status.listen", "127.0.0.1:0").start();
    daemon.await_line("Dump finished");
    let pages = daemon.pages();
    pages.await_answer("/readyz", None);
    servers.signal(Part::Etcd, Signal::STOP);
    let begin = Instant::now();
    pages.await_answer("/readyz", Some("etcd_silence_seconds="));
    assert!(begin.elapsed() < Duration::from_secs(16), "{:?}", begin.elapsed());
    servers.signal(Part::Etcd, Signal::CONT);
    pages.await_answer("/readyz", None);
    daemon.stop();
}

/// What becomes of a table while it is dumped is left for the watch.
#[test]
fn a_table_that_goes_during_a_dump() {
    let servers = Servers::start();
    servers.execute(
        "CREATE TYPE mark AS ENUM ('x');
         CREATE FUNCTION wait_for_lock(mark) RETURNS json LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_advisory_lock_shared(7); RETURN '1'; END $$;
         CREATE CAST (mark AS json) WITH FUNCTION wait_for_lock(mark);
         CREATE TABLE a (id int PRIMARY KEY, mark mark); INSERT INTO a VALUES (1, 'x');
         CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1);
         CREATE TABLE c (id int PRIMARY KEY); INSERT INTO c VALUES (1)",
    );
    let mut sql = servers.sql();
    sql.batch_execute("SELECT pg_advisory_lock(7)").unwrap();
    let mut daemon = servers.daemon().set("sync.catalog_period", "2s").start();
    wait_until("the dump to wait", || {
        servers
            .value("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'")
            .as_deref()
            == Some("1")
    });
    servers.execute("DROP TABLE b; ALTER TABLE c ADD n int DEFAULT 7; INSERT INTO c VALUES (2)");
    sql.batch_execute("SELECT pg_advisory_unlock(7)").unwrap();
    daemon.await_line("Leaving table public.b out: ");
    daemon.await_line("Dump finished");
    daemon.await_line("Deleting the keys of table b: it was dropped");
    await_equal(&servers, &["a", "c"]);
    assert_eq!(servers.keys("/copy/b/").len(), 0);
    let log = daemon.stop();
    assert_eq!(log.matches("umping: ").count(), 1, "{log}");
}

/// A commit waits for etcd, and not for the next status that is due.
#[test]
fn a_synchronous_standby() {
    let servers = Servers::start();
    servers.execute("CREATE TABLE t (id serial PRIMARY KEY, n int)");
    let daemon = started(&servers);
    assert_equal(&servers, &["t"]);
    servers.configure(&[("synchronous_standby_names", "pg2etcd")]);
    let mut sql = servers.sql();
    let mut times: Vec<Duration> = (0..100)
        .map(|n| {
            let begin = Instant::now();
            sql.execute("INSERT INTO t (n) VALUES ($1)", &[&n]).unwrap();
            begin.elapsed()
        })
        .collect();
    times.sort();
    let median = times[times.len() / 2];
    eprintln!("median {median:?}, 99 % {:?}", times[98]);
    assert!(median < Duration::from_millis(20), "{median:?}");
    servers.configure(&[("synchronous_standby_names", "")]);
    assert_equal(&servers, &["t"]);
    daemon.stop();
}

/// A row that no request can hold is missing until it fits again.
#[test]
fn a_row_that_is_left_out_is_said() {
    let servers = Servers::start();
    servers.execute("CREATE TABLE t (id int PRIMARY KEY, s text)");
    let launch = servers.daemon().set("sync.oversized", "skip").set("status.listen", "127.0.0.1:0");
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    let pages = daemon.pages();
    pages.await_answer("/readyz", None);
    servers.execute("INSERT INTO t VALUES (1, repeat('x', 2000000)), (2, 'small')");
    pages.await_answer("/readyz", Some("oversized_rows=1 key=\"/copy/t/1\""));
    wait_until("etcd to remember", || servers.keys("/.pg2etcd/pg2etcd/left_out").len() == 1);
    daemon.stop();
    // It is remembered.
    let mut daemon = launch.start();
    daemon.pages().await_answer("/readyz", Some("key=\"/copy/t/1\""));
    let (status, json, _) = launch.ask(&["status", "-j"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, json["oversized"].to_string()), (1, r#"["/copy/t/1"]"#.to_owned()));
    servers.execute("UPDATE t SET s = 'small' WHERE id = 1");
    daemon.pages().await_answer("/readyz", None);
    wait_until("etcd to forget", || servers.keys("/.pg2etcd/pg2etcd/left_out").is_empty());
    assert_eq!(launch.ask(&["status"]).0, 0);
    // A row that is gone is not missing.
    for (id, gone) in [(3, "DELETE FROM t WHERE id = 3"), (4, "TRUNCATE t")] {
        servers.execute(&format!("INSERT INTO t VALUES ({id}, repeat('x', 2000000))"));
        let lacking = format!("oversized_rows=1 key=\"/copy/t/{id}\"");
        daemon.pages().await_answer("/readyz", Some(&lacking));
        servers.execute(gone);
        daemon.pages().await_answer("/readyz", None);
    }
    wait_until("etcd to forget", || servers.keys("/.pg2etcd/pg2etcd/left_out").is_empty());
    daemon.stop();
}

/// Without the dump that it would take, changes are missing until all tables were compared.
#[test]
fn a_slot_that_is_ahead_is_said() {
    let servers = Servers::start();
    if servers.lacks(11, "pg_replication_slot_advance") {
        return;
    }
    servers.execute("CREATE TABLE t (id int PRIMARY KEY)");
    started(&servers).stop();
    servers.execute("INSERT INTO t VALUES (1)");
    servers.execute("SELECT pg_replication_slot_advance('pg2etcd', pg_current_wal_lsn())");
    let (status, out, _) = servers.daemon().ask(&["status"]);
    assert!(status == 1 && out.contains("slot pg2etcd is ahead of the position"), "{out}");
    let mut daemon =
        servers.daemon().set("sync.dump", "false").set("status.listen", "127.0.0.1:0").start();
    let pages = daemon.pages();
    pages.await_answer("/readyz", Some("without_dump="));
    assert_eq!(servers.daemon().ask(&["resync"]).0, 0);
    pages.await_answer("/readyz", None);
    assert_equal(&servers, &["t"]);
    daemon.stop();
}

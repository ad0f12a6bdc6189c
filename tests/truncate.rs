//! TRUNCATE in its place among the other changes.

use crate::support::{Proxy, Servers, assert_equal, caught_up, wait_until};

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE tt (id int PRIMARY KEY);
    CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t);
    INSERT INTO t SELECT n, 0 FROM generate_series(1, 400) n; INSERT INTO tt SELECT n FROM generate_series(1, 50) n;
    INSERT INTO child SELECT n, n FROM generate_series(1, 50) n";
const TABLES: [&str; 3] = ["t", "tt", "child"];

#[test]
fn between_other_changes() {
    let servers = Servers::start();
    if servers.lacks(11, "TRUNCATE in the stream") {
        return;
    }
    servers.execute(SCHEMA);
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    for (change, left) in [
        ("TRUNCATE tt", 0),
        ("INSERT INTO tt VALUES (1), (2)", 2),
        // Alone, first, in the middle, last, twice, undone, and more than one txn takes on either side.
        ("BEGIN; TRUNCATE tt; INSERT INTO tt VALUES (2), (3), (4); COMMIT", 3),
        ("BEGIN; INSERT INTO tt VALUES (7), (8); DELETE FROM tt WHERE id = 2; TRUNCATE tt; COMMIT", 0),
        ("BEGIN; INSERT INTO tt VALUES (1); TRUNCATE tt; INSERT INTO tt VALUES (1), (9); TRUNCATE tt;
          INSERT INTO tt VALUES (5); COMMIT", 1),
        ("BEGIN; INSERT INTO tt VALUES (6); SAVEPOINT s; TRUNCATE tt; ROLLBACK TO s; COMMIT", 2),
        ("BEGIN; INSERT INTO tt SELECT n FROM generate_series(100, 900) n; TRUNCATE tt;
          INSERT INTO tt SELECT n FROM generate_series(300, 700) n; COMMIT", 401),
        ("BEGIN; DELETE FROM tt WHERE id < 350; TRUNCATE tt; INSERT INTO tt VALUES (1); COMMIT", 1),
        ("TRUNCATE t, child, tt", 0),
        ("BEGIN; INSERT INTO t VALUES (1, 1); INSERT INTO child VALUES (1, 1); INSERT INTO tt VALUES (1);
          TRUNCATE t CASCADE; INSERT INTO t VALUES (2, 2); COMMIT", 1),
    ] {
        servers.execute(change);
        assert_equal(&servers, &TABLES);
        assert_eq!(servers.keys("/copy/tt/").len(), left, "{change}");
    }
    daemon.stop();
}

#[test]
fn others_change_meanwhile_and_a_backlog_waits() {
    let servers = Servers::start();
    if servers.lacks(11, "TRUNCATE in the stream") {
        return;
    }
    servers.execute(SCHEMA);
    let proxy = Proxy::before(servers.etcd_port);
    let behind_proxy = format!("127.0.0.1:{}", proxy.port);
    let mut daemon = servers.daemon().set("etcd.endpoints", behind_proxy).start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    let begin = servers.revision();
    // All of these wait for etcd together.
    proxy.hold(true);
    for n in 1..=30 {
        servers.execute(&format!("UPDATE t SET n = n + 1 WHERE id = {n}"));
        servers
            .execute(&format!("BEGIN; TRUNCATE tt; INSERT INTO tt VALUES ({n}), (1000); COMMIT"));
    }
    proxy.hold(false);
    assert_equal(&servers, &TABLES);
    // Each filling is seen: what was truncated is gone before it comes again.
    let history = servers.history("/copy/tt/", begin + 1);
    let versions = history.of("/copy/tt/1000");
    let puts = versions.iter().filter(|value| value.is_some()).count();
    assert_eq!(puts, 30, "{versions:?}");
    assert_eq!(versions.len(), 59, "a delete between each two: {versions:?}");
    assert!(history.of("/copy/tt/17").len() >= 2);
    wait_until("etcd to be equal again", || servers.keys("/copy/tt/").len() == 2);
}

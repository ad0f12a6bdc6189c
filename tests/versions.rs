//! Every version of a row is seen, in commit order, and a transaction is seen as one.

use std::collections::BTreeMap;

use crate::support::{
    CHECKPOINT, Load, Proxy, Random, SCHEMA, Servers, TABLES, assert_equal, caught_up, number,
    wait_until,
};

#[test]
fn transfers_leave_the_sum_the_same_at_every_revision() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut random = Random::new();
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    let load = Load::start(&servers, &mut random, 4);
    wait_until("some load", || load.committed() > 1500);
    load.stop();
    assert_equal(&servers, &TABLES);

    let history = servers.history("/", 1);
    history.assert_every_version_once("/copy/account/", "version");
    let mut balances = BTreeMap::new();
    let mut synced = 0;
    for events in history.revisions() {
        for event in events.iter().filter(|event| event.key.starts_with("/copy/account/")) {
            balances.insert(&event.key, number(event.value.as_ref().unwrap(), "balance"));
        }
        if balances.len() == 20 {
            let sum: i64 = balances.values().sum();
            assert_eq!(sum, 20_000, "at revision {}: {balances:?}", events[0].revision);
            synced += 1;
        }
        let rows = events.iter().any(|event| event.key.starts_with("/copy/"));
        let position = events.iter().any(|event| event.key == CHECKPOINT);
        assert!(!rows || position || synced < 20, "rows without their position: {events:?}");
    }
    assert!(synced > 50, "only {synced} revisions");
}

/// The most versions that can wait: etcd is out of reach while they are made.
fn with_a_backlog(coalesce: bool) -> (Servers, usize) {
    let servers = Servers::start();
    servers.execute(
        "CREATE TABLE hot (id int PRIMARY KEY, version int); INSERT INTO hot VALUES (1, 0), (2, 0)",
    );
    let proxy = Proxy::before(servers.etcd_port);
    let behind_proxy = format!("127.0.0.1:{}", proxy.port);
    let launch = servers.daemon().set("database.replication_status_timeout", "200ms");
    let launch = launch.set("etcd.endpoints", behind_proxy).set("sync.coalesce", coalesce);
    // A status that says nothing new is not logged otherwise.
    let mut daemon = launch.argument("-v").start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    proxy.hold(true);
    let mut sql = servers.sql();
    for _ in 0..500 {
        sql.batch_execute("UPDATE hot SET version = version + 1 WHERE id = 1").unwrap();
    }
    sql.batch_execute("UPDATE hot SET version = 1 WHERE id = 2").unwrap();
    let statuses = daemon.count("Sending standby status");
    daemon.await_lines("Sending standby status", statuses + 2);
    proxy.hold(false);
    assert_equal(&servers, &["hot"]);
    let versions = servers.history("/copy/hot/1", 1).events.len();
    (servers, versions)
}

#[test]
fn a_backlog_keeps_every_version() {
    let (servers, versions) = with_a_backlog(false);
    servers.history("/copy/", 1).assert_every_version_once("/copy/hot/", "version");
    assert_eq!(versions, 501);
}

#[test]
fn with_coalesce_the_latest_version_of_a_backlog_wins() {
    let (servers, versions) = with_a_backlog(true);
    assert!(versions < 100, "{versions} versions");
    let history = servers.history("/copy/hot/1", 1);
    let versions =
        history.events.iter().map(|event| number(event.value.as_ref().unwrap(), "version"));
    assert!(versions.is_sorted(), "a version went back");
}

#[test]
fn a_transaction_that_fits_is_one_revision() {
    let servers = Servers::start();
    servers.execute("CREATE TABLE t (id int PRIMARY KEY, n int)");
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    let begin = servers.revision();
    // 127 keys and the position are the 128 operations that a txn may have.
    servers.execute("INSERT INTO t SELECT n, 0 FROM generate_series(1, 127) n");
    // A row that changes more than once is its last version; a row that comes and goes is nothing.
    servers.execute(
        "BEGIN; UPDATE t SET n = 1 WHERE id <= 60; UPDATE t SET n = 2 WHERE id <= 60; DELETE FROM t WHERE id = 1;
         INSERT INTO t VALUES (500, 0); DELETE FROM t WHERE id = 500; UPDATE t SET id = 1000 WHERE id = 2; COMMIT",
    );
    assert_equal(&servers, &["t"]);
    let history = servers.history("/", begin + 1);
    let revisions: Vec<_> = history
        .revisions()
        .map(|events| events.iter().filter(|event| event.key.starts_with("/copy/t/")).count())
        .filter(|count| *count > 0)
        .collect();
    assert_eq!(revisions[0], 127, "{revisions:?}");
    assert_eq!(revisions.len(), 2, "{revisions:?}");
    for id in 3..=60 {
        assert_eq!(history.of(&format!("/copy/t/{id}")).len(), 2);
    }
    assert_eq!(history.of("/copy/t/1").last(), Some(&None));
}

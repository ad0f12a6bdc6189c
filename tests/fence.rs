//! One writer: two daemons with the same slot never both write, and PostgreSQL forgets nothing that etcd lacks.

use std::collections::BTreeSet;

use rustix::process::Signal;

use crate::support::{
    Load, Proxy, Random, SCHEMA, Servers, TABLES, assert_equal, caught_up, lsn, wait_until,
};

#[test]
fn a_stale_daemon_is_refused() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let proxy = Proxy::before(servers.etcd_port);
    let behind_proxy = format!("127.0.0.1:{}", proxy.port);
    let mut stale = servers.daemon().set("etcd.endpoints", behind_proxy).start();
    stale.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    let walsender = servers.walsender().unwrap();

    // A txn of the first one is on its way when everything stands still.
    proxy.hold(true);
    let sent = proxy.bytes_from_client();
    servers.execute("UPDATE account SET version = version + 1");
    wait_until("the txn that will be late", || proxy.bytes_from_client() > sent);
    stale.signal(Signal::STOP);
    servers.value(&format!("SELECT pg_terminate_backend({walsender})"));
    servers.await_end_of_backend(&walsender);

    let mut second = servers.daemon().start();
    second.await_line("Resuming from ");
    servers.execute("UPDATE account SET version = version + 1");
    assert_equal(&servers, &TABLES);
    let answered = proxy.bytes_to_client();
    proxy.hold(false);
    wait_until("etcd's answer to the late txn", || proxy.bytes_to_client() > answered);
    stale.signal(Signal::CONT);
    stale.await_line("standing by");
    servers.execute("UPDATE account SET version = version + 1");
    assert_equal(&servers, &TABLES);
    let history = servers.history("/copy/", 1);
    history.assert_every_version_once("/copy/account/", "version");
    assert_eq!(history.below("/copy/account/").count(), 4 * 20);
    assert_eq!(second.stop().matches("another daemon").count(), 0);
}

#[test]
fn the_second_one_waits_and_takes_over() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut random = Random::new();
    let mut first = servers.daemon().start();
    first.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    let mut second = servers.daemon().start();
    second.await_line("standing by");
    let load = Load::start(&servers, &mut random, 2);
    wait_until("some load", || load.committed() > 100);
    first.kill();
    second.await_line("Resuming from ");
    let moment = load.committed() + 100;
    wait_until("some more load", || load.committed() > moment);
    load.stop();
    assert_equal(&servers, &TABLES);
    assert_eq!(second.stop().matches("ump").count(), 0);
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}

#[test]
fn the_flushed_lsn_never_passes_the_position() {
    let servers = Servers::with(&["-c", "wal_sender_timeout=1s"]);
    servers.execute(SCHEMA);
    let mut random = Random::new();
    let proxy = Proxy::before(servers.etcd_port);
    let behind_proxy = format!("127.0.0.1:{}", proxy.port);
    // Every status is a line of the log, not only those that tell of something new.
    let mut daemon = servers.daemon().argument("-v").set("etcd.endpoints", behind_proxy).start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    let mut sql = servers.sql();
    let mut check = || {
        // In this order: the position only grows, so what was flushed before it was read is never above it.
        let slots = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots";
        let flushed: String = sql.query_one(slots, &[]).unwrap().get(0);
        let position = servers.position().unwrap();
        assert!(lsn(&flushed) <= position.lsn(), "{flushed} is past {}", position.lsn);
        lsn(&flushed)
    };
    let load = Load::start(&servers, &mut random, 2);
    let mut flushed = BTreeSet::new();
    wait_until("the flushed LSN to move on", || {
        flushed.insert(check());
        flushed.len() > 5
    });
    // Statuses go on while nothing reaches etcd: what is received, and what is on its way, is then past what is there.
    proxy.hold_requests(true);
    let statuses = daemon.count("Sending standby status");
    daemon.await_lines("Sending standby status", statuses + 5);
    let position = servers.position().unwrap().lsn();
    let received = servers.value("SELECT pg_current_wal_lsn()").unwrap();
    assert!(lsn(&received) > position, "the load went on");
    check();
    proxy.hold_requests(false);
    load.stop();
    assert_equal(&servers, &TABLES);
    check();
}

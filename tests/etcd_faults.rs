//! etcd stops, starts again, or loses answers: nothing is lost, and nothing is done twice.

use rustix::process::Signal;

use crate::support::{
    Load, Part, Proxy, Random, SCHEMA, Servers, TABLES, assert_equal, caught_up, wait_until,
};

#[test]
fn a_stopped_etcd_leaves_the_walsender_running() {
    let servers = Servers::with(&["-c", "wal_sender_timeout=2s"]);
    servers.execute(SCHEMA);
    let mut random = Random::new();
    let launch = servers.daemon().set("etcd.request_timeout", "1s");
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    let walsender = servers.walsender();
    assert!(walsender.is_some());
    let load = Load::start(&servers, &mut random, 2);
    wait_until("some load", || load.committed() > 100);
    servers.signal(Part::Etcd, Signal::STOP);
    let moment = load.committed() + 300;
    wait_until("a backlog", || load.committed() > moment);
    load.stop();
    let stopped = servers.value("SELECT clock_timestamp()").unwrap();
    let past = format!("SELECT clock_timestamp() > '{stopped}'::timestamptz + interval '6 s'");
    wait_until("three times wal_sender_timeout", || {
        servers.value(&past).as_deref() == Some("true")
    });
    assert_eq!(servers.walsender(), walsender);
    servers.signal(Part::Etcd, Signal::CONT);
    assert_equal(&servers, &TABLES);
    assert_eq!(servers.walsender(), walsender);
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}

#[test]
fn etcd_restarts_and_is_killed_under_load() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut random = Random::new();
    let mut daemon = servers.daemon().set("etcd.request_timeout", "2s").start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    let walsender = servers.walsender();
    let load = Load::start(&servers, &mut random, 2);
    for kill in [false, true, true] {
        let moment = servers.revision() + 20 + random.below(100) as i64;
        wait_until("etcd to move on", || servers.revision() > moment);
        if kill {
            servers.kill(Part::Etcd);
        }
        servers.restart(Part::Etcd, &[]);
    }
    load.stop();
    assert_equal(&servers, &TABLES);
    assert_eq!(servers.walsender(), walsender);
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}

#[test]
fn without_etcd_it_says_so_once_and_waits() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.kill(Part::Etcd);
    let mut daemon = servers.daemon().argument("-v").start();
    daemon.await_line("(attempt 4)");
    assert_eq!(daemon.count("WARN"), 1, "{}", daemon.output());
    assert_eq!(daemon.count("etcd: "), 4, "{}", daemon.output());
    servers.restart(Part::Etcd, &[]);
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
}

#[test]
fn lost_answers_to_txns_are_settled() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut random = Random::new();
    let proxy = Proxy::before(servers.etcd_port);
    let behind_proxy = format!("127.0.0.1:{}", proxy.port);
    let mut daemon = servers.daemon().set("etcd.endpoints", behind_proxy).start();
    daemon.await_line("Dump finished");
    let load = Load::start(&servers, &mut random, 2);
    for count in 1..=8 {
        // Now and then the question how it went has no answer either.
        proxy.lose_answers(if count % 4 == 0 { "/kv/" } else { "/kv/txn" }, 2);
        wait_until("two lost answers", || proxy.lost() == 2 * count);
        let moment = servers.revision() + 5;
        wait_until("etcd to move on", || servers.revision() > moment);
    }
    load.stop();
    assert_equal(&servers, &TABLES);
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
    let log = daemon.stop();
    assert!(!log.contains("another daemon"), "{log}");
    assert_eq!(log.matches("Resuming from ").count(), 1, "{log}");
}

#[test]
fn lost_answers_during_a_start_and_a_dump() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute("INSERT INTO part SELECT n, 'many', 1.0 FROM generate_series(1, 5000) n");
    let proxy = Proxy::before(servers.etcd_port);
    let behind_proxy = format!("127.0.0.1:{}", proxy.port);
    let launch = servers.daemon().set("etcd.endpoints", behind_proxy);
    // The position is asked for first; then it is put; then come the rows.
    for (part, count) in [("/kv/range", 2), ("/kv/txn", 1), ("/kv/txn", 4)] {
        proxy.lose_answers(part, count);
        let before = proxy.lost();
        let mut daemon = launch.start();
        daemon.await_line("Dump finished");
        wait_until("lost answers", || proxy.lost() == before + count as u64);
        assert_equal(&servers, &TABLES);
        daemon.stop();
        servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
        servers
            .execute("UPDATE part SET price = price + 1; DELETE FROM part WHERE number % 10 = 3");
    }
}

#[test]
fn a_slow_etcd_is_waited_for() {
    let servers = Servers::with(&["-c", "wal_sender_timeout=1s"]);
    servers.execute(SCHEMA);
    let proxy = Proxy::before(servers.etcd_port);
    let behind_proxy = format!("127.0.0.1:{}", proxy.port);
    let mut daemon = servers.daemon().set("etcd.endpoints", behind_proxy).start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    let walsender = servers.walsender();
    proxy.throttle(50_000);
    // 200 KB at 50 KB/s take four times wal_sender_timeout.
    servers.execute(
        "INSERT INTO part SELECT n, 'slow', 1, repeat('z', 1000) FROM generate_series(1, 120) n",
    );
    assert_equal(&servers, &TABLES);
    assert_eq!(servers.walsender(), walsender);
}

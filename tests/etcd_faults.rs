//! etcd stops, starts again, or loses answers: nothing is lost, and nothing is done twice.

use std::time::{Duration, Instant};

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
fn what_answers_in_place_of_etcd_is_waited_out() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let proxy = Proxy::before(servers.etcd_port);
    let behind_proxy = format!("127.0.0.1:{}", proxy.port);
    let launch = servers.daemon().set("etcd.endpoints", &behind_proxy);
    // At the start it is a mistake in the settings.
    proxy.answer(Some(("404 Not Found", "404 page not found")));
    let (status, log) = launch.run();
    assert_eq!(status, 2, "{log}");
    assert!(log.contains(&behind_proxy) && log.contains("--enable-grpc-gateway"), "{log}");
    proxy.answer(None);
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    for (count, (status, body)) in [
        ("404 Not Found", "404 page not found"),
        ("400 Bad Request", "<html>"),
        ("405 Method Not Allowed", ""),
        ("413 Content Too Large", "<html>too large</html>"),
        ("421 Misdirected Request", ""),
        ("502 Bad Gateway", "<html>"),
        ("200 OK", "<html>maintenance</html>"),
    ]
    .into_iter()
    .enumerate()
    {
        proxy.answer(Some((status, body)));
        servers.execute("UPDATE account SET version = version + 1");
        let code = &status[..3];
        let line = daemon.await_line(&format!("(HTTP status {code})"));
        assert_eq!(line.contains("etcd.max_request_bytes"), code == "413", "{line}");
        proxy.answer(None);
        daemon.await_lines("Works again", count + 1);
        caught_up(&servers);
    }
    assert_equal(&servers, &TABLES);
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
    daemon.stop();
}

#[test]
fn another_cluster_behind_the_same_name_is_not_written() {
    let servers = Servers::start();
    let other = Servers::with(&["--only", "etcd"]);
    servers.execute(SCHEMA);
    let proxy = Proxy::before(servers.etcd_port);
    let launch = servers.daemon().set("etcd.endpoints", format!("127.0.0.1:{}", proxy.port));
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    proxy.lead_to(other.etcd_port);
    proxy.cut();
    servers.execute("UPDATE account SET version = version + 1");
    daemon.await_line("belongs to etcd cluster");
    let before = servers.revision();
    assert_eq!(other.revision(), 1, "{}", daemon.output());
    proxy.lead_to(servers.etcd_port);
    proxy.cut();
    wait_until("the copy to go on", || servers.revision() > before);
    assert_equal(&servers, &TABLES);
    assert_eq!(other.revision(), 1, "{}", daemon.output());
    assert_eq!(daemon.count("Redumping"), 0, "{}", daemon.output());
    daemon.stop();

    // At the start both are named, whichever answers first.
    let endpoints = format!("127.0.0.1:{},127.0.0.1:{}", servers.etcd_port, other.etcd_port);
    let (status, log) = launch.set("etcd.endpoints", endpoints).run();
    assert_eq!(status, 2, "{log}");
    for part in [servers.etcd_port, other.etcd_port].map(|port| format!("127.0.0.1:{port} to ")) {
        assert!(log.contains(&part) && log.contains("several clusters"), "{log}");
    }
}

#[test]
fn silent_endpoints_do_not_hold_up_a_stop() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let proxies: Vec<_> = (0..5).map(|_| Proxy::before(servers.etcd_port)).collect();
    let endpoints: Vec<_> =
        proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port)).collect();
    let launch = servers.daemon().set("etcd.endpoints", endpoints.join(","));
    let hold = |hold: bool| proxies.iter().for_each(|proxy| proxy.hold(hold));
    let from_client = || proxies.iter().map(Proxy::bytes_from_client).sum::<u64>();
    let stops = |daemon: crate::support::Daemon, when: &str| {
        let begun = Instant::now();
        let log = daemon.stop();
        assert!(begun.elapsed() < Duration::from_secs(5), "{when}: {:?}: {log}", begun.elapsed());
    };
    hold(true);
    let daemon = launch.start();
    wait_until("a question", || from_client() > 0);
    stops(daemon, "at the start");
    hold(false);
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    hold(true);
    let before = from_client();
    servers.execute("UPDATE account SET version = version + 1");
    wait_until("a txn", || from_client() > before);
    stops(daemon, "in the stream");
    hold(false);
    servers.execute("INSERT INTO part SELECT n, 'many', 1.0 FROM generate_series(1, 20000) n");
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    proxies.iter().for_each(|proxy| proxy.throttle(200_000));
    let mut daemon = launch.start();
    daemon.await_line("Redumping");
    let before = from_client();
    wait_until("some rows", || from_client() > before + 100_000);
    hold(true);
    stops(daemon, "in a dump");
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

//! `/healthz`, `/readyz` and the service manager: an idle daemon is not taken for a stuck one, nor the other way round.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Pages, Part, Proxy, SCHEMA, Servers, ServiceManager, TABLES, assert_equal, wait_until,
};

/// Waits so long by PostgreSQL's clock while the pages go on saying yes.
fn stays_ready(servers: &Servers, pages: &Pages, seconds: u32) {
    let begin = servers.value("SELECT clock_timestamp()").unwrap();
    let past = format!("SELECT clock_timestamp() > '{begin}'::timestamptz + '{seconds} s'");
    wait_until("some time", || {
        for path in ["/readyz", "/healthz"] {
            let answer = pages.get(path);
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
        servers.value(&past).as_deref() == Some("true")
    });
}

#[test]
fn readiness_follows_the_copy_and_retries_are_healthy() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute(
        "INSERT INTO part SELECT n, 'w', 1, repeat('x', 900) FROM generate_series(1, 300) n",
    );
    let proxy = Proxy::before(servers.etcd_port);
    proxy.throttle(100_000);
    let launch = servers
        .daemon()
        .set("etcd.endpoints", format!("127.0.0.1:{}", proxy.port))
        .set("status.listen", "127.0.0.1:0")
        .set("status.ready_lag", "64KiB")
        // The server is heard from within three of these.
        .set("database.replication_status_timeout", "300ms");
    let mut daemon = launch.start();
    let pages = daemon.pages();
    pages.await_answer("/readyz", Some("phase=dump"));
    assert!(pages.says("/healthz"));
    assert_eq!(pages.metric("pg2etcd_phase{phase=\"dump\"}"), 1.0);
    assert_eq!(daemon.count("Dump finished"), 0, "too late to see the dump");
    proxy.throttle(None);
    pages.await_answer("/readyz", None);
    assert_equal(&servers, &TABLES);
    stays_ready(&servers, &pages, 3);

    servers.kill(Part::Etcd);
    servers.execute("UPDATE part SET note = repeat('y', 900)");
    pages.await_answer("/readyz", Some("lag_bytes="));
    assert!(pages.says("/healthz"));
    servers.restart(Part::Etcd, &[]);
    pages.await_answer("/readyz", None);

    servers.signal(Part::Postgres, Signal::QUIT);
    pages.await_answer("/readyz", Some("phase=connecting"));
    assert!(pages.says("/healthz"));
    servers.restart(Part::Postgres, &[]);
    pages.await_answer("/readyz", None);

    // A server that is frozen is as silent as an idle one.
    let walsender = servers.walsender().unwrap().parse().unwrap();
    let signal = |signal| kill_process(Pid::from_raw(walsender).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    pages.await_answer("/readyz", Some("silence_seconds="));
    assert!(pages.says("/healthz"));
    signal(Signal::CONT);
    pages.await_answer("/readyz", None);

    let mut standby = launch.start();
    let standby_pages = standby.pages();
    standby_pages.await_answer("/readyz", Some("phase=standby"));
    assert!(standby_pages.says("/healthz"));
    daemon.kill();
    standby_pages.await_answer("/readyz", None);
    assert_equal(&servers, &TABLES);
}

#[test]
fn the_service_manager_is_told() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.kill(Part::Etcd);
    let manager = ServiceManager::new(&servers, "notify");
    let proxy = Proxy::before(servers.pg_port);
    let launch = |manager: &ServiceManager| {
        servers
            .daemon()
            .set("database.port", proxy.port)
            .set("status.stall_timeout", "2s")
            .set("etcd.request_timeout", "1s")
            .set("sync.catalog_period", "100ms")
            .environment("NOTIFY_SOCKET", manager.path.to_str().unwrap())
            .environment("WATCHDOG_USEC", "400000")
    };
    let mut daemon = launch(&manager).start();
    // It waits as it should: that is alive, and not started.
    daemon.await_line("etcd: ");
    let mut told = manager.await_line("WATCHDOG=1");
    told += &manager.await_line("WATCHDOG=1");
    assert!(told.contains("STATUS=phase=connecting") && !told.contains("READY=1"), "{told}");
    servers.restart(Part::Etcd, &[]);
    let told = manager.await_line("STATUS=phase=sync position=");
    assert_eq!(told.matches("READY=1").count(), 1, "{told}");

    let other = ServiceManager::new(&servers, "notify_standby");
    let standby = launch(&other).start();
    let told = other.await_line("STATUS=phase=standby");
    assert!(told.contains("READY=1") && told.contains("WATCHDOG=1"), "{told}");
    standby.stop();
    other.await_line("STOPPING=1");

    // A look at the tables that never comes back: a thread hangs.
    proxy.hold(true);
    let told = manager.await_line("thread=\"watch\" stuck_seconds=");
    assert!(told.contains("WATCHDOG=1"), "{told}");
    let told = manager.told_within(Duration::from_secs(2));
    assert!(!told.contains("WATCHDOG=1"), "{told}");
    proxy.hold(false);
    manager.await_line("WATCHDOG=1");
    daemon.stop();
    manager.await_line("STOPPING=1");
}

#[test]
fn nobody_has_to_be_trusted() {
    let servers = Servers::with(&["--only", "etcd"]);
    let launch = servers.daemon().set("database.port", 1).set("database.connection_retries", 1000);
    let mut daemon = launch.clone().set("status.listen", "127.0.0.1:0").start();
    let pages = daemon.pages();
    for (request, status) in [
        ("GET /healthz?verbose=1 HTTP/1.0\r\n\r\n", 200),
        ("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", 503),
        ("GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /?%3Cscript%3E HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /status.json HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /page.html HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("POST /status.json HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("nonsense\r\n\r\n", 400),
        ("\u{1}\u{2}\u{3}", 400),
    ] {
        assert_eq!(pages.ask(request.as_bytes()).status, status, "{request:?}");
    }
    let answer = pages.ask(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.body.is_empty() && answer.head.contains("version=0.0.4"), "{answer:?}");
    assert!(pages.ask(b"PUT / HTTP/1.1\r\n\r\n").head.contains("Allow: GET, HEAD"));
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(9_000));
    assert_eq!(pages.ask(endless.as_bytes()).status, 431);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(65));
    assert_eq!(pages.ask(many.as_bytes()).status, 431);

    // Clients that only sit there leave room for others, and go at last.
    let mut idle: Vec<_> = (0..100).map(|_| pages.connect()).collect();
    for stream in &mut idle {
        let _ = stream.write(b"GET /he");
        assert!(pages.says("/healthz"));
    }
    for mut stream in idle {
        assert!(matches!(stream.read(&mut [0; 10]), Ok(0) | Err(_)), "an answer to half a request");
    }
    assert!(pages.says("/healthz"));

    let (status, log) = launch.set("status.listen", "no.such.host.invalid:1").run();
    assert_eq!(status, 2, "{log}");
    assert!(log.contains("cannot listen on no.such.host.invalid:1 (status.listen)"), "{log}");
}

#[test]
fn an_address_in_use_is_waited_for_and_the_copy_goes_on() {
    let servers = Servers::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut daemon = servers.daemon().set("status.listen", &address).start();
    daemon.await_line(&format!("Cannot listen on {address} (status.listen): "));
    daemon.await_line("Resuming from ");
    assert_eq!(daemon.count("Serving metrics"), 0);
    drop(taken);
    daemon.await_line(&format!("Serving metrics and health: listen={address}"));
    assert!(daemon.pages().says("/healthz"));
    daemon.stop();
}

//! PostgreSQL restarts, is a standby for a while, or is out of reach.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{
    Load, Part, Proxy, Random, SCHEMA, Servers, TABLES, assert_equal, caught_up, wait_until,
};

#[test]
fn postgres_restarts_fast_and_immediately() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut random = Random::new();
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    let mut streams = 1;
    for signal in [Signal::INT, Signal::QUIT, Signal::KILL] {
        daemon.await_lines("Resuming from ", streams);
        let load = Load::start(&servers, &mut random, 2);
        wait_until("some load", || load.committed() > 200);
        load.stop();
        servers.signal(Part::Postgres, signal);
        servers.restart(Part::Postgres, &[]);
        streams += 1;
        daemon.await_lines("Resuming from ", streams);
        assert_equal(&servers, &TABLES);
    }
    let log = daemon.stop();
    assert_eq!(log.matches("umping").count(), 1, "{log}");
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}

#[test]
fn a_fast_shutdown_has_to_wait_for_nothing() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    // A server that shuts down waits until all is flushed, whatever the idle period.
    let mut daemon = servers.daemon().set("sync.idle_period", "1h").start();
    daemon.await_line("Resuming from ");
    servers.execute("UPDATE account SET version = version + 1");
    servers.signal(Part::Postgres, Signal::INT);
    let log = servers.folder.join("postgres.log");
    wait_until("the shutdown", || {
        fs::read_to_string(&log).unwrap().contains("database system is shut down")
    });
    servers.restart(Part::Postgres, &[]);
    daemon.await_lines("Resuming from ", 2);
}

#[test]
fn a_server_in_recovery_is_waited_for() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    servers.signal(Part::Postgres, Signal::INT);
    servers.make_standby();
    servers.restart(Part::Postgres, &[]);
    daemon.await_line("database is in recovery mode");
    let mut late = launch.set("sync.slot", "late").set("etcd.path", "late").start();
    late.await_line("database is in recovery mode");
    assert_eq!(servers.value("SELECT pg_is_in_recovery()").as_deref(), Some("true"));

    servers.promote();
    servers.execute("UPDATE account SET version = version + 1");
    daemon.await_lines("Resuming from ", 2);
    late.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    assert_eq!(servers.position().unwrap().timeline, 2);
    assert_eq!(daemon.count("Redumping"), 0, "{}", daemon.output());
    assert_eq!(late.count("database is in recovery mode"), 1, "{}", late.output());
}

#[test]
fn a_cut_connection_is_made_again() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut random = Random::new();
    let proxy = Proxy::before(servers.pg_port);
    let mut daemon = servers.daemon().set("database.port", proxy.port).start();
    daemon.await_line("Dump finished");
    let load = Load::start(&servers, &mut random, 2);
    for streams in 1..=5 {
        daemon.await_lines("Resuming from ", streams);
        let moment = load.committed() + 20 + random.below(100);
        wait_until("some load", || load.committed() > moment);
        proxy.cut();
    }
    proxy.refuse();
    let refused = daemon.count("PostgreSQL");
    wait_until("a refused connection", || daemon.count("PostgreSQL") > refused);
    proxy.accept();
    load.stop();
    assert_equal(&servers, &TABLES);
    assert_eq!(daemon.stop().matches("umping").count(), 1);
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}

#[test]
fn a_connection_that_hangs_is_given_up_by_the_server_and_made_again() {
    let servers = Servers::with(&["-c", "wal_sender_timeout=1s"]);
    servers.execute(SCHEMA);
    let proxy = Proxy::before(servers.pg_port);
    let mut daemon = servers.daemon().set("database.port", proxy.port).start();
    daemon.await_line("Dump finished");
    caught_up(&servers);
    let walsender = servers.walsender().unwrap();
    proxy.hold(true);
    servers.execute("UPDATE account SET version = version + 1");
    servers.await_end_of_backend(&walsender);
    servers.execute("UPDATE account SET version = version + 1");
    proxy.hold(false);
    daemon.await_lines("Resuming from ", 2);
    assert_equal(&servers, &TABLES);
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}

#[test]
fn a_slow_connection_is_good_enough() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let proxy = Proxy::before(servers.pg_port);
    proxy.delay(Duration::from_millis(20));
    let mut daemon = servers.daemon().set("database.port", proxy.port).start();
    daemon.await_line("Dump finished");
    servers.execute("UPDATE account SET version = version + 1; DELETE FROM part");
    assert_equal(&servers, &TABLES);
    daemon.stop();
}

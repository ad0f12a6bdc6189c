//! A daemon that ends, in order or not, is gone on with.

use crate::support::{
    Load, Random, SCHEMA, Servers, TABLES, assert_equal, await_equal, wait_until,
};

#[test]
fn a_restart_resumes_without_a_dump() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    // The position is not to follow what PostgreSQL itself writes to its log.
    let launch = servers.daemon().set("sync.idle_period", "1h");
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    servers.execute("UPDATE account SET version = version + 1");
    await_equal(&servers, &TABLES);
    daemon.stop();
    let revision = servers.revision();

    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    daemon.await_line("Sending standby status");
    assert_eq!(daemon.count("ump"), 0, "{}", daemon.output());
    assert_eq!(servers.revision(), revision);

    daemon.stop();
    servers.execute("UPDATE account SET version = version + 1; DELETE FROM part WHERE number < 50");
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    await_equal(&servers, &TABLES);
    assert_eq!(daemon.stop().matches("ump").count(), 0);
    let history = servers.history("/copy/", revision + 1);
    assert_eq!(history.below("/copy/account/").count(), 20, "each account once");
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}

#[test]
fn killed_at_random_moments() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut random = Random::new();
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    let load = Load::start(&servers, &mut random, 2);
    for _ in 0..8 {
        let moment = servers.revision() + random.below(150) as i64;
        wait_until("etcd to move on", || servers.revision() > moment);
        daemon.kill();
        daemon = launch.start();
    }
    assert!(load.stop() > 0);
    assert_equal(&servers, &TABLES);
    assert_eq!(daemon.stop().matches("ump").count(), 0);
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}

#[test]
fn killed_while_it_dumps() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute("INSERT INTO part SELECT n, 'many', 1.0 FROM generate_series(1, 20000) n");
    let mut random = Random::new();
    let launch = servers.daemon();
    for _ in 0..4 {
        let daemon = launch.start();
        let moment = servers.revision() + random.below(80) as i64;
        wait_until("etcd to move on", || servers.revision() > moment);
        assert_eq!(daemon.count("Dump finished"), 0, "too late to kill it");
        daemon.kill();
        assert_eq!(servers.position().unwrap().phase, "dump");
        servers.execute("DELETE FROM part WHERE number % 10 = 1 AND name <> 'many'");
        // The next one has every row to write again.
        servers.execute("UPDATE part SET price = price + 1");
    }
    let mut daemon = launch.start();
    daemon.await_line("Redumping: the last dump was not finished");
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
}

#[test]
fn without_a_dump_only_changes_are_copied() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut daemon = servers.daemon().set("sync.dump", "false").start();
    daemon.await_line("Resuming from ");
    servers
        .execute("UPDATE account SET version = 1 WHERE id = 3; INSERT INTO account VALUES (99, 0)");
    wait_until("the changes", || servers.keys("/copy/").len() >= 2);
    assert_eq!(
        Vec::from_iter(servers.keys("/copy/").into_keys()),
        ["/copy/account/3", "/copy/account/99"]
    );
    let log = daemon.stop();
    assert!(!log.contains("Dump finished"), "{log}");
}

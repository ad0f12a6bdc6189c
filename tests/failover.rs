//! Another server, another timeline, another daemon.

use crate::support::{
    Daemon, Load, Part, Random, SCHEMA, Servers, TABLES, assert_equal, wait_until,
};

/// Has PostgreSQL go on as the standby that it was not, promoted.
fn promote(servers: &Servers) {
    servers.make_standby();
    servers.restart(Part::Postgres, &[]);
    servers.promote();
}

#[test]
fn a_new_primary_that_lacks_transactions_which_etcd_has() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    servers.stop_postgres();
    servers.shell("cp -a postgres older");
    servers.restart(Part::Postgres, &[]);
    daemon.await_lines("Resuming from ", 2);
    servers.execute(
        "UPDATE account SET version = version + 1; DELETE FROM part WHERE number < 50;
         INSERT INTO account VALUES (100, 7)",
    );
    assert_equal(&servers, &TABLES);
    let begin = servers.revision();

    servers.stop_postgres();
    servers.shell("mv postgres newer; mv older postgres");
    promote(&servers);
    let reason = daemon.await_line("Redumping: ");
    assert!(reason.contains("a failover lost transactions"), "{reason}");
    daemon.await_lines("Dump finished", 2);
    assert_equal(&servers, &TABLES);
    assert_eq!(servers.position().unwrap().timeline, 2);
    // What was the same on both is not written again.
    let parts = servers.history("/copy/", begin + 1).below("/copy/part/").count();
    assert_eq!(parts, 49, "those that were deleted came back, and no other");
}

#[test]
fn a_new_primary_without_the_slot() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    servers.stop_postgres();
    // Before version 17 a standby has no logical slots.
    servers.shell("rm -r postgres/pg_replslot/pg2etcd");
    promote(&servers);
    servers.execute("UPDATE account SET version = version + 1 WHERE id = 3");
    daemon.await_line("Redumping: replication slot pg2etcd does not exist on this server");
    daemon.await_lines("Dump finished", 2);
    assert_equal(&servers, &TABLES);
    let history = servers.history("/copy/", 1);
    assert_eq!(history.of("/copy/account/3").len(), 2);
    assert_eq!(history.of("/copy/account/4").len(), 1);
}

#[test]
fn of_daemons_that_race_one_dumps_and_the_others_wait() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute("INSERT INTO part SELECT n, 'many', 1.0 FROM generate_series(1, 20000) n");
    let mut random = Random::new();
    let launch = servers.daemon();
    let mut daemons: Vec<Daemon> = (0..3).map(|_| launch.start()).collect();
    let load = Load::start(&servers, &mut random, 2);
    let count = |daemons: &[Daemon], text: &str| -> usize {
        daemons.iter().map(|daemon| daemon.count(text)).sum()
    };
    wait_until("one that streams", || count(&daemons, "Resuming from ") == 1);
    wait_until("two that wait", || count(&daemons, "is in use by another daemon") >= 2);
    assert_eq!(count(&daemons, "Dump finished"), 1);
    while daemons.len() > 1 {
        let active = daemons.iter().position(|daemon| daemon.count("Resuming from ") > 0).unwrap();
        daemons.swap_remove(active).kill();
        wait_until("another to take over", || count(&daemons, "Resuming from ") == 1);
    }
    load.stop();
    assert_equal(&servers, &TABLES);
    assert_eq!(count(&daemons, "ump"), 0, "{}", daemons[0].output());
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}

#[test]
fn the_one_that_waits_says_for_whom() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut first = servers.daemon().start();
    first.await_line("Resuming from ");
    let mut second = servers.daemon().start();
    let line = second.await_line("is in use by another daemon");
    let pid = servers.walsender().unwrap();
    assert!(line.contains(&format!("server process {pid}")), "{line}");
    first.stop();
    second.await_line("Resuming from ");
}

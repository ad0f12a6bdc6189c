//! What should not happen, and does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::{
    Load, Part, Random, SCHEMA, Servers, TABLES, assert_equal, await_equal, difference, wait_until,
};

#[test]
fn killed_at_each_step_of_a_start() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon();
    for step in ["Dumping: ", "Made publication", "umping: ", "Dump finished", "Resuming from "] {
        let mut daemon = launch.start();
        if servers.value("SELECT count(*) FROM pg_publication").as_deref() == Some("0") {
            daemon.await_line(step);
        }
        daemon.kill();
        servers.execute("UPDATE account SET version = version + 1");
    }
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    assert_equal(&servers, &TABLES);
}

#[test]
fn every_walsender_is_terminated() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut random = Random::new();
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    let load = Load::start(&servers, &mut random, 2);
    for round in 1..=5 {
        let before = load.committed();
        wait_until("some load", || load.committed() > before + 50);
        daemon.await_lines("Resuming from ", round);
        servers.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg2etcd'",
        );
    }
    load.stop();
    assert_equal(&servers, &TABLES);
    assert_eq!(daemon.count("Redumping"), 0);
    servers.history("/copy/", 1).assert_every_version_once("/copy/account/", "version");
}

#[test]
fn etcd_loses_all_it_had() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    // Key by key, by a user who means well.
    assert!(servers.etcdctl().args(["del", "--prefix", "/"]).output().unwrap().status.success());
    servers.execute("UPDATE account SET version = version + 1");
    daemon.await_lines("Dump finished", 2);
    assert_equal(&servers, &TABLES);
    // With its disk.
    servers.kill(Part::Etcd);
    std::fs::remove_dir_all(servers.folder.join("etcd/member")).unwrap();
    servers.restart(Part::Etcd, &[]);
    servers.execute("UPDATE account SET version = version + 1");
    daemon.await_lines("Dump finished", 3);
    assert_equal(&servers, &TABLES);
}

#[test]
fn etcd_is_compacted_while_a_redump_reads_it() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    servers.execute(
        "INSERT INTO part SELECT n, 'many', 1.0, repeat('x', 500) FROM generate_series(1, 30000) n",
    );
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    daemon.stop();
    servers.execute(
        "SELECT pg_drop_replication_slot('pg2etcd');
         UPDATE part SET price = 2 WHERE number % 100 = 0; DELETE FROM part WHERE number = 77",
    );
    let done = AtomicBool::new(false);
    let compactions = thread::scope(|scope| {
        let compactor = scope.spawn(|| {
            let mut compactions = 0;
            while !done.load(Ordering::SeqCst) {
                // Only what is past can be compacted: each makes the next possible.
                servers.put("/elsewhere", "x");
                let revision = servers.revision().to_string();
                let compacted = servers.etcdctl().args(["compact", &revision]).output().unwrap();
                compactions += u32::from(compacted.status.success());
            }
            compactions
        });
        let mut daemon = servers.daemon().start();
        daemon.await_line("Dump finished");
        done.store(true, Ordering::SeqCst);
        compactor.join().unwrap()
    });
    assert!(compactions > 3, "only {compactions}");
    let _daemon = servers.daemon().start();
    assert_equal(&servers, &TABLES);
}

#[test]
fn etcd_runs_out_of_space() {
    let servers = Servers::with(&["--etcd-arg", "--quota-backend-bytes=8000000"]);
    servers.execute(SCHEMA);
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &TABLES);
    let walsender = servers.walsender();
    for _ in 0..30 {
        servers.execute("UPDATE part SET note = repeat('y', 10000), price = price + 1");
    }
    let line = daemon.await_line("space");
    assert!(line.contains("WARN"), "{line}");
    assert_eq!(servers.walsender(), walsender);
    // As etcd's manual says: compact, defragment, disarm; what waits may fill it again, and again.
    let free = || {
        let revision = servers.revision().to_string();
        for arguments in [&["compact", &revision][..], &["defrag"], &["alarm", "disarm"]] {
            let _ = servers.etcdctl().args(arguments).output();
        }
    };
    wait_until("all to be written", || {
        free();
        difference(&servers, &TABLES).is_none()
    });
    await_equal(&servers, &TABLES);
    assert_eq!(daemon.count("Redumping"), 0);
}

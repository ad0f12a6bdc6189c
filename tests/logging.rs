//! What the log looks like to those who read it.

use std::fs::File;
use std::io::{BufRead, BufReader, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Proxy, SCHEMA, Servers, TABLES, assert_equal, caught_up, wait_until};

/// The first lines that it logs when nobody listens anywhere; `stream` is made of the device and the inode of its
/// standard error.
fn first_lines(stream: impl Fn(u64, u64) -> String) -> Vec<String> {
    let (reader, writer) = pipe().unwrap();
    let metadata = File::from(OwnedFd::from(writer.try_clone().unwrap())).metadata().unwrap();
    // Port 1 is free on every machine.
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_pg2etcd"))
        .env_clear()
        .env("JOURNAL_STREAM", stream(metadata.dev(), metadata.ino()))
        .args(["-o", "database.user=nobody", "-o", "etcd.endpoints=127.0.0.1:1"])
        .args(["-o", "status.listen=127.0.0.1:0"])
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    let lines = BufReader::new(reader).lines().take(5).map(Result::unwrap).collect();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    lines
}

#[test]
fn the_journal_gets_priorities_and_others_times() {
    let lines = first_lines(|device, inode| format!("{device}:{inode}"));
    let version = concat!("<6>pg2etcd ", env!("CARGO_PKG_VERSION"), ", process ");
    for (line, begin) in lines.iter().zip([
        version,
        "<6>Source: PostgreSQL database=nobody hosts=localhost:5432 user=nobody slot=pg2etcd \
         publication=pg2etcd",
        "<6>Target: etcd endpoints=127.0.0.1:1 path=/nobody/ state_path=/.pg2etcd/pg2etcd/",
        "<6>Serving metrics and health: listen=127.0.0.1:",
        "<4>etcd: ",
    ]) {
        assert!(line.starts_with(begin), "{begin}: {lines:?}");
    }

    // The variable was inherited, and the stream leads elsewhere.
    let lines = first_lines(|device, inode| format!("{device}:{}", inode + 1));
    assert!(lines[3].contains("Z INFO  Serving metrics and health: listen="), "{lines:?}");
    assert!(lines[4].contains("Z WARN  etcd: "), "{lines:?}");
}

#[test]
fn the_last_line_says_why_it_ends() {
    let servers = Servers::start();
    let launch = servers.daemon();
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut daemon = launch.start();
        daemon.await_line("Resuming from ");
        daemon.signal(signal);
        assert_eq!(daemon.exit_status(), 0, "{}", daemon.output());
        let lines = daemon.lines();
        assert!(lines.last().unwrap().ends_with(&format!("INFO  Stopped by {name}")), "{lines:?}");
    }
    let (status, log) = launch.clone().set("database.user", "nobody").run();
    assert_eq!(status, 2, "{log}");
    assert!(log.lines().last().unwrap().contains("ERROR Cannot go on: PostgreSQL: "), "{log}");
}

#[test]
fn a_server_that_hangs_up_is_said_so_and_what_works_again_is_named() {
    let servers = Servers::start();
    let proxy = Proxy::before(servers.pg_port);
    let launch = servers.daemon().set("database.port", proxy.port);
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    proxy.refuse();
    proxy.cut();
    daemon.await_line("the server closed the connection");
    proxy.accept();
    daemon.await_line("Works again: PostgreSQL: failed_attempts=");
    daemon.await_lines("Resuming from ", 2);
    assert!(!daemon.stop().contains("whole buffer"));
}

#[test]
fn an_idle_database_has_no_statuses_in_the_log() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon().set("database.replication_status_timeout", "50ms");
    let mut daemon = launch.argument("-v").start();
    daemon.await_line("Resuming from ");
    assert_equal(&servers, &TABLES);
    caught_up(&servers);
    let all = daemon.count("Sending standby status");
    daemon.await_lines("Sending standby status", all + 2);
    let before = daemon.count("INFO  Sending standby status");
    // WAL without a row.
    servers.execute("SELECT pg_switch_wal()");
    caught_up(&servers);
    let all = daemon.count("Sending standby status");
    daemon.await_lines("Sending standby status", all + 10);
    assert_eq!(daemon.count("INFO  Sending standby status"), before, "{}", daemon.output());
    servers.execute("UPDATE account SET version = version + 1");
    wait_until("a line", || daemon.count("INFO  Sending standby status") > before);
    daemon.stop();
}

//! `wait`: the read barrier.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::{CHECKPOINT, Part, SCHEMA, Servers};

/// A position as a daemon would put it.
fn position(phase: &str, lsn: u64, more: &str) -> String {
    format!(
        r#"{{"version":1,"phase":"{phase}","lsn":"0/{lsn:X}","timeline":1,"system_identifier":"1","database":"postgres","slot":"pg2etcd","publication":"pg2etcd","made_publication":true,"path":"copy","committed_at":"2026-01-02T03:04:05.678901Z"{more}}}"#
    )
}

/// Starts a wait, and returns once etcd knows of its watch.
fn watching(servers: &Servers, command: &mut Command) -> Child {
    let child = command.spawn().expect("pg2etcd");
    servers.await_watch();
    child
}

#[test]
fn it_ends_when_the_position_is_there_and_says_what_is_in_the_way() {
    let servers = Servers::with(&["--only", "etcd"]);
    let launch = servers.daemon().set("database.port", 1);
    for words in [
        &["wait"][..],
        &["wait", ""],
        &["wait", "123"],
        &["wait", "0/1", "0/2"],
        &["wait", "-t", "5", "0/1"],
        &["wait", "-t", "0s", "0/1"],
    ] {
        let (status, result, message) = launch.ask(words);
        assert_eq!((status, &result[..]), (2, ""), "{words:?}: {message}");
    }
    let wait = |lsn: &str| launch.ask(&["wait", "-t", "200ms", lsn]);
    let (status, _, message) = wait("0/10");
    assert!(status == 1 && message.contains("no position"), "{status} {message}");
    // In the dump phase etcd has not what the position says.
    servers.put(CHECKPOINT, &position("dump", 0x20, ""));
    let (status, _, message) = wait("0/10");
    assert!(status == 1 && message.contains("being loaded"), "{status} {message}");
    for more in ["", r#","partial":"0/99""#] {
        servers.put(CHECKPOINT, &position("sync", 0x20, more));
        for (lsn, expected) in [("0/0", 0), ("0/20", 0), ("0/21", 1), ("FFFFFFFF/0", 1)] {
            let (status, result, message) = wait(lsn);
            assert_eq!((status, &result[..]), (expected, ""), "{lsn}: {message}");
            assert_eq!(message.contains("etcd is at 0/20"), expected == 1, "{message}");
        }
    }
    servers.put(CHECKPOINT, "{}");
    let (status, _, message) = wait("0/10");
    assert!(status == 2 && message.contains("not a position"), "{status} {message}");
}

#[test]
fn it_ends_at_once_when_the_position_comes() {
    let servers = Servers::with(&["--only", "etcd"]);
    let launch = servers.daemon().set("database.port", 1);
    servers.put(CHECKPOINT, &position("sync", 0x20, ""));
    let mut fastest = Duration::MAX;
    for lsn in 0x21..0x29_u64 {
        let mut wait = watching(&servers, &mut launch.command(&["wait", &format!("0/{lsn:X}")]));
        // Neither is a position at that LSN.
        servers.put("/other", "");
        servers.put(CHECKPOINT, &position("dump", lsn, ""));
        assert!(wait.try_wait().unwrap().is_none(), "it ended too early");
        servers.put(CHECKPOINT, &position("sync", lsn, ""));
        let put = Instant::now();
        assert_eq!(wait.wait().unwrap().code(), Some(0));
        fastest = fastest.min(put.elapsed());
    }
    println!("{fastest:?} from the position to the end of the process");
    // The machine may be busy, but not each time: whoever polls has to do so all the time.
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
}

#[test]
fn a_watch_that_breaks_is_made_again() {
    let servers = Servers::with(&["--only", "etcd"]);
    // Each watch is a short one, too.
    let launch = servers.daemon().set("database.port", 1).set("etcd.request_timeout", "1s");
    servers.put(CHECKPOINT, &position("sync", 0x20, ""));
    let mut wait = watching(&servers, &mut launch.command(&["wait", "-t", "2m", "0/21"]));
    servers.kill(Part::Etcd);
    let (status, _, message) = launch.ask(&["wait", "-t", "300ms", "0/21"]);
    assert!(status == 1 && message.contains("no connection"), "{status} {message}");
    servers.restart(Part::Etcd, &[]);
    assert!(wait.try_wait().unwrap().is_none(), "it gave up");
    // What was compacted away in between does not matter.
    servers.put(CHECKPOINT, &position("sync", 0x20, ""));
    let revision = servers.revision().to_string();
    assert!(servers.etcdctl().args(["compaction", &revision]).output().unwrap().status.success());
    servers.put(CHECKPOINT, &position("sync", 0x21, ""));
    assert_eq!(wait.wait().unwrap().code(), Some(0));
}

#[test]
fn what_was_committed_before_is_read_after() {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let launch = servers.daemon();
    let mut daemon = launch.start();
    daemon.await_line("Dump finished");
    for id in 100..110 {
        servers.execute(&format!("INSERT INTO account VALUES ({id}, {id})"));
        let lsn = servers.value("SELECT pg_current_wal_lsn()").unwrap();
        assert_eq!(launch.ask(&["wait", &lsn]).0, 0);
        assert_eq!(servers.keys(&format!("/copy/account/{id}")).len(), 1);
    }
    // Nothing is written: the position follows the WAL all the same.
    servers.execute("SELECT pg_switch_wal(); CHECKPOINT");
    let lsn = servers.value("SELECT pg_current_wal_lsn()").unwrap();
    assert_eq!(launch.ask(&["wait", &lsn]).0, 0);
    let in_vain = || launch.ask(&["wait", "-t", "100ms", "FFFFFFFF/0"]);
    let (status, _, message) = in_vain();
    assert!(status == 1 && message.contains("; a daemon streams, by server "), "{message}");
    daemon.stop();
    let (status, _, message) = in_vain();
    let expected = "; no daemon streams from slot pg2etcd";
    assert!(status == 1 && message.contains(expected), "{message}");
}

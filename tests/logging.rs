//! What the log looks like to those who read it.

use std::fs::File;
use std::io::{BufRead, BufReader, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

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
    let lines = BufReader::new(reader).lines().take(2).map(Result::unwrap).collect();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    lines
}

#[test]
fn the_journal_gets_priorities_and_others_times() {
    let lines = first_lines(|device, inode| format!("{device}:{inode}"));
    assert!(lines[0].starts_with("<6>Serving metrics and health: listen=127.0.0.1:"), "{lines:?}");
    assert!(lines[1].starts_with("<4>etcd: "), "{lines:?}");

    // The variable was inherited, and the stream leads elsewhere.
    let lines = first_lines(|device, inode| format!("{device}:{}", inode + 1));
    assert!(lines[0].contains("Z INFO  Serving metrics and health: listen="), "{lines:?}");
    assert!(lines[1].contains("Z WARN  etcd: "), "{lines:?}");
}

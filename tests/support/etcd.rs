//! What is in etcd, as `etcdctl` sees it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::servers::Servers;
use super::wait_until;

/// The position's key, unless a test says otherwise.
pub(crate) const CHECKPOINT: &str = "/.pg2etcd/pg2etcd/checkpoint";

/// The position, as CONTRACT 4 describes it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    pub(crate) version: u32,
    pub(crate) phase: String,
    pub(crate) lsn: String,
    pub(crate) timeline: u32,
    pub(crate) system_identifier: String,
    pub(crate) database: String,
    pub(crate) slot: String,
    pub(crate) publication: String,
    pub(crate) made_publication: bool,
    pub(crate) path: String,
    pub(crate) committed_at: String,
    #[serde(default)]
    pub(crate) partial: Option<String>,
}

impl Position {
    /// The LSN as a number.
    pub(crate) fn lsn(&self) -> u64 {
        lsn(&self.lsn)
    }
}

/// An LSN as a number.
pub(crate) fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').expect("an LSN");
    u64::from_str_radix(high, 16).unwrap() << 32 | u64::from_str_radix(low, 16).unwrap()
}

impl Servers {
    /// The keys below a prefix, with their values.
    pub(crate) fn keys(&self, prefix: &str) -> BTreeMap<String, String> {
        let reply = self.get(&["--prefix", prefix]).expect("etcdctl get");
        reply.kvs.into_iter().map(|found| (found.key(), found.value())).collect()
    }

    /// The keys below a prefix, with the revision of their last change.
    pub(crate) fn mod_revisions(&self, prefix: &str) -> BTreeMap<String, i64> {
        let reply = self.get(&["--prefix", prefix]).expect("etcdctl get");
        reply.kvs.into_iter().map(|found| (found.key(), found.mod_revision)).collect()
    }

    /// The store's revision.
    pub(crate) fn revision(&self) -> i64 {
        self.get(&["no such key"]).expect("etcdctl get").header.revision
    }

    /// The position; `None` if there is none, or if etcd does not answer.
    pub(crate) fn position(&self) -> Option<Position> {
        let reply = self.get(&[CHECKPOINT])?;
        let text = reply.kvs.first()?.value();
        Some(serde_json::from_str(&text).expect(&text))
    }

    /// Puts a key.
    pub(crate) fn put(&self, key: &str, value: &str) {
        self.change(&["put", key, value]);
    }

    /// Deletes a key.
    pub(crate) fn delete(&self, key: &str) {
        self.change(&["del", key]);
    }

    /// Waits until someone watches a key.
    pub(crate) fn await_watch(&self) {
        wait_until("a watch", || {
            let Ok(mut etcd) = TcpStream::connect(("127.0.0.1", self.etcd_port)) else {
                return false;
            };
            etcd.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
            let mut metrics = String::new();
            etcd.read_to_string(&mut metrics).unwrap();
            metrics.contains("\netcd_debugging_mvcc_watcher_total 1\n")
        });
    }

    #[track_caller]
    fn change(&self, arguments: &[&str]) {
        let output = self.etcdctl().args(arguments).output().expect("etcdctl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Whether this etcd knows an option; if not, a part of the test is left out, and the test says so.
    #[must_use]
    pub(crate) fn etcd_has(&self, option: &str) -> bool {
        let program = std::env::var("ETCD_BIN").unwrap_or_else(|_| "etcd".to_owned());
        let help = Command::new(program).arg("--help").output().expect("etcd");
        let has = [help.stdout, help.stderr]
            .iter()
            .any(|text| String::from_utf8_lossy(text).contains(option));
        if !has {
            println!("left out: {option}: a later etcd");
        }
        has
    }

    /// Runs etcdctl with these arguments.
    pub(crate) fn etcdctl(&self) -> Command {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .env("ETCDCTL_ENDPOINTS", format!("127.0.0.1:{}", self.etcd_port))
            .envs(&*self.etcdctl_environment.lock().unwrap());
        command
    }

    /// Lets all that follows run etcdctl with this variable.
    pub(crate) fn etcdctl_with(&self, name: &str, value: &str) {
        self.etcdctl_environment.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    /// Runs etcdctl, which has to succeed.
    #[track_caller]
    pub(crate) fn run_etcdctl(&self, arguments: &[&str]) {
        self.change(arguments);
    }

    fn get(&self, arguments: &[&str]) -> Option<Range> {
        let output = self
            .etcdctl()
            .args(["get", "-w", "json"])
            .args(arguments)
            .output()
            .expect("etcdctl, of Debian's package etcd-client");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }
}

/// etcdctl's JSON; zero values are left out of it.
#[derive(Deserialize)]
struct Range {
    header: Header,
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) revision: i64,
}

#[derive(Deserialize)]
pub(super) struct KeyValue {
    key: String,
    #[serde(default)]
    value: String,
    pub(super) mod_revision: i64,
}

impl KeyValue {
    pub(super) fn key(&self) -> String {
        decoded(&self.key)
    }

    pub(super) fn value(&self) -> String {
        decoded(&self.value)
    }
}

fn decoded(text: &str) -> String {
    String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap()
}

//! Requests made beforehand, so that making them costs nothing while it is measured.

use std::collections::HashSet;
use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::Result;
use crate::connection::{TXN, request};

/// A txn, ready to be sent.
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    pub(crate) puts: usize,
    /// Where the position's `mod_revision` goes, if it has one.
    fence: Option<usize>,
}

/// Room for the digits of a `mod_revision`, its quote and white space.
const FENCE_BYTES: usize = 21;

const POSITION_KEY: &str = "/.pg2etcd/pg2etcd/checkpoint";
/// As long as those of pg2etcd are.
const POSITION: &str = concat!(
    r#"{"version":1,"phase":"sync","lsn":"0/16B6C50","timeline":1,"#,
    r#""system_identifier":"7312345678901234567","database":"bench","slot":"pg2etcd","#,
    r#""publication":"pg2etcd","made_publication":false,"path":"bench","#,
    r#""committed_at":"2026-01-02T03:04:05.678901Z"}"#
);

/// Packs the puts of a file into txns of so many operations. With a fence, one of them is the
/// position's, and a txn ends where a key comes for the second time.
pub(crate) fn read(file: &str, operations: usize, fenced: bool) -> Result<Vec<Request>> {
    let text = fs::read_to_string(file)?;
    let room = if fenced { operations - 1 } else { operations };
    let mut requests = Vec::new();
    let mut puts = Vec::new();
    let mut keys = HashSet::new();
    for line in text.lines() {
        let (key, value) = line.split_once('\t').ok_or("a line without a tab")?;
        if puts.len() == room || keys.contains(key) {
            requests.push(Request::new(&puts, fenced));
            puts.clear();
            keys.clear();
        }
        keys.insert(key);
        puts.push(put(key, value));
    }
    if !puts.is_empty() {
        requests.push(Request::new(&puts, fenced));
    }
    Ok(requests)
}

fn put(key: &str, value: &str) -> String {
    let (key, value) = (STANDARD.encode(key), STANDARD.encode(value));
    format!(r#"{{"request_put":{{"key":"{key}","value":"{value}"}}}}"#)
}

impl Request {
    fn new(puts: &[String], fenced: bool) -> Self {
        let mut body = format!(r#"{{"success":[{}"#, puts.join(","));
        if fenced {
            body += &format!(",{}", put(POSITION_KEY, POSITION));
            let key = STANDARD.encode(POSITION_KEY);
            body += &format!(r#"],"compare":[{{"key":"{key}","target":"MOD","result":"EQUAL""#);
            body += &format!(r#","mod_revision":"{:FENCE_BYTES$}}}]}}"#, "");
        } else {
            body += "]}";
        }
        let bytes = request(TXN, body.as_bytes());
        let fence = fenced.then(|| bytes.len() - FENCE_BYTES - "}]}".len());
        Self { bytes, puts: puts.len(), fence }
    }

    /// Fills in the position's `mod_revision`.
    pub(crate) fn set_fence(&mut self, mod_revision: u64) {
        if let Some(at) = self.fence {
            let text = format!("{:FENCE_BYTES$}", format!("{mod_revision}\""));
            self.bytes[at..at + FENCE_BYTES].copy_from_slice(text.as_bytes());
        }
    }
}

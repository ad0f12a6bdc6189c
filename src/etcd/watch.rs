//! Following one key: what it holds now, and then each change, as soon as etcd has made it (etcd
//! manual, "Watch API").

use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::client::{Client, Request};
use super::error::{ErrorKind, Result};
use super::http::Lines;
use super::json;
use super::reply::{self, KeyValue};

impl Client {
    /// Shows `look` what `key` holds, `None` if it does not exist, and again after each change,
    /// until it breaks with a value; `None` after `timeout`, which does not bound the first look.
    ///
    /// No change is missed, since the watch begins behind the revision of the first look. Nothing
    /// tells a silent watch from a dead one: `timeout` should not be much longer than what a
    /// request may take.
    ///
    /// # Errors
    /// As [`Client::get`]; and when the watch breaks.
    pub fn follow<T>(
        &mut self,
        key: &[u8],
        timeout: Duration,
        mut look: impl FnMut(Option<&KeyValue>) -> ControlFlow<T>,
    ) -> Result<Option<T>> {
        let deadline = Instant::now() + timeout;
        let reply = self.read(key)?;
        if let ControlFlow::Break(value) = look(reply.kvs.first()) {
            return Ok(Some(value));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let body = create_request(key, reply.header.revision + 1);
        let watched = self.stream(&Request::watching(&body), left, |lines| watch(lines, look));
        match watched {
            Err(error) if matches!(error.kind, ErrorKind::TimedOut(_)) => Ok(None),
            watched => watched.map(Some),
        }
    }
}

fn create_request(key: &[u8], start_revision: i64) -> Vec<u8> {
    let mut body = b"{\"create_request\":{\"key\":".to_vec();
    json::push_bytes(&mut body, key);
    // A write to a Vec cannot fail.
    let _ = write!(body, ",\"start_revision\":\"{start_revision}\"}}}}");
    body
}

fn watch<T>(
    mut lines: Lines,
    mut look: impl FnMut(Option<&KeyValue>) -> ControlFlow<T>,
) -> std::result::Result<T, ErrorKind> {
    while let Some(line) = lines.next()? {
        for Event { kind, kv } in events(line)? {
            if let ControlFlow::Break(value) = look(Some(&kv).filter(|_| kind != "DELETE")) {
                return Ok(value);
            }
        }
    }
    Err(ErrorKind::Broken("the server ended the watch".to_owned()))
}

/// What a line of the answer tells.
#[derive(Deserialize)]
struct Line {
    result: Option<WatchResponse>,
}

/// WatchResponse.
#[derive(Deserialize)]
struct WatchResponse {
    #[serde(default)]
    canceled: bool,
    #[serde(default)]
    cancel_reason: String,
    #[serde(default)]
    events: Vec<Event>,
}

/// Event of mvccpb.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Event {
    /// `DELETE`; left out, or `PUT`, for a put.
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    kv: KeyValue,
}

/// The changes that a line tells of.
fn events(line: &[u8]) -> std::result::Result<Vec<Event>, ErrorKind> {
    let Line { result } = reply::parse(line)?;
    match result {
        Some(WatchResponse { canceled: false, events, .. }) => Ok(events),
        // A member that stops, a revision that was compacted away, a token that is no longer good.
        Some(WatchResponse { cancel_reason, .. }) => {
            Err(ErrorKind::Broken(format!("etcd ended the watch: {cancel_reason}")))
        }
        None => Err(reply::failure(200, line)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::etcd::Reason;

    #[test]
    fn the_request_names_the_key_and_the_first_revision() {
        let body = r#"{"create_request":{"key":"aw==","start_revision":"7"}}"#;
        assert_eq!(String::from_utf8_lossy(&create_request(b"k", 7)), body);
    }

    #[test]
    fn lines_of_every_version_are_read() {
        for (line, expected) in [
            (r#"{"result":{"header":{"revision":"5"},"created":true}}"#, None),
            (
                r#"{"result":{"header":{},"events":[{"kv":{"key":"aw==","value":"dg=="}}]}}"#,
                Some(""),
            ),
            (
                r#"{ "result": {"events":[{"type":"PUT","kv":{"key":"aw==","value":"dg=="}}]} }"#,
                Some("PUT"),
            ),
            (
                r#"{"result":{"events":[{"type":"DELETE","kv":{"key":"aw==","value":"dg=="}}]}}"#,
                Some("DELETE"),
            ),
        ] {
            let kv = KeyValue { key: b"k".to_vec(), value: b"v".to_vec(), ..KeyValue::default() };
            let expected = expected.map(|kind| Event { kind: kind.to_owned(), kv });
            assert_eq!(events(line.as_bytes()), Ok(expected.into_iter().collect()), "{line}");
        }
    }

    #[test]
    fn a_watch_that_ends_is_an_error() {
        let canceled =
            br#"{"result":{"canceled":true,"compact_revision":"9","cancel_reason":"compacted"}}"#;
        let problem = events(canceled).unwrap_err().to_string();
        assert!(problem.contains("compacted"), "{problem}");
        for line in [
            r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}"#,
            r#"{"error":{"code":14,"message":"etcdserver: no leader","details":[]}}"#,
        ] {
            let error = events(line.as_bytes()).unwrap_err();
            let ErrorKind::Answer { reason, .. } = error else { panic!("{error}") };
            assert_eq!(reason, Reason::Unavailable);
        }
        for foreign in ["", "{}", "[]", "<html>", r#"{"error":5}"#, r#"{"result":{"events":1}}"#] {
            let error = events(foreign.as_bytes()).unwrap_err();
            assert!(matches!(error, ErrorKind::NotEtcd { .. }), "{foreign}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line in any::<Vec<u8>>()) {
            let _ = events(&line);
        }
    }
}

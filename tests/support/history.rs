//! Everything that ever happened below a prefix: what a watcher would have seen.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde::Deserialize;

use super::etcd::KeyValue;
use super::servers::Servers;

/// The events of a watch, in order. The test servers never compact, so the whole past can be replayed at any time.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) events: Vec<Event>,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) revision: i64,
    pub(crate) key: String,
    /// The new value; `None` for a delete.
    pub(crate) value: Option<String>,
}

impl Servers {
    /// What happened below `prefix` from the revision `from` (at least 1) up to now.
    pub(crate) fn history(&self, prefix: &str, from: i64) -> History {
        let now = self.revision();
        let mut events = Vec::new();
        if now < from.max(2) {
            return History { events }; // a new store is at revision 1, and nothing happened there
        }
        // The watch is on everything, since only then does each revision have an event to end at.
        let mut watch = self
            .etcdctl()
            .args(["watch", "--prefix", "", "-w", "json", "--rev", &from.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("etcdctl");
        let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
        for line in lines {
            let response: Response = serde_json::from_str(&line.unwrap()).unwrap();
            events.extend(response.events.into_iter().map(Event::from));
            if events.last().is_some_and(|event| event.revision >= now) {
                break;
            }
        }
        watch.kill().unwrap();
        watch.wait().unwrap();
        assert!(events.last().is_some_and(|event| event.revision >= now), "the watch broke off");
        events.retain(|event| event.key.starts_with(prefix));
        History { events }
    }
}

impl History {
    /// The values that a key had, one after the other.
    pub(crate) fn of(&self, key: &str) -> Vec<Option<&str>> {
        let of_key = self.events.iter().filter(|event| event.key == key);
        of_key.map(|event| event.value.as_deref()).collect()
    }

    /// The events below a prefix.
    pub(crate) fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |event| event.key.starts_with(prefix))
    }

    /// The events of each revision.
    pub(crate) fn revisions(&self) -> impl Iterator<Item = &[Event]> {
        self.events.chunk_by(|one, other| one.revision == other.revision)
    }

    /// Checks that the number `field` of each row below `prefix` only ever grew, by one each time: no version of the row
    /// is missing, doubled or out of order.
    #[track_caller]
    pub(crate) fn assert_every_version_once(&self, prefix: &str, field: &str) {
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for Event { revision, key, value } in self.below(prefix) {
            let Some(value) = value else { continue };
            let version = number(value, field);
            if let Some(before) = last.insert(key, version) {
                assert_eq!(version, before + 1, "{key} at revision {revision}");
            }
        }
        assert!(!last.is_empty(), "nothing happened below {prefix}");
    }
}

/// A number in a row's document.
pub(crate) fn number(document: &str, field: &str) -> i64 {
    let document: serde_json::Value = serde_json::from_str(document).expect(document);
    document[field].as_i64().unwrap_or_else(|| panic!("no number {field} in {document}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    #[serde(default)]
    events: Vec<WatchEvent>,
}

#[derive(Deserialize)]
struct WatchEvent {
    /// 1 for a delete; left out for a put.
    #[serde(default, rename = "type")]
    kind: serde_json::Value,
    kv: KeyValue,
}

impl From<WatchEvent> for Event {
    fn from(WatchEvent { kind, kv }: WatchEvent) -> Self {
        let is_put = kind.is_null() || kind == 0;
        Self { revision: kv.mod_revision, key: kv.key(), value: is_put.then(|| kv.value()) }
    }
}

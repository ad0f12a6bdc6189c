//! Documents of which an update left columns out: filled from the newest version of the row.

use super::{MOST_READ, Output, Packer, Pending, READ_BYTES, Reading};
use crate::core::change::{Change, Event};
use crate::core::ledger::Replay;
use crate::core::mutation::{Mutation, is};
use crate::core::view::Newest;
use crate::document::Body;
use crate::etcd::KeyValue;

impl Packer {
    /// The change with its holes filled from the newest version of the row.
    pub(super) fn fill<'c>(&self, change: Change<'c>, filled: &'c mut Vec<u8>) -> Filled<'c> {
        let Change::Put { key, body: Body::Holed(document), old_key } = change else {
            return Filled::Whole(change);
        };
        let source = old_key.unwrap_or(key);
        let unknown = |problem: &str| {
            let text = String::from_utf8_lossy(source);
            let reason = format!("an update left out a column of {text}, and {problem}");
            Filled::Unknown { key: source.to_vec(), reason }
        };
        if document.wants_waiting() && self.waiting.is_unknown(key) {
            let reason = "too many rows waited for others in one transaction".to_owned();
            return Filled::Unknown { key: key.to_vec(), reason };
        }
        let newest: &[u8] = match self.newest(source) {
            _ if !document.wants_stored() => &[],
            Newest::InEtcd => return Filled::InEtcd,
            Newest::Absent => return unknown("etcd does not have the row"),
            Newest::Document(newest) => newest,
        };
        match document.fill(newest, |nested| self.waiting.member(key, nested), filled) {
            Ok(()) => Filled::Whole(Change::Put { key, body: Body::Whole(filled), old_key }),
            Err(missing) => unknown(&missing.to_string()),
        }
    }

    /// Has the documents read that the next change and those behind it want, in one request.
    pub(super) fn read(&mut self, pending: &Pending, out: &mut Vec<Output>) {
        // What a former life has sent may still arrive before this one is in its place.
        if self.claimed == 0 && !is(Mutation::Unclaimed) {
            self.claim(out);
            return;
        }
        let events = (pending.next..).map_while(|at| pending.chunk.get(at));
        let changes = events.filter_map(|event| match event {
            Event::Change(change) => Some(change),
            _ => None,
        });
        let mut keys = Vec::new();
        let bases = changes.flat_map(|change| {
            let is_row = matches!(change, Change::Put { .. });
            change.bases().map(move |key| (is_row, key))
        });
        for (is_row, key) in bases {
            // A row that moves is under its old key still, though it was said to leave it.
            let newest = if is_row { self.newest(key) } else { self.newest_parent(key) };
            if newest == Newest::InEtcd {
                keys.push(key.to_vec());
            }
            if keys.len() == self.read_ahead {
                break;
            }
        }
        self.read_keys(keys, out);
    }

    /// Has these documents read, or the first of them if they are many.
    pub(super) fn read_keys(&mut self, mut keys: Vec<Vec<u8>>, out: &mut Vec<Output>) {
        keys.truncate(self.read_ahead);
        keys.sort_unstable();
        keys.dedup();
        out.push(Output::Read(keys.clone(), None));
        self.reading = Some(Reading::Documents { keys, past: false });
    }

    /// Takes documents that were read. In a transaction that is replayed, a row which the former life has
    /// changed, or deleted, is not what it was: then its document before the transaction is read.
    pub(super) fn take_documents(
        &mut self,
        documents: Vec<Option<KeyValue>>,
        out: &mut Vec<Output>,
    ) {
        let Some(Reading::Documents { keys, past }) = self.reading.take() else { return };
        let bytes: usize = documents.iter().flatten().map(|document| document.value.len()).sum();
        if let Some(average) = bytes.checked_div(documents.len()) {
            self.read_ahead = (READ_BYTES / average.max(1)).clamp(1, MOST_READ);
        }
        let mut again = Vec::new();
        for (key, document) in keys.into_iter().zip(documents) {
            let found = document.as_ref().map(|document| document.mod_revision);
            if !past && self.is_replayed(&key, found) && !is(Mutation::ReplayFromParts) {
                again.push(key);
            } else {
                let document = document.map(|document| match past {
                    true => self.waiting.emptied(&key, document.value),
                    false => document.value,
                });
                self.view.read(key, document);
            }
        }
        if let (Some(replay), false) = (self.replay, again.is_empty()) {
            out.push(Output::Read(again.clone(), Some(replay.revision)));
            self.reading = Some(Reading::Documents { keys: again, past: true });
        }
    }

    /// Whether a document of this revision, `None` for one that is not there, may be as a former life left
    /// it in the middle of the transaction that is coming in.
    pub(super) fn is_replayed(&self, key: &[u8], found: Option<i64>) -> bool {
        self.replaying().is_some_and(|replay| match found {
            Some(revision) => revision > replay.revision && revision < self.claimed,
            // What this life has deleted is not there, either.
            None => !self.replayed_without.contains(key) && !self.waiting.has_gone(key),
        })
    }

    /// The replay, if the transaction that is coming in is the one.
    pub(super) fn replaying(&self) -> Option<Replay> {
        let commit_lsn = self.coming.map(|commit| commit.lsn);
        self.replay.filter(|replay| Some(replay.commit_lsn) == commit_lsn)
    }

    /// Takes note that a row is in the database and not in etcd.
    pub(super) fn note_left_out(&mut self, change: Change<'_>) {
        if let (Change::Put { key, .. }, Some(_)) = (change, self.replaying()) {
            self.replayed_without.insert(key.to_vec());
        }
    }
}

/// A change with its holes filled, or why that cannot be done now.
pub(super) enum Filled<'c> {
    /// All of it is known.
    Whole(Change<'c>),
    /// What is missing is in etcd.
    InEtcd,
    /// What is missing is nowhere.
    Unknown {
        /// The row's key before the update.
        key: Vec<u8>,
        /// What is missing.
        reason: String,
    },
}

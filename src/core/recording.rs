//! How changes that are not in the stream find their place in it.
//!
//! A compare reads a table as of a snapshot, while the stream goes on. What it finds is right for
//! every row that the stream has not changed since; a row that it has changed is right already,
//! since the stream is ahead of the snapshot. So the packer, which sees all changes in order, takes
//! note of the keys that the stream changes while a table is compared, and leaves those out of
//! what the compare wants changed. No table waits for it, and no row is held back: what is held is
//! a number for each key that the stream changes meanwhile.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::change::Change;
use super::mutation::{Mutation, is};
use crate::document::Body;

/// The keys of one table that the stream has changed.
#[derive(Debug)]
pub(super) struct Recording {
    prefix: Vec<u8>,
    changed: HashSet<u64>,
    hasher: RandomState,
    truncated: bool,
    again: bool,
}

impl Recording {
    pub(super) fn new(prefix: Vec<u8>) -> Self {
        let (changed, hasher) = (HashSet::new(), RandomState::new());
        Self { prefix, changed, hasher, truncated: false, again: false }
    }

    /// Whether the key is one of the table's.
    pub(super) fn covers(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
    }

    /// Takes note of a change in the stream, as it came. One with holes was filled from a document
    /// that may not have been compared yet.
    pub(super) fn note(&mut self, change: Change<'_>) {
        match change {
            Change::Put { key, body, old_key } => {
                for key in [Some(key), old_key].into_iter().flatten() {
                    self.note_key(key);
                }
                let holed = matches!(body, Body::Holed(_)) && !is(Mutation::NotAgain);
                self.again |= self.covers(key) && holed;
            }
            Change::Delete { key } => self.note_key(key),
            Change::Truncate { prefix } => self.truncated |= self.prefix == prefix,
        }
    }

    /// Takes note of a change that could not be made.
    pub(super) fn note_left_out(&mut self) {
        self.again = true;
    }

    /// Whether a change that a compare wants is void: the stream has been there since.
    pub(super) fn overrules(&self, change: Change<'_>) -> bool {
        match change {
            Change::Put { key, .. } | Change::Delete { key } => {
                self.covers(key)
                    && (self.truncated || self.changed.contains(&self.hasher.hash_one(key)))
                    && !is(Mutation::RepairOverrules)
            }
            Change::Truncate { .. } => false,
        }
    }

    /// Whether the table has to be compared again: the stream left out a column, or a row, that was
    /// then taken from a document that was not compared yet.
    pub(super) fn again(&self) -> bool {
        self.again
    }

    fn note_key(&mut self, key: &[u8]) {
        if self.covers(key) {
            self.changed.insert(self.hasher.hash_one(key));
        }
    }
}

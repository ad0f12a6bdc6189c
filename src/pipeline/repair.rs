//! How changes that are not in the stream find their place in it.
//!
//! A compare reads a table as of a snapshot, while the stream goes on. What it finds is right for
//! every row that the stream has not changed since; a row that it has changed is right already,
//! since the stream is ahead of the snapshot. So `pack`, which sees all changes in order, takes
//! note of the keys that the stream changes while a table is compared, and leaves those out of
//! what the compare wants changed. No table waits for it, and no row is held back: what is held is
//! a number for each key that the stream changes meanwhile.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crossbeam_channel::Sender;

use crate::core::change::{Change, Chunk};
use crate::document::Body;
use crate::lsn::Lsn;

/// What is asked of `pack`.
pub(super) enum Request {
    /// To answer once everything that committed up to this LSN is in etcd.
    Reach {
        /// The LSN.
        lsn: Lsn,
        /// Gets the answer.
        done: Sender<()>,
    },
    /// To take note, from here on, of the keys of a table that the stream changes.
    Record {
        /// What the table's keys begin with.
        prefix: Vec<u8>,
    },
    /// To make these changes, but for keys that were noted.
    Apply(Chunk),
    /// To take no more notes.
    Finish {
        /// Gets what came of it.
        outcome: Sender<Outcome>,
    },
}

/// What came of a compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Whether the stream changed a row with a column left out meanwhile, which was then taken
    /// from a document that was not compared yet: the table has to be compared again.
    pub(super) again: bool,
}

/// The keys of one table that the stream has changed.
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

    /// Takes note of a change in the stream, as it came.
    pub(super) fn note(&mut self, change: Change<'_>) {
        match change {
            Change::Put { key, body, old_key } => {
                for key in [Some(key), old_key].into_iter().flatten() {
                    self.note_key(key);
                }
                self.again |= self.covers(key) && matches!(body, Body::Holed(_));
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
            }
            Change::Truncate { .. } => false,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome { again: self.again }
    }

    fn note_key(&mut self, key: &[u8]) {
        if self.covers(key) {
            self.changed.insert(self.hasher.hash_one(key));
        }
    }
}

//! A transaction that does not fit one txn: the parts of it that are being filled, one a lane. A key
//! always goes the same lane, so that its versions stay in order.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::batch::{Batch, Fit, Limits};
use super::change::Change;
use super::mutation::{Mutation, is};

/// The parts.
#[derive(Debug)]
pub(super) struct Parts {
    limits: Limits,
    batches: Vec<Batch>,
    /// The same in every process, so that the same inputs give the same parts.
    hasher: BuildHasherDefault<DefaultHasher>,
    /// Whether all keys go one lane.
    single: bool,
    /// Whether everything so far has to be in etcd before anything is added.
    barrier: bool,
    /// Whether everything so far is in etcd.
    clean: bool,
}

/// Whether a change found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is in.
    Added,
    /// The part of this lane is full: it has to be posted first.
    Full(usize),
    /// All parts have to be posted, and be in etcd, first.
    Barrier,
    /// No request can hold it.
    TooLarge {
        /// The size of the request that it would take, in bytes.
        bytes: usize,
    },
}

impl Parts {
    /// The last part has to leave room for what ends the parts, so `limits` are those of a txn less one
    /// operation. What `first` holds is a part by itself: it may have a key in it that belongs to
    /// another lane, and nothing may be added before it is in etcd.
    pub(super) fn new(limits: Limits, lanes: usize, first: Batch) -> Self {
        let limits = Limits { operations: limits.operations.saturating_sub(1).max(1), ..limits };
        let mut batches: Vec<_> = (0..lanes.max(1)).map(|_| Batch::default()).collect();
        batches[0] = first;
        Self {
            limits,
            batches,
            hasher: BuildHasherDefault::default(),
            single: false,
            barrier: true,
            clean: false,
        }
    }

    /// Adds a change to the part of its lane.
    pub(super) fn add(&mut self, change: Change<'_>) -> Place {
        self.barrier |= match change {
            // Both keys go in one txn: from here on there is one lane for all.
            Change::Put { old_key: Some(_), .. } => !self.single && !self.clean,
            // Nothing of the table may be on its way while it is emptied.
            Change::Truncate { .. } | Change::Empty { .. } => {
                !self.clean && !is(Mutation::TruncateEarly)
            }
            _ => false,
        };
        if self.barrier {
            return Place::Barrier;
        }
        self.single |= matches!(change, Change::Put { old_key: Some(_), .. });
        let lane = match change {
            Change::Put { key, .. } | Change::Delete { key } => self.lane(key),
            _ => 0,
        };
        match self.batches[lane].add(change, self.limits) {
            Fit::Added => {
                self.clean = false;
                // Nor may anything be put before it is empty.
                self.barrier = matches!(change, Change::Truncate { .. } | Change::Empty { .. });
                Place::Added
            }
            Fit::Full => Place::Full(lane),
            Fit::TooLarge { bytes } => Place::TooLarge { bytes },
        }
    }

    /// Takes note that everything is in etcd.
    pub(super) fn settled(&mut self) {
        (self.barrier, self.clean) = (false, true);
    }

    /// The part of a lane, to be posted; the lane begins another one.
    pub(super) fn take(&mut self, lane: usize) -> Batch {
        std::mem::take(&mut self.batches[lane])
    }

    /// The lanes whose parts hold something.
    pub(super) fn filled(&self) -> impl Iterator<Item = usize> {
        let filled = |lane: &usize| !self.batches[*lane].is_empty();
        (0..self.batches.len()).filter(filled)
    }

    /// The batches that are being filled.
    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter()
    }

    fn lane(&self, key: &[u8]) -> usize {
        if self.single {
            return 0;
        }
        let lanes = self.batches.len() as u64;
        usize::try_from(self.hasher.hash_one(key) % lanes).unwrap_or(0)
    }
}

//! How changes that are not in the stream find their place in it.
//!
//! A compare reads a table as of a snapshot, while the stream goes on. What it finds is right for
//! every row that the stream has not changed since; a row that it has changed is right already,
//! since the stream is ahead of the snapshot. So the packer, which sees all changes in order, takes
//! note of the keys that the stream changes while a table is compared, and leaves those out of
//! what the compare wants changed, if they were changed behind the snapshot. No table waits for it, and
//! no row is held back: what is held is three numbers for each key that the stream changes meanwhile.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::change::{Change, Splice};
use super::mutation::{Mutation, is};
use crate::document::Body;
use crate::lsn::Lsn;

/// The keys of one table that the stream has changed.
#[derive(Debug)]
pub(super) struct Recording {
    /// What they begin with.
    prefixes: Vec<Vec<u8>>,
    /// What changed the keys last, by a hash of the key.
    changed: HashMap<u64, Changed>,
    hasher: RandomState,
    /// The same of the last TRUNCATE, of the table or of one that is nested in it.
    truncated: Lsn,
    /// The same of the last change for which the table has to be compared again.
    doubtful: Lsn,
    /// What committed from here on is not in the snapshot.
    snapshot: Lsn,
    /// Where etcd came to since the notes began.
    reached: VecDeque<Reached>,
    overruled: Overruled,
}

/// A step that etcd has made.
#[derive(Clone, Copy, Debug)]
struct Reached {
    /// The position that it came to.
    lsn: Lsn,
    /// Where the first transaction of the step committed; `None` if it has none.
    first_commit: Option<Lsn>,
    /// The revision that the step made.
    revision: i64,
}

/// What changed a key: where the transactions committed.
#[derive(Clone, Copy, Debug, Default)]
struct Changed {
    /// The last one.
    last: Lsn,
    /// The last one whose document was made from the one before, which may not have been compared yet.
    filled: Lsn,
}

/// How many of the changes that a compare wanted the stream had overruled: what it found there was no
/// difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overruled {
    /// Documents that were missing or different.
    pub puts: u64,
    /// Keys without a row.
    pub deletes: u64,
}

impl Recording {
    /// Notes of a table with these keys. Its snapshot is yet to be taken.
    pub(super) fn new(prefixes: Vec<Vec<u8>>) -> Self {
        let (changed, hasher) = (HashMap::new(), RandomState::new());
        let (truncated, doubtful, snapshot) = (Lsn(0), Lsn(0), Lsn(1));
        Self {
            prefixes,
            changed,
            hasher,
            truncated,
            doubtful,
            snapshot,
            reached: VecDeque::new(),
            overruled: Overruled::default(),
        }
    }

    /// The snapshot has what committed before this.
    pub(super) fn snapshot_at(&mut self, lsn: Lsn) {
        self.snapshot = lsn;
    }

    /// Takes note that etcd came to this position with this revision, which has the transactions from
    /// `first_commit` on.
    pub(super) fn reached(&mut self, lsn: Lsn, first_commit: Option<Lsn>, revision: i64) {
        /// How many positions are remembered: a snapshot takes no longer than these.
        const MOST: usize = 10_000;
        if self.reached.len() == MOST {
            self.reached.pop_front();
        }
        self.reached.push_back(Reached { lsn, first_commit, revision });
    }

    /// The first revision at which etcd had all that committed before `lsn`, if that is remembered. It has more
    /// only if the step with the last of that has more.
    pub(super) fn revision_at(&self, lsn: Lsn) -> Option<i64> {
        let at = self.reached.partition_point(|reached| reached.lsn < lsn);
        let Reached { first_commit, revision, .. } = *self.reached.get(at)?;
        let is_behind = first_commit.is_some_and(|commit| commit >= lsn);
        Some(if is_behind { revision - 1 } else { revision })
    }

    /// Whether the key is one of the table's.
    pub(super) fn covers(&self, key: &[u8]) -> bool {
        self.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }

    /// Takes note of a change in the stream, as it came, in a transaction that committed at `lsn`.
    pub(super) fn note(&mut self, change: Change<'_>, lsn: Lsn) {
        match change {
            Change::Put { key, body, old_key } => {
                let filled = matches!(body, Body::Holed(_));
                for key in [Some(key), old_key].into_iter().flatten() {
                    self.note_key(key, filled, lsn);
                }
            }
            Change::Delete { key } => self.note_key(key, false, lsn),
            Change::Vacate { .. } => {}
            Change::Splice(Splice { new, old, .. }) => {
                for slot in [new.map(|(slot, _)| slot), old].into_iter().flatten() {
                    self.note_key(slot.key, true, lsn);
                }
            }
            // It may have changed any document of the snapshot; of one that etcd lacks, nothing was
            // emptied.
            Change::Hollow { keyspace, .. } if self.covers(keyspace.prefix()) => {
                (self.truncated, self.doubtful) = (lsn, lsn);
            }
            Change::Hollow { .. } => {}
            Change::Truncate { prefix } => self.note_emptied(prefix, lsn),
            Change::Empty { keyspace } => self.note_emptied(keyspace.prefix(), lsn),
        }
    }

    /// Takes note of a change that could not be made.
    pub(super) fn note_left_out(&mut self, lsn: Lsn) {
        self.doubtful = lsn;
    }

    /// Whether a change that a compare wants is void: the stream has been there since the snapshot.
    pub(super) fn overrules(&mut self, change: Change<'_>) -> bool {
        let (key, count) = match change {
            Change::Put { key, .. } => (key, &mut self.overruled.puts),
            Change::Delete { key } => (key, &mut self.overruled.deletes),
            _ => return false,
        };
        let changed = self.changed.get(&self.hasher.hash_one(key)).copied().unwrap_or_default();
        let since = self.truncated.max(changed.last);
        let covers = self.prefixes.iter().any(|prefix| key.starts_with(prefix));
        let overrules = covers && since >= self.snapshot && !is(Mutation::RepairOverrules);
        *count += u64::from(overrules);
        // What is wrong there may have gone into the document that the stream made.
        if overrules && !is(Mutation::NotAgain) {
            self.doubtful = self.doubtful.max(changed.filled);
        }
        overrules
    }

    /// How many changes it has overruled.
    pub(super) fn overruled(&self) -> Overruled {
        self.overruled
    }

    /// Whether the table has to be compared again: since the snapshot a row was left out, or one that
    /// etcd had wrong was filled from what it had.
    pub(super) fn again(&self) -> bool {
        self.doubtful >= self.snapshot
    }

    fn note_emptied(&mut self, prefix: &[u8], lsn: Lsn) {
        if self.prefixes.iter().any(|own| own == prefix) {
            self.truncated = lsn;
        }
    }

    fn note_key(&mut self, key: &[u8], filled: bool, lsn: Lsn) {
        if self.covers(key) {
            let changed = self.changed.entry(self.hasher.hash_one(key)).or_default();
            changed.last = lsn;
            if filled {
                changed.filled = lsn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_has_what_a_snapshot_has_and_the_rest_of_its_step() {
        let mut recording = Recording::new(Vec::new());
        recording.reached(Lsn(20), Some(Lsn(10)), 5);
        recording.reached(Lsn(25), None, 7);
        recording.reached(Lsn(60), Some(Lsn(30)), 9);
        for (snapshot, revision) in [
            (11, Some(5)),
            // The transaction at 10 is not in it.
            (10, Some(4)),
            (25, Some(7)),
            (26, Some(8)),
            (30, Some(8)),
            // One step has the transaction at 30 and others.
            (31, Some(9)),
            (60, Some(9)),
            (61, None),
        ] {
            assert_eq!(recording.revision_at(Lsn(snapshot)), revision, "{snapshot}");
        }
    }
}

//! Packs changes into txns, and knows what etcd takes in one: no key twice, no put inside a
//! deleted range, so many operations and so many bytes.

use indexmap::IndexMap;

use super::change::Change;
use super::mutation::{Mutation, is};
use crate::document::Body;
use crate::etcd::{Txn, prefix_end};
use crate::lsn::Lsn;
use crate::position::Position;

/// The changes of whole transactions, or of a part of an oversized one, that go into one txn.
#[derive(Debug, Default)]
pub struct Batch {
    operations: IndexMap<Vec<u8>, Operation>,
    /// The keys of truncated tables. No put in `operations` is inside.
    truncated: Vec<Truncated>,
    bytes: usize,
    /// What is added when it is sealed, beside the position.
    extras: Extras,
    /// Where etcd is once it holds the batch; none for a part that is not the last.
    pub position: Option<Position>,
    /// Where the first of its transactions committed; none if it has the end of none.
    pub first_commit: Option<Lsn>,
}

/// All keys of a truncated table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Truncated {
    /// What they begin with.
    prefix: Vec<u8>,
    /// The first that can be one.
    start: Vec<u8>,
}

/// Operations that are added to a batch when it is sealed.
#[derive(Debug, Default)]
struct Extras {
    /// The note of the last transaction.
    note: bool,
    /// The end of the parts.
    end_of_parts: bool,
}

/// What becomes of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    /// The document is put.
    Put(Vec<u8>),
    /// The key is deleted.
    Delete,
}

/// What one txn may hold beside the position.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of operations.
    pub operations: usize,
    /// The size of the request, in bytes.
    pub bytes: usize,
}

/// Whether a change found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It is in.
    Added,
    /// It is not in: it needs a txn after this one.
    Full,
    /// It is not in, and would not be in an empty batch either.
    TooLarge {
        /// The size of the request that it would take, in bytes.
        bytes: usize,
    },
}

impl Batch {
    /// Adds a change of the transaction that the batch holds; of two changes to a key the later
    /// one stays.
    pub fn add(&mut self, change: Change<'_>, limits: Limits) -> Fit {
        match change {
            Change::Put { key, body: Body::Whole(document), old_key } => {
                self.put(key, document, old_key, limits)
            }
            // Whoever adds a change has filled its holes.
            Change::Put { body: Body::Holed(_), .. } => Fit::TooLarge { bytes: usize::MAX },
            Change::Empty { keyspace } if keyspace.is_range() => {
                // What is just the prefix is somebody else's.
                let start = [keyspace.prefix(), b"\0"].concat();
                self.truncate(Truncated { prefix: keyspace.prefix().to_vec(), start }, limits)
            }
            // And has found the keys and the documents.
            Change::Empty { .. }
            | Change::Vacate { .. }
            | Change::Splice(_)
            | Change::Hollow { .. } => Fit::TooLarge { bytes: usize::MAX },
            Change::Delete { key } => self.delete(key, limits),
            Change::Truncate { prefix } => {
                let (prefix, start) = (prefix.to_vec(), prefix.to_vec());
                self.truncate(Truncated { prefix, start }, limits)
            }
        }
    }

    /// Moves all of `later`, transactions committed after those in here, into this batch, unless
    /// they do not fit. Then nothing is moved and the answer is false.
    ///
    /// Unless `coalesce` allows it, no key may occur in both: a watcher would miss a version.
    pub fn absorb(&mut self, later: &mut Self, limits: Limits, coalesce: bool) -> bool {
        if self.count() + later.count() > limits.operations
            || self.bytes + later.bytes > limits.bytes
            || !is(Mutation::PutInRange) && later.puts_inside(&self.truncated)
            || !coalesce && !is(Mutation::KeysShared) && self.shares_a_key_with(later)
        {
            return false;
        }
        for truncated in later.truncated.drain(..) {
            self.drop_inside(&truncated.prefix);
            self.bytes += truncated.bytes();
            self.truncated.push(truncated);
        }
        for (key, operation) in later.operations.drain(..) {
            self.set(key, operation);
        }
        self.position = later.position.take().or(self.position);
        self.first_commit = self.first_commit.or(later.first_commit.take());
        later.bytes = 0;
        true
    }

    /// What the batch does to a key: `None` if nothing.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Operation> {
        self.operations
            .get(key)
            .or_else(|| inside(key, &self.truncated).then_some(&Operation::Delete))
    }

    /// Whether it holds neither changes nor a position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes_nothing() && self.position.is_none()
    }

    /// How many operations it takes, the position's not counted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.operations.len()
            + self.truncated.len()
            + usize::from(self.extras.note)
            + usize::from(self.extras.end_of_parts)
    }

    /// Keeps room for the note of the last transaction; false if there is none.
    pub fn reserve_note(&mut self, limits: Limits) -> bool {
        let fits = self.extras.note || self.count() < limits.operations;
        self.extras.note = fits;
        fits
    }

    /// Keeps room for the end of the parts, which deletes their guards.
    pub fn reserve_end_of_parts(&mut self) {
        self.extras.end_of_parts = true;
    }

    /// Whether it changes no key: all that it has is a position.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        self.operations.is_empty() && self.truncated.is_empty()
    }

    /// Writes the operations into a txn.
    pub fn write(&self, txn: &mut Txn) {
        for Truncated { prefix, start } in &self.truncated {
            txn.delete_range(start, &prefix_end(prefix));
        }
        for (key, operation) in &self.operations {
            match operation {
                Operation::Put(document) => txn.put(key, document),
                Operation::Delete => txn.delete(key),
            }
        }
    }

    /// What becomes of each key that it names.
    pub fn operations(&self) -> impl Iterator<Item = (&[u8], &Operation)> {
        self.operations.iter().map(|(key, operation)| (&key[..], operation))
    }

    fn put(&mut self, key: &[u8], document: &[u8], old_key: Option<&[u8]>, limits: Limits) -> Fit {
        let bytes = Txn::put_bytes(key.len(), document.len())
            + old_key.map_or(0, |old_key| Txn::delete_bytes(old_key.len()));
        if bytes > limits.bytes {
            return Fit::TooLarge { bytes };
        }
        let old_key = old_key.filter(|old_key| !inside(old_key, &self.truncated));
        let keys = [Some(key), old_key];
        if inside(key, &self.truncated) || !self.has_room(keys, bytes, limits) {
            return Fit::Full;
        }
        if let Some(old_key) = old_key.filter(|_| !is(Mutation::OldKeyStays)) {
            self.set(old_key.to_vec(), Operation::Delete);
        }
        self.set(key.to_vec(), Operation::Put(document.to_vec()));
        Fit::Added
    }

    fn delete(&mut self, key: &[u8], limits: Limits) -> Fit {
        let bytes = Txn::delete_bytes(key.len());
        if inside(key, &self.truncated) {
            return Fit::Added;
        }
        if !self.has_room([Some(key), None], bytes, limits) {
            return Fit::Full;
        }
        self.set(key.to_vec(), Operation::Delete);
        Fit::Added
    }

    fn truncate(&mut self, truncated: Truncated, limits: Limits) -> Fit {
        self.drop_inside(&truncated.prefix);
        let bytes = truncated.bytes();
        if self.count() + 1 > limits.operations || self.bytes + bytes > limits.bytes {
            return Fit::Full;
        }
        self.bytes += bytes;
        self.truncated.push(truncated);
        Fit::Added
    }

    /// Whether operations of `bytes` bytes on these keys fit. A key that is there already is
    /// replaced and takes no place of its own.
    fn has_room(&self, keys: [Option<&[u8]>; 2], bytes: usize, limits: Limits) -> bool {
        let (mut added, mut replaced_bytes) = (0, 0);
        for key in keys.into_iter().flatten() {
            match self.operations.get(key) {
                Some(old) => replaced_bytes += old.bytes(key),
                None => added += 1,
            }
        }
        self.count() + added <= limits.operations
            && self.bytes + bytes - replaced_bytes <= limits.bytes
    }

    fn set(&mut self, key: Vec<u8>, operation: Operation) {
        self.bytes += operation.bytes(&key);
        let key_length = key.len();
        if let Some(old) = self.operations.insert(key, operation) {
            self.bytes -= old.bytes_with_key_of(key_length);
        }
    }

    /// Forgets what a truncate makes void.
    fn drop_inside(&mut self, prefix: &[u8]) {
        let bytes = &mut self.bytes;
        self.operations.retain(|key, operation| {
            let stays = !key.starts_with(prefix);
            if !stays {
                *bytes -= operation.bytes(key);
            }
            stays
        });
        self.truncated.retain(|truncated| {
            let stays = truncated.prefix != prefix;
            if !stays {
                *bytes -= truncated.bytes();
            }
            stays
        });
    }

    fn puts_inside(&self, truncated: &[Truncated]) -> bool {
        !truncated.is_empty()
            && self.operations.iter().any(|(key, operation)| {
                matches!(operation, Operation::Put(_)) && inside(key, truncated)
            })
    }

    fn shares_a_key_with(&self, other: &Self) -> bool {
        other.operations.keys().any(|key| self.get(key).is_some())
            || !other.truncated.is_empty()
                && (self.operations.keys().any(|key| inside(key, &other.truncated))
                    || other.truncated.iter().any(|table| self.truncated.contains(table)))
    }
}

impl Operation {
    fn bytes(&self, key: &[u8]) -> usize {
        self.bytes_with_key_of(key.len())
    }

    fn bytes_with_key_of(&self, key_length: usize) -> usize {
        match self {
            Self::Put(document) => Txn::put_bytes(key_length, document.len()),
            Self::Delete => Txn::delete_bytes(key_length),
        }
    }
}

impl Truncated {
    /// The size of the operation that empties the table. The range's end is as long as the prefix.
    fn bytes(&self) -> usize {
        Txn::delete_range_bytes(self.start.len(), self.prefix.len())
    }
}

/// Whether the key is one of a truncated table's.
fn inside(key: &[u8], truncated: &[Truncated]) -> bool {
    truncated.iter().any(|table| key.starts_with(&table.prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    const LIMITS: Limits = Limits { operations: 4, bytes: 1000 };

    fn put<'a>(key: &'a str, document: &'a str) -> Change<'a> {
        Change::Put { key: key.as_bytes(), body: Body::Whole(document.as_bytes()), old_key: None }
    }

    fn moved<'a>(old_key: &'a str, key: &'a str) -> Change<'a> {
        Change::Put {
            key: key.as_bytes(),
            body: Body::Whole(b"m"),
            old_key: Some(old_key.as_bytes()),
        }
    }

    fn delete(key: &str) -> Change<'_> {
        Change::Delete { key: key.as_bytes() }
    }

    fn truncate(prefix: &str) -> Change<'_> {
        Change::Truncate { prefix: prefix.as_bytes() }
    }

    fn batch(changes: &[Change<'_>], lsn: u64) -> Batch {
        let mut batch = Batch::default();
        for &change in changes {
            assert_eq!(batch.add(change, LIMITS), Fit::Added, "{change:?}");
        }
        batch.position = Some(Position { lsn: Lsn(lsn), ..Position::default() });
        batch
    }

    /// The operations in words, and a check that the sizes were counted right.
    fn contents(batch: &Batch) -> Vec<String> {
        let keys = batch.operations.iter().map(|(key, operation)| {
            let key = String::from_utf8_lossy(key);
            match operation {
                Operation::Put(document) => format!("{key}={}", String::from_utf8_lossy(document)),
                Operation::Delete => format!("-{key}"),
            }
        });
        let ranges = batch
            .truncated
            .iter()
            .map(|table| format!("-{}*", String::from_utf8_lossy(&table.start)));
        let bytes = batch.operations.iter().map(|(key, operation)| operation.bytes(key));
        let range_bytes = batch.truncated.iter().map(Truncated::bytes);
        assert_eq!(batch.bytes, bytes.chain(range_bytes).sum::<usize>());
        ranges.chain(keys).collect()
    }

    #[test]
    fn in_a_transaction_the_last_change_of_a_key_stays() {
        for (changes, expected) in [
            (vec![put("a", "1"), put("a", "22")], vec!["a=22"]),
            (vec![put("a", "1"), delete("a")], vec!["-a"]),
            (vec![delete("a"), put("a", "1")], vec!["a=1"]),
            (vec![moved("a", "b"), moved("b", "c")], vec!["-a", "-b", "c=m"]),
            (vec![moved("a", "b"), put("a", "1")], vec!["a=1", "b=m"]),
            (vec![put("t/a", "1"), put("u/a", "1"), truncate("t/")], vec!["-t/*", "u/a=1"]),
            (vec![truncate("t/"), truncate("t/"), delete("t/a")], vec!["-t/*"]),
        ] {
            assert_eq!(contents(&batch(&changes, 1)), expected);
        }
    }

    #[test]
    fn what_does_not_fit_is_not_added() {
        let long = "x".repeat(495);
        for (changes, next, expected) in [
            (
                vec![put("a", "1"), put("b", "1"), put("c", "1"), put("d", "1")],
                put("e", "1"),
                Fit::Full,
            ),
            (vec![put("a", "1"), put("b", "1"), put("c", "1")], moved("d", "e"), Fit::Full),
            (
                vec![put("a", "1"), put("b", "1"), put("c", "1"), put("d", "1")],
                truncate("t/"),
                Fit::Full,
            ),
            (vec![truncate("t/")], put("t/a", "1"), Fit::Full),
            (vec![put("a", &long)], put("b", &long), Fit::Full),
        ] {
            let mut batch = batch(&changes, 1);
            let before = contents(&batch);
            assert_eq!(batch.add(next, LIMITS), expected, "{next:?}");
            assert_eq!(contents(&batch), before);
        }
        let longer = "x".repeat(1000);
        let fit = Batch::default().add(put("a", &longer), LIMITS);
        assert_eq!(fit, Fit::TooLarge { bytes: Txn::put_bytes(1, 1000) });
    }

    #[test]
    fn a_key_that_is_there_takes_no_second_place() {
        let mut batch = batch(&[put("a", "1"), put("b", "1"), put("c", "1"), put("d", "1")], 1);
        assert_eq!(batch.add(put("a", "2"), LIMITS), Fit::Added);
        assert_eq!(batch.add(moved("a", "b"), LIMITS), Fit::Added);
        assert_eq!(contents(&batch), ["-a", "b=m", "c=1", "d=1"]);
    }

    #[test]
    fn transactions_share_a_batch_while_no_key_occurs_in_two() {
        for (first, second, kept_apart, coalesced) in [
            (vec![put("a", "1")], vec![put("b", "2")], false, true),
            (vec![put("a", "1")], vec![put("a", "2")], true, true),
            (vec![put("a", "1")], vec![delete("a")], true, true),
            (vec![put("t/a", "1")], vec![truncate("t/")], true, true),
            (vec![truncate("t/")], vec![truncate("t/")], true, true),
            (vec![truncate("t/")], vec![delete("t/a")], true, true),
            (vec![truncate("t/")], vec![put("t/a", "1")], true, false),
            (vec![put("a", "1"), put("b", "1"), put("c", "1")], vec![moved("d", "e")], true, false),
        ] {
            let share =
                |coalesce| batch(&first, 1).absorb(&mut batch(&second, 2), LIMITS, coalesce);
            assert_eq!(share(false), !kept_apart, "{first:?} {second:?}");
            assert_eq!(share(true), coalesced, "{first:?} {second:?} coalesced");
        }
    }

    #[test]
    fn an_absorbed_batch_is_empty_and_its_position_counts() {
        let mut earlier = batch(&[put("t/a", "1"), put("b", "1")], 1);
        let mut later = batch(&[truncate("t/"), put("b", "2")], 2);
        assert!(earlier.absorb(&mut later, LIMITS, true));
        assert_eq!(contents(&earlier), ["-t/*", "b=2"]);
        assert_eq!(earlier.position.map(|position| position.lsn), Some(Lsn(2)));
        assert!(later.is_empty());
        assert_eq!(later.bytes, 0);
    }
}

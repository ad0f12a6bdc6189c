//! The newest version of a document: where it is looked for, and what is kept of what was read.
//!
//! A version that etcd does not have yet is in a batch: in one that is being filled, or in one that is
//! on its way, which stays here until it is acknowledged. Otherwise etcd has the newest version. What
//! was read from there stays in a cache that is bounded by bytes, and is kept right by what goes by.

use std::collections::{HashMap, VecDeque};

use super::batch::{Batch, Operation};
use super::change::Change;
use super::mutation::{Mutation, is};

/// The memory that the cache may take, in bytes.
const CACHE_BYTES: usize = 4 << 20;

/// What is known of documents beside the batches that are being filled.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Batches that are on their way, each with its lane, in the order in which they were posted.
    in_flight: VecDeque<(Lane, Batch)>,
    cache: Cache,
}

/// A way to etcd on which one txn follows the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The one whose txns move the position.
    Ordered,
    /// One of those that take parts of large transactions, by its number.
    Part(usize),
}

impl Lane {
    /// Its place among all lanes, the ordered one first.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Ordered => 0,
            Self::Part(number) => 1 + number,
        }
    }
}

/// What is known of the newest version of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newest<'v> {
    /// It is this.
    Document(&'v [u8]),
    /// There is none.
    Absent,
    /// It is what etcd has.
    InEtcd,
}

impl View {
    /// The newest version under a key. `filling` are the batches that are being filled, the newest
    /// first.
    pub(super) fn newest<'v>(&'v self, filling: &[&'v Batch], key: &[u8]) -> Newest<'v> {
        let in_flight = self.in_flight.iter().rev().map(|(_, batch)| batch);
        let in_flight = in_flight.filter(|_| !is(Mutation::InFlightForgotten));
        let mut versions = filling.iter().copied().chain(in_flight).filter_map(|b| b.get(key));
        let version =
            if is(Mutation::OldestTaken) { versions.next_back() } else { versions.next() };
        match version {
            Some(Operation::Put(document)) => Newest::Document(document),
            Some(Operation::Delete) => Newest::Absent,
            None => match self.cache.get(key) {
                Some(Some(document)) => Newest::Document(document),
                Some(None) => Newest::Absent,
                None => Newest::InEtcd,
            },
        }
    }

    /// Takes note of a change: what was read of its keys is no longer the newest.
    pub(super) fn changed(&mut self, change: Change<'_>) {
        if self.cache.is_empty() || is(Mutation::CacheStale) {
            return;
        }
        match change {
            Change::Put { key, old_key, .. } => {
                for key in [Some(key), old_key].into_iter().flatten() {
                    self.cache.outdate(key);
                }
            }
            Change::Delete { key } => self.cache.outdate(key),
            Change::Truncate { prefix } => self.cache.forget_below(prefix),
            Change::Empty { keyspace } => self.cache.forget_below(keyspace.prefix()),
            // What becomes of keys by them comes one by one.
            Change::Vacate { .. } | Change::Splice(_) | Change::Hollow { .. } => {}
        }
    }

    /// Forgets what was read of keys that begin so. While a transaction is replayed, that may be as they were
    /// before it.
    pub(super) fn forget_below(&mut self, prefix: &[u8]) {
        self.cache.forget_below(prefix);
    }

    /// The batches that were posted and that etcd may not have yet.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &Batch> {
        self.in_flight.iter().map(|(_, batch)| batch)
    }

    /// Takes note of a batch that was posted.
    pub(super) fn posted(&mut self, lane: Lane, batch: Batch) {
        self.in_flight.push_back((lane, batch));
    }

    /// Takes note that etcd has the oldest batch of a lane. Of keys that were read before, its
    /// versions go into the cache, unless newer ones are in `filling` or on their way.
    /// Returns the batch.
    pub(super) fn acknowledged(&mut self, lane: Lane, filling: &[&Batch]) -> Option<Batch> {
        let at = self.in_flight.iter().position(|(of, _)| *of == lane)?;
        let (_, batch) = self.in_flight.remove(at)?;
        if self.cache.is_empty() {
            return Some(batch);
        }
        for (key, operation) in batch.operations() {
            if self.cache.is_outdated(key) && self.newest(filling, key) == Newest::InEtcd {
                self.cache.put(
                    key.to_vec(),
                    match operation {
                        Operation::Put(document) => Some(document.clone()),
                        Operation::Delete => None,
                    },
                );
            }
        }
        Some(batch)
    }

    /// Takes note that these keys, of which etcd has the newest versions, are being read.
    pub(super) fn reading(&mut self, keys: &[Vec<u8>]) {
        for key in keys {
            self.cache.insert(key.clone(), Entry::Reading);
        }
    }

    /// Takes what etcd had under a key while it was read; `None` if nothing. What has changed since that
    /// began may or may not be in it: then it is not the newest.
    pub(super) fn read(&mut self, key: Vec<u8>, document: Option<Vec<u8>>) {
        let unchanged = matches!(self.cache.entry(&key), Some(Entry::Reading));
        if unchanged || is(Mutation::ReadAheadStale) {
            self.cache.put(key, document);
        }
    }
}

/// Documents as etcd has them. They are in two generations: when the younger one is full the older
/// one goes, with what nobody asked for since.
#[derive(Debug, Default)]
struct Cache {
    young: HashMap<Vec<u8>, Entry>,
    old: HashMap<Vec<u8>, Entry>,
    /// What the young ones take, in bytes.
    bytes: usize,
}

#[derive(Debug)]
enum Entry {
    /// What etcd has; `None` if nothing.
    Stored(Option<Vec<u8>>),
    /// It is being read, and has not changed since that began.
    Reading,
    /// A newer version is in a batch.
    Outdated,
}

impl Cache {
    fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        match self.entry(key)? {
            Entry::Stored(document) => Some(document.as_deref()),
            Entry::Reading | Entry::Outdated => None,
        }
    }

    fn put(&mut self, key: Vec<u8>, document: Option<Vec<u8>>) {
        self.insert(key, Entry::Stored(document));
    }

    fn outdate(&mut self, key: &[u8]) {
        if self.entry(key).is_some() {
            self.insert(key.to_vec(), Entry::Outdated);
        }
    }

    fn is_outdated(&self, key: &[u8]) -> bool {
        matches!(self.entry(key), Some(Entry::Outdated))
    }

    fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    fn forget_below(&mut self, prefix: &[u8]) {
        for generation in [&mut self.young, &mut self.old] {
            generation.retain(|key, _| !key.starts_with(prefix));
        }
    }

    fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn insert(&mut self, key: Vec<u8>, entry: Entry) {
        /// What a map takes for an entry beside its texts, roughly, in bytes.
        const OVERHEAD: usize = 96;

        self.bytes += key.len() + OVERHEAD + entry.bytes();
        self.young.insert(key, entry);
        if self.bytes > CACHE_BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Stored(document) => document.as_ref().map_or(0, Vec::len),
            Self::Reading | Self::Outdated => 0,
        }
    }
}

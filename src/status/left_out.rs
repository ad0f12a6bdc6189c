//! The rows that were left out since no request can hold them, by their keys.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many keys are remembered; of more it is only known that there are some.
const MOST: usize = 1000;

/// The keys of rows that etcd lacks.
#[derive(Debug, Default)]
pub(crate) struct LeftOut(Mutex<Keys>);

#[derive(Debug, Default)]
struct Keys {
    lacking: BTreeSet<String>,
    /// Those that were before the compare of their table, which tells nothing new if it finds them again.
    before: BTreeSet<String>,
}

impl LeftOut {
    /// Takes note of one; whether that is news.
    pub(crate) fn add(&self, key: String) -> bool {
        let mut keys = self.keys();
        if keys.lacking.len() >= MOST {
            return !keys.has(&key);
        }
        let was_there = keys.before.remove(&key);
        keys.lacking.insert(key) && !was_there
    }

    /// Whether this row is known to be left out.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys().has(key)
    }

    /// Forgets one, which is in etcd again, or whose row is gone.
    pub(crate) fn remove(&self, key: &str) {
        let mut keys = self.keys();
        keys.lacking.remove(key);
        keys.before.remove(key);
    }

    /// Forgets those whose rows are gone: etcd lacks them no longer.
    pub(crate) fn forget_gone(&self, is_gone: impl Fn(&[u8]) -> bool) {
        let Keys { lacking, before } = &mut *self.keys();
        lacking.retain(|key| !is_gone(key.as_bytes()));
        before.retain(|key| !is_gone(key.as_bytes()));
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        let keys = self.keys();
        keys.lacking.is_empty() && keys.before.is_empty()
    }

    /// Forgets those that begin so: their table is compared, and finds them anew.
    pub(crate) fn forget(&self, prefix: &[u8]) {
        let Keys { lacking, before } = &mut *self.keys();
        let begins = |key: &String| key.as_bytes().starts_with(prefix);
        before.retain(|key| !begins(key));
        before.extend(lacking.iter().filter(|key| begins(key)).cloned());
        lacking.retain(|key| !begins(key));
    }

    /// All of them, and those that were before the compare of their table: they may be in etcd again.
    pub(crate) fn known(&self) -> BTreeSet<String> {
        let keys = self.keys();
        keys.lacking.union(&keys.before).cloned().collect()
    }

    /// All of them.
    pub(crate) fn all(&self) -> BTreeSet<String> {
        self.keys().lacking.clone()
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        // A thread that panicked left whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn has(&self, key: &str) -> bool {
        self.lacking.contains(key) || self.before.contains(key)
    }
}

//! The rows that were left out since no request can hold them, by their keys.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many keys are remembered; of more it is only known that there are some.
const MOST: usize = 1000;

/// The keys of rows that etcd lacks.
#[derive(Debug, Default)]
pub(crate) struct LeftOut(Mutex<BTreeSet<String>>);

impl LeftOut {
    /// Takes note of one.
    pub(crate) fn add(&self, key: String) {
        let mut keys = self.keys();
        if keys.len() < MOST {
            keys.insert(key);
        }
    }

    /// Forgets one, which is in etcd again.
    pub(crate) fn remove(&self, key: &str) {
        self.keys().remove(key);
    }

    /// Forgets those that begin so: their table is compared, and finds them anew.
    pub(crate) fn forget(&self, prefix: &[u8]) {
        self.keys().retain(|key| !key.as_bytes().starts_with(prefix));
    }

    /// All of them.
    pub(crate) fn all(&self) -> BTreeSet<String> {
        self.keys().clone()
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // A thread that panicked left whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

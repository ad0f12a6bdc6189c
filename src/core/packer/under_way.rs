//! The read of etcd that is under way.

/// How many documents are read at once, as long as nothing is known of their sizes.
const FIRST_READ: usize = 32;
/// The most documents that are read at once: as many spare enough round trips.
const MOST_READ: usize = 128;
/// What those may take, more or less, in bytes: they have to be held.
const READ_BYTES: usize = 1 << 20;

/// The read that is under way, and how large the next may be.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) under_way: Option<UnderWay>,
    most: usize,
}

/// What is being read.
#[derive(Debug)]
pub(super) enum UnderWay {
    /// Documents.
    Documents {
        keys: Vec<Vec<u8>>,
        /// Whether as they were before the transaction that is replayed.
        past: bool,
    },
    /// Keys of a table of which each is to be changed.
    Keys,
}

impl Reading {
    /// How many documents may be read at once.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Takes note of what a document takes, in bytes, on the average.
    pub(super) fn found(&mut self, average: usize) {
        self.most = (READ_BYTES / average.max(1)).clamp(1, MOST_READ);
    }

    /// Whether something is being read.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Takes note that keys are listed; false if something else is being read.
    pub(super) fn list(&mut self) -> bool {
        let is_free = self.under_way.is_none();
        self.under_way.get_or_insert(UnderWay::Keys);
        is_free
    }

    /// Takes note that keys were listed.
    pub(super) fn take_keys(&mut self) {
        self.under_way = None;
    }
}

impl Default for Reading {
    fn default() -> Self {
        Self { under_way: None, most: FIRST_READ }
    }
}

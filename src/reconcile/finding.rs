//! How a row and what etcd has of it differ.

/// What was found under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding<'a> {
    /// Row and value are the same.
    Same,
    /// There is a row, and etcd has nothing.
    Missing {
        /// The row's key.
        key: &'a [u8],
        /// Its document.
        document: &'a [u8],
    },
    /// There is a row, and etcd has another value.
    Differs {
        /// The row's key.
        key: &'a [u8],
        /// Its document.
        document: &'a [u8],
    },
    /// etcd has a value, and there is no row.
    Stale {
        /// The key.
        key: &'a [u8],
    },
}

/// How many keys were found how.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Row and value were the same.
    pub(crate) same: u64,
    /// etcd had nothing.
    pub(crate) missing: u64,
    /// etcd had another value.
    pub(crate) differs: u64,
    /// There was no row.
    pub(crate) stale: u64,
}

impl Counts {
    /// Takes one more into account.
    pub(crate) fn count(&mut self, finding: Finding<'_>) {
        *match finding {
            Finding::Same => &mut self.same,
            Finding::Missing { .. } => &mut self.missing,
            Finding::Differs { .. } => &mut self.differs,
            Finding::Stale { .. } => &mut self.stale,
        } += 1;
    }
}

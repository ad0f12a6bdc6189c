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

//! Places in the stream.

use crate::lsn::Lsn;
use crate::time::PgTime;

/// A transaction's commit, as the stream tells it (PostgreSQL manual, "Logical Replication Message
/// Formats", Begin).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Where its commit record begins.
    pub lsn: Lsn,
    /// The transaction's ID.
    pub xid: u32,
    /// When it committed.
    pub time: PgTime,
}

/// A place in the stream at which etcd can be consistent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// All that committed up to here is in etcd.
    pub lsn: Lsn,
    /// The last transaction up to here.
    pub commit: Commit,
}

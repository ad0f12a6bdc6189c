//! Places in the stream.

use crate::lsn::Lsn;
use crate::time::PgTime;

/// A transaction's commit, as the stream tells it before the transaction's changes (PostgreSQL manual,
/// "Logical Replication Message Formats", Begin).
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
    /// Where the commit record of the last transaction up to here ends: `lsn`, or before it if the log
    /// has grown with nothing for us in it; 0 if that is not known.
    pub commit_end: Lsn,
    /// When that transaction committed.
    pub committed_at: PgTime,
}

impl Position {
    /// The place behind a transaction whose commit record ends at `end`.
    #[must_use]
    pub fn behind(commit: &Commit, end: Lsn) -> Self {
        Self { lsn: end, commit_end: end, committed_at: commit.time }
    }
}

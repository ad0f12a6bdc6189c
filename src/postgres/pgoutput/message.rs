//! The messages of pgoutput (PostgreSQL manual, "Logical Replication Message Formats").

use super::relation::Relation;
use crate::cell::Cell;
use crate::lsn::Lsn;
use crate::time::PgTime;

/// One message. Times are microseconds since 2000-01-01 00:00 UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// A transaction follows; the server sends it after it has committed.
    Begin {
        /// The LSN of the commit record.
        final_lsn: Lsn,
        /// When it committed.
        commit_time: PgTime,
        xid: u32,
    },
    /// The transaction is complete.
    Commit {
        /// The LSN of the commit record.
        commit_lsn: Lsn,
        /// The first LSN after the transaction: what is flushed once etcd holds it.
        commit_end_lsn: Lsn,
        /// When it committed.
        commit_time: PgTime,
    },
    /// The transaction came to the server from another one. Follows `Begin`, if at all.
    Origin {
        /// The LSN of the commit on the origin.
        commit_lsn: Lsn,
        name: &'a str,
    },
    /// The columns of a table, sent before its first change and again after it changed.
    Relation(Relation),
    /// A type that is not built in, sent before the relation that uses it.
    Type {
        oid: u32,
        /// Its schema; empty for `pg_catalog`.
        schema: String,
        name: String,
    },
    Insert {
        /// The table's OID.
        relation: u32,
        new: Tuple<'a>,
    },
    Update {
        /// The table's OID.
        relation: u32,
        /// What is known of the row before: present if its key changed or has a TOASTed column,
        /// and always under REPLICA IDENTITY FULL.
        old: Option<OldTuple<'a>>,
        new: Tuple<'a>,
    },
    Delete {
        /// The table's OID.
        relation: u32,
        /// What is known of the row.
        old: OldTuple<'a>,
    },
    /// Tables were emptied (PostgreSQL 11 and later).
    Truncate {
        /// Their OIDs.
        relations: Vec<u32>,
        cascade: bool,
        restart_identity: bool,
    },
    /// What `pg_logical_emit_message` wrote (only sent if asked for).
    Logical { transactional: bool, lsn: Lsn, prefix: &'a str, content: &'a [u8] },
}

/// The published columns of a row, in the order of the last `Relation` message of the table.
pub(crate) type Tuple<'a> = Vec<Cell<'a>>;

/// What a message says of a row as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OldTuple<'a> {
    /// The columns of the replica identity; every other column is NULL whatever it was.
    Key(Tuple<'a>),
    /// All columns (REPLICA IDENTITY FULL).
    Full(Tuple<'a>),
}

impl<'a> OldTuple<'a> {
    /// The cells, of which those of the key are right in either case.
    #[must_use]
    pub(crate) fn cells(&self) -> &[Cell<'a>] {
        match self {
            Self::Key(cells) | Self::Full(cells) => cells,
        }
    }
}

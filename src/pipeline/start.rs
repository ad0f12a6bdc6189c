//! What a dump or a sync starts from.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::config::EtcdSettings;
use crate::core::batch::Limits;
use crate::core::ledger::Replay;
use crate::etcd::{Client, Txn};
use crate::lsn::Lsn;
use crate::postgres::{FrameReader, HostPort, Options, Session, StatusWriter};
use crate::state::checkpoint::Checkpoint;
use crate::state::claims::Claims;
use crate::state::last_commit::LastCommit;

/// What a sync starts from.
pub(crate) struct Start {
    /// The stream.
    pub(crate) frames: FrameReader,
    /// The way back.
    pub(crate) statuses: StatusWriter,
    /// For the stream's questions to the catalog.
    pub(crate) session: Session,
    /// For connections of the watch's own, to the same server.
    pub(crate) options: Options,
    /// That server.
    pub(crate) address: HostPort,
    /// The etcd that is written.
    pub(crate) client: Client,
    /// The keyspaces that this copy has there.
    pub(crate) claims: Claims,
    /// The position, as it stands in etcd.
    pub(crate) checkpoint: Checkpoint,
    /// Its `mod_revision`.
    pub(crate) mod_revision: i64,
    /// The note of the last transaction that etcd has.
    pub(crate) last_commit: Option<LastCommit>,
    /// The transaction that a former life has begun to write.
    pub(crate) replay: Option<Replay>,
    /// The slot's `confirmed_flush_lsn`, where the stream begins: at the position or before it.
    pub(crate) confirmed: Lsn,
    /// Whether another daemon had the slot until now.
    pub(crate) takes_over: bool,
    /// The position that shows that the stream gets on: beyond the present one, if there is more.
    pub(crate) goal: Lsn,
    /// Whether the stream before this one has begun here and got nowhere.
    pub(crate) again: bool,
    /// Whether a dump has come before it.
    pub(crate) dumped: bool,
    /// The longest time between two standby statuses.
    pub(crate) status_interval: Duration,
}

/// The position that shows that a stream gets on, where the server's log ends.
pub(crate) fn goal(position: Lsn, server_end: Lsn) -> Lsn {
    /// The most WAL that the header of a page takes, in bytes: less than what changes a row.
    const PAGE_HEADER: u64 = 40;
    match server_end.0.saturating_sub(position.0) {
        ..=PAGE_HEADER => position,
        _ => Lsn(position.0 + 1),
    }
}

/// A text that no other life of a daemon has.
pub(crate) fn new_writer() -> String {
    // Each RandomState has keys of its own: what it makes of nothing is a random number.
    format!("{:016x}", RandomState::new().hash_one(()))
}

/// What a txn may hold beside the position and the compare on it.
pub(crate) fn limits(etcd: &EtcdSettings) -> Limits {
    /// What the position may take, in bytes, beside the names in it: they are short, since
    /// PostgreSQL's are at most 63 bytes.
    const POSITION_BYTES: usize = 2048;
    let names = 8 * (etcd.path.len() + etcd.state_path.len());
    let taken = Txn::new().request_bytes() + POSITION_BYTES + names;
    Limits {
        operations: etcd.max_txn_ops.saturating_sub(1),
        bytes: etcd.max_request_bytes.saturating_sub(taken),
    }
}

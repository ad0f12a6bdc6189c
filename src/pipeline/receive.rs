//! What has come of the stream, as chunks of changes.

use std::mem::take;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::Sender;

use super::translation::{Translation, decoded};
use super::unsendable::{At, with_cure};
use crate::core::change::Chunk;
use crate::core::history::{History, Verdict};
use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::position::Commit;
use crate::postgres::pgoutput::Message;
use crate::postgres::{Frame, FrameReader};
use crate::status::Pulse;
use crate::table_name::TableName;

/// The size, in bytes, at which a chunk is handed on even in the middle of a transaction.
const CHUNK_BYTES: usize = 64 * 1024;

/// The stream, on its way from the socket to the packer.
pub(super) struct Receive<'a> {
    pub(super) frames: FrameReader,
    pub(super) history: History,
    /// Set once the history is proven.
    pub(super) proven: &'a AtomicBool,
    pub(super) translation: Translation<'a>,
    /// Asks for a standby status at once.
    pub(super) status_requests: Sender<()>,
    /// Up to where the stream has come.
    pub(super) received: Arc<AtomicU64>,
    /// The table that the stream is at.
    pub(super) at: Option<At>,
    /// What has come since a chunk was handed on.
    pub(super) chunk: Chunk,
    /// Whether the server may have sent more than was read.
    pub(super) is_behind: bool,
    /// Leaves a mark whenever the server has sent something.
    pub(super) pulse: Pulse,
    /// Dropped when nothing more is received.
    pub(super) _receiving: Sender<()>,
}

impl Receive<'_> {
    /// Reads what the server has sent. It waits, unless the socket can be read or
    /// [`FrameReader::holds_bytes`].
    pub(super) fn read(&mut self) -> Result<()> {
        self.pulse.wait();
        self.is_behind = self.frames.read().map_err(|error| self.with_cure(error))?;
        Ok(())
    }

    /// The changes that have come, if they are worth handing on: the server sends each change by itself, but
    /// a transaction is of use when it is whole. Those that have come together go together.
    pub(super) fn chunk(&mut self) -> Result<Option<Chunk>> {
        while self.size() < CHUNK_BYTES && self.take_frame()? {}
        let is_full = self.size() >= CHUNK_BYTES;
        self.translation.finish(&mut self.chunk)?;
        if !is_full && !self.chunk.is_complete() {
            return Ok(None);
        }
        self.translation.note_received();
        Ok(Some(take(&mut self.chunk)))
    }

    /// Takes the next frame that has arrived; false if there is none.
    fn take_frame(&mut self) -> Result<bool> {
        let frame = match self.frames.arrived() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(false),
            Err(error) => return Err(self.with_cure(error)),
        };
        let (Frame::XlogData { wal_end, .. } | Frame::Keepalive { wal_end, .. }) = frame;
        self.received.fetch_max(wal_end.0, Ordering::Relaxed);
        match frame {
            Frame::XlogData { message, .. } => {
                let decoded = decoded(message)?;
                self.at = at(&decoded, &self.translation);
                if is_news(&mut self.history, &decoded)? {
                    self.translation.add(message, decoded, &mut self.chunk)?;
                }
            }
            Frame::Keepalive { reply_requested, .. } => {
                self.history.keepalive(wal_end)?;
                if !self.history.skips() {
                    self.translation.finish(&mut self.chunk)?;
                    self.chunk.keepalive(wal_end, reply_requested);
                }
                if reply_requested {
                    // A request that is not answered yet counts for this one too.
                    let _ = self.status_requests.try_send(());
                }
            }
        }
        self.proven.store(self.history.is_proven(), Ordering::Release);
        Ok(true)
    }

    /// What the next chunk takes already, in bytes.
    fn size(&self) -> usize {
        self.chunk.size() + self.translation.waiting_bytes()
    }

    fn with_cure(&self, error: Error) -> Error {
        with_cure(error, self.at.as_ref(), Lsn(self.received.load(Ordering::Relaxed)))
    }
}

/// What can be read once the server has sent something.
impl AsFd for Receive<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.frames.as_fd()
    }
}

/// The table that a message is of.
fn at(message: &Message<'_>, translation: &Translation<'_>) -> Option<At> {
    match message {
        Message::Relation(relation) => Some(At::Table(TableName {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
        })),
        Message::Insert { relation, .. }
        | Message::Update { relation, .. }
        | Message::Delete { relation, .. } => translation.table(*relation).map(At::Behind),
        _ => None,
    }
}

/// Whether etcd lacks what a message says. Of a transaction that it has only the tables are news:
/// each stream describes a table once, where it is first changed.
fn is_news(history: &mut History, message: &Message<'_>) -> Result<bool> {
    match *message {
        Message::Begin { final_lsn, commit_time, xid } => {
            let commit = Commit { lsn: final_lsn, xid, time: commit_time };
            Ok(history.begin(commit)? == Verdict::Apply)
        }
        Message::Commit { commit_end_lsn, .. } => {
            let skipped = history.skips();
            history.end(commit_end_lsn)?;
            Ok(!skipped)
        }
        Message::Relation(_) => Ok(true),
        _ => Ok(!history.skips()),
    }
}

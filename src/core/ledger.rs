//! Who may write, and how far etcd is: the position's key, its `mod_revision` and its checkpoint.
//!
//! A request to etcd can be carried out long after it was given up, even after its second copy and
//! what came behind that. So each txn compares a guard and moves it: once one txn has gone through,
//! every other that was sealed before it is void. The ordered lane's guard is the position itself.
//! The lanes that write parts side by side must not move the position; each has a guard of its own,
//! and compares the position too, which stays where it is until the last part.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::mutation::{Mutation, is};
use crate::error::{Error, Result};
use crate::etcd::{KeyValue, Txn, TxnReply, prefix_end};
use crate::lsn::Lsn;
use crate::position::Position;
use crate::state::checkpoint::{Checkpoint, Phase};
use crate::state::last_commit::LastCommit;
use crate::state::layout;

/// The right to move the position. There is one in a daemon's life: it belongs to the ordered lane.
#[derive(Debug)]
pub struct Ledger {
    key: String,
    /// The key that says who put the position.
    writer_key: String,
    writer: String,
    /// The key of the note of the last transaction.
    commit_key: String,
    /// The key of the note of the transaction that is written in parts.
    partial_key: String,
    /// The transaction that it is about.
    partial: Option<Lsn>,
    /// What the parts' guards begin with.
    guards: Vec<u8>,
    /// The position, as etcd last took it.
    checkpoint: Checkpoint,
    mod_revision: i64,
    /// Whether parts may have been written, and so the guards be there.
    has_parts: bool,
    /// What the txn that is under way makes of the position.
    sealed: Option<Checkpoint>,
    shared: Arc<Shared>,
}

/// What others may know of the ledger.
#[derive(Debug, Default)]
struct Shared {
    flushed: AtomicU64,
    mod_revision: AtomicI64,
}

/// A transaction of which a former life has written parts: the stream has it once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Where its commit record begins.
    pub commit_lsn: Lsn,
    /// The store's revision before its first part.
    pub revision: i64,
}

impl Replay {
    /// What the position and the note of the transaction that was written in parts say; `None` if there is
    /// nothing to be replayed, or not the right note.
    #[must_use]
    pub fn of(checkpoint: &Checkpoint, note: Option<&KeyValue>) -> Option<Self> {
        let (commit_lsn, note) = checkpoint.partial.zip(note)?;
        let matches = note.value == commit_lsn.to_string().as_bytes();
        matches.then_some(Self { commit_lsn, revision: note.mod_revision })
    }
}

/// What a txn does to the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It stays, and is put again by the life that begins: what an earlier one may have sent is void.
    Claim,
    /// It stays: the changes are none of the stream.
    Stay,
    /// Everything up to here is in etcd.
    To(Position),
    /// Nothing more is, but parts of the transaction with this commit LSN follow.
    Partial {
        /// Where the position stays.
        position: Position,
        /// Where the transaction's commit record begins.
        commit_lsn: Lsn,
    },
    /// The dump is complete.
    Dumped,
}

impl Ledger {
    /// A ledger of the position that was put with this `mod_revision`. No other life has had this
    /// `writer`.
    #[must_use]
    pub fn new(
        state_path: &str,
        checkpoint: Checkpoint,
        mod_revision: i64,
        writer: String,
        replay: Option<Replay>,
    ) -> Self {
        let shared = Shared {
            flushed: AtomicU64::new(checkpoint.lsn.0),
            mod_revision: AtomicI64::new(mod_revision),
        };
        Self {
            key: layout::checkpoint(state_path),
            writer_key: layout::writer(state_path),
            writer,
            commit_key: layout::last_commit(state_path),
            partial_key: layout::partial(state_path),
            partial: replay.map(|replay| replay.commit_lsn),
            guards: layout::guards(state_path),
            checkpoint,
            mod_revision,
            // Those of an earlier life.
            has_parts: true,
            sealed: None,
            shared: Arc::new(shared),
        }
    }

    /// Completes a txn: with the position that it puts, and the compare without which another daemon,
    /// or a request of the past, could write. One that ends parts has one operation more, which deletes
    /// their guards, and so has a [`Step::To`] a position that is not the end of a transaction.
    pub fn seal(&mut self, txn: &mut Txn, step: Step) {
        let next = step.applied_to(&self.checkpoint);
        if std::mem::take(&mut self.has_parts) {
            txn.delete_range(&self.guards, &prefix_end(&self.guards));
        }
        if step == Step::Claim {
            txn.put(self.writer_key.as_bytes(), self.writer.as_bytes());
        }
        if let Step::Partial { commit_lsn, .. } = step
            && self.partial.replace(commit_lsn) != Some(commit_lsn)
        {
            txn.put(self.partial_key.as_bytes(), commit_lsn.to_string().as_bytes());
        }
        if let Some(last) = step.last_commit(&self.checkpoint) {
            txn.put(self.commit_key.as_bytes(), &last.to_json());
        }
        self.has_parts = matches!(step, Step::Partial { .. }) || next.phase == Phase::Dump;
        txn.put(self.key.as_bytes(), &next.to_json());
        if !is(Mutation::Unfenced) {
            txn.compare_mod_revision(self.key.as_bytes(), self.mod_revision);
        }
        txn.otherwise_get(self.key.as_bytes());
        txn.otherwise_get(self.writer_key.as_bytes());
        if is(Mutation::PositionEarly) {
            self.shared.flushed.store(next.lsn.0, Ordering::Release);
        }
        self.sealed = Some(next);
    }

    /// Takes etcd's answer to the txn that was sealed last, or to a second copy of it.
    ///
    /// # Errors
    /// [`Error::Fenced`] if neither copy went through, since the position is not as it was left.
    pub fn accepted(&mut self, reply: &TxnReply) -> Result<()> {
        match reply.succeeded {
            true => self.advance(reply.revision),
            false => {
                let mut gets = reply.gets.iter().map(Option::as_ref);
                self.settle(gets.next().flatten(), gets.next().flatten())
            }
        }
    }

    /// Tells by what etcd holds whether the sealed txn went through, unheard: then the position is as it
    /// was sealed, put after the one before, and this life is still the last that claimed it.
    fn settle(&mut self, position: Option<&KeyValue>, writer: Option<&KeyValue>) -> Result<()> {
        let sealed = self.sealed.as_ref().map(Checkpoint::to_json);
        let is_ours = writer.is_some_and(|writer| writer.value == self.writer.as_bytes());
        match position {
            _ if is(Mutation::RefusalBelieved) => self.advance(self.mod_revision + 1),
            Some(found)
                if is_ours
                    && found.mod_revision > self.mod_revision
                    && Some(&found.value) == sealed.as_ref() =>
            {
                self.advance(found.mod_revision)
            }
            _ => Err(Error::Fenced { key: self.key.clone() }),
        }
    }

    fn advance(&mut self, revision: i64) -> Result<()> {
        if let Some(sealed) = self.sealed.take() {
            self.checkpoint = sealed;
        }
        self.mod_revision = revision;
        self.shared.flushed.store(self.checkpoint.lsn.0, Ordering::Release);
        self.shared.mod_revision.store(revision, Ordering::Release);
        Ok(())
    }

    /// The position, as etcd last took it.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// How far etcd is, for those who tell PostgreSQL.
    #[must_use]
    pub fn flushed(&self) -> Flushed {
        Flushed(Arc::clone(&self.shared))
    }

    /// The position's `mod_revision`, for those who compare it.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence(Arc::clone(&self.shared))
    }
}

/// How far etcd is: all that committed up to there is there. It can only be read.
#[derive(Clone, Debug, Default)]
pub struct Flushed(Arc<Shared>);

impl Flushed {
    /// A position that stays.
    #[must_use]
    pub fn at(lsn: Lsn) -> Self {
        Self(Arc::new(Shared { flushed: AtomicU64::new(lsn.0), ..Shared::default() }))
    }

    /// The LSN.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        Lsn(self.0.flushed.load(Ordering::Acquire))
    }
}

/// The position's `mod_revision` as this life knows it. It can only be read.
#[derive(Clone, Debug)]
pub struct Fence(Arc<Shared>);

impl Fence {
    /// The revision.
    #[must_use]
    pub fn mod_revision(&self) -> i64 {
        self.0.mod_revision.load(Ordering::Acquire)
    }
}

/// The right to write parts: for one of the lanes beside the ordered one. It cannot move the
/// position.
#[derive(Debug)]
pub struct PartLedger {
    key: String,
    guard: Vec<u8>,
    fence: Fence,
    /// This life's, so that the guard's value tells whose part went through.
    writer: String,
    /// How many parts were sealed.
    count: u64,
    /// The position's `mod_revision` at the last part. The position moves when the parts of a
    /// transaction are complete, and the guards go with that.
    position: i64,
    mod_revision: i64,
}

impl PartLedger {
    /// For the lane of this number, in the life that the ledger belongs to.
    #[must_use]
    pub fn new(ledger: &Ledger, lane: usize) -> Self {
        Self {
            key: ledger.key.clone(),
            guard: [&ledger.guards, lane.to_string().as_bytes()].concat(),
            fence: ledger.fence(),
            writer: ledger.writer.clone(),
            count: 0,
            position: 0,
            mod_revision: 0,
        }
    }

    /// Completes a part.
    pub fn seal(&mut self, txn: &mut Txn) {
        let position = self.fence.mod_revision();
        if position != self.position {
            (self.position, self.mod_revision) = (position, 0);
        }
        self.count += 1;
        if !is(Mutation::GuardStays) {
            txn.put(&self.guard, &self.value());
            txn.compare_mod_revision(&self.guard, self.mod_revision);
        }
        if !is(Mutation::PartUnfenced) {
            txn.compare_mod_revision(self.key.as_bytes(), position);
        }
        txn.otherwise_get(&self.guard);
    }

    /// Takes etcd's answer to the part that was sealed last, or to a second copy of it.
    ///
    /// # Errors
    /// [`Error::Fenced`] if neither copy went through.
    pub fn accepted(&mut self, reply: &TxnReply) -> Result<()> {
        let found = reply.gets.first().and_then(Option::as_ref);
        match found {
            _ if reply.succeeded => self.mod_revision = reply.revision,
            Some(found) if found.value == self.value() => self.mod_revision = found.mod_revision,
            _ => return Err(Error::Fenced { key: self.key.clone() }),
        }
        Ok(())
    }

    fn value(&self) -> Vec<u8> {
        format!("{} {}", self.writer, self.count).into_bytes()
    }
}

impl Step {
    /// What is to be noted of the last transaction, unless the position tells it.
    fn last_commit(self, checkpoint: &Checkpoint) -> Option<LastCommit> {
        match self {
            Self::To(Position { lsn, commit_end, .. })
            | Self::Partial { position: Position { lsn, commit_end, .. }, .. }
                if commit_end != lsn =>
            {
                let commit_end = (commit_end != Lsn(0)).then_some(commit_end);
                Some(LastCommit { position: lsn, commit_end })
            }
            Self::Dumped => Some(LastCommit { position: checkpoint.lsn, commit_end: None }),
            Self::Claim | Self::Stay | Self::To(_) | Self::Partial { .. } => None,
        }
    }

    fn applied_to(self, checkpoint: &Checkpoint) -> Checkpoint {
        match self {
            Self::Claim | Self::Stay => checkpoint.clone(),
            Self::To(position) => {
                // A former life's parts are those of a transaction that is still to come.
                let partial = checkpoint.partial.filter(|&partial| position.lsn <= partial);
                checkpoint.at(position, partial)
            }
            Self::Partial { position, commit_lsn } => checkpoint.at(position, Some(commit_lsn)),
            Self::Dumped => Checkpoint { phase: Phase::Sync, ..checkpoint.clone() },
        }
    }
}

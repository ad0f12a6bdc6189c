//! The threads that post txns to etcd, each guarded by a compare on the position.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};

use super::lanes::LaneEnd;
use crate::error::{Error, Result};
use crate::etcd::{Client, Txn};
use crate::lsn::Lsn;
use crate::position::Position;
use crate::retry::Retry;
use crate::state::checkpoint::{Checkpoint, Phase};
use crate::status::{Metrics, Pulse};
use crate::stop::Stop;

/// A txn to be posted.
#[derive(Debug)]
pub(crate) struct Job {
    /// The changes.
    pub(crate) txn: Txn,
    /// Where the position moves with them; `None` for a part that leaves it where it is.
    pub(crate) step: Option<Step>,
}

/// A move of the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Everything up to here is in etcd.
    To(Position),
    /// Nothing more is, but parts of the transaction with this commit LSN follow.
    Partial {
        /// Where the position stays.
        position: Position,
        /// The commit LSN.
        commit_lsn: Lsn,
    },
    /// The dump is complete.
    Dumped,
}

/// The right to write: the position is as this process left it.
pub(crate) struct Fence {
    key: String,
    /// The position's `mod_revision`; 0 while there is none.
    mod_revision: AtomicI64,
}

impl Fence {
    /// A fence around a position that was read with this `mod_revision`.
    pub(crate) fn new(key: String, mod_revision: i64) -> Self {
        Self { key, mod_revision: AtomicI64::new(mod_revision) }
    }

    /// The position's `mod_revision`.
    pub(crate) fn mod_revision(&self) -> i64 {
        self.mod_revision.load(Ordering::Acquire)
    }
}

/// Posts txns, one after the other.
pub(crate) struct Writer<'a> {
    pub(crate) client: Client,
    pub(crate) fence: Arc<Fence>,
    /// The position as it was last put, and the form of the next.
    pub(crate) checkpoint: Checkpoint,
    /// All that committed up to here is in etcd.
    pub(crate) position: &'a AtomicU64,
    /// Where the txns are measured.
    pub(crate) metrics: &'a Metrics,
    /// Whether waiting is worth it.
    pub(crate) ending: Ending<'a>,
    /// Whether etcd has let this process write: a refusal is then one that may pass.
    pub(crate) accepted: bool,
}

impl Writer<'_> {
    /// Posts what comes, until no more comes.
    pub(crate) fn run(mut self, lane: &LaneEnd) -> Result<()> {
        self.ending.pulse.wait();
        while let Some(Job { mut txn, step }) = lane.next() {
            self.ending.pulse.work();
            if txn.operations() > 0 || step.is_some() {
                self.post(&mut txn, step)?;
            }
            lane.give_back(txn);
            self.ending.pulse.wait();
        }
        Ok(())
    }

    /// Posts a txn until etcd has it or the fence refuses it.
    pub(crate) fn post(&mut self, txn: &mut Txn, step: Option<Step>) -> Result<()> {
        let position = step.map(|step| step.applied_to(&self.checkpoint));
        let json = position.as_ref().map(Checkpoint::to_json);
        if let Some(json) = &json {
            txn.put(self.fence.key.as_bytes(), json);
        }
        let expected = self.fence.mod_revision();
        txn.compare_mod_revision(self.fence.key.as_bytes(), expected);
        let begun = Instant::now();
        let revision = self.deliver(txn, json.as_deref())?;
        self.metrics.txn_written(txn.operations(), txn.request_bytes(), begun.elapsed());
        if let Some(position) = position {
            self.fence.mod_revision.store(revision, Ordering::Release);
            self.checkpoint = position;
            self.position.store(self.checkpoint.lsn.0, Ordering::Release);
        }
        Ok(())
    }

    /// Sends the txn until its outcome is known, and returns the revision that it made.
    ///
    /// It may be sent twice: where the outcome of the first time is open, the compare lets the
    /// second time happen only if the first did not, provided that the txn moves the position. The
    /// others are parts, which can be put twice.
    fn deliver(&mut self, txn: &mut Txn, position: Option<&[u8]>) -> Result<i64> {
        let Self { client, ending, accepted, metrics, .. } = self;
        let mut sent_before = false;
        let mut retry = Retry::of_requests().despite_refusals(*accepted);
        let reply = retry.until_done(
            || {
                client.txn(txn).map_err(|error| {
                    sent_before |= error.outcome_open();
                    Error::from(error)
                })
            },
            |error, pause| {
                metrics.retries.count(error);
                ending.wait(pause)
            },
        )?;
        self.accepted = true;
        match position {
            _ if reply.succeeded => Ok(reply.revision),
            Some(position) if sent_before => self.settle(position),
            _ => Err(self.fenced()),
        }
    }

    /// Finds out whether the txn that was refused was so because it had gone through before: then
    /// the position is the one that it put.
    fn settle(&mut self, position: &[u8]) -> Result<i64> {
        let Self { client, ending, fence, metrics, .. } = self;
        let mut retry = Retry::of_requests().despite_refusals(true);
        let found = retry.until_done(
            || client.get(fence.key.as_bytes()).map_err(Error::from),
            |error, pause| {
                metrics.retries.count(error);
                ending.wait(pause)
            },
        )?;
        match found {
            Some(found) if found.value == position => Ok(found.mod_revision),
            _ => Err(self.fenced()),
        }
    }

    fn fenced(&self) -> Error {
        Error::Fenced { key: self.fence.key.clone() }
    }
}

impl Step {
    fn applied_to(self, checkpoint: &Checkpoint) -> Checkpoint {
        match self {
            Self::To(position) => checkpoint.at(position, None),
            Self::Partial { position, commit_lsn } => checkpoint.at(position, Some(commit_lsn)),
            Self::Dumped => Checkpoint { phase: Phase::Sync, ..checkpoint.clone() },
        }
    }
}

/// Says when it is over: then what fails is not tried again.
#[derive(Clone)]
pub(crate) struct Ending<'a> {
    /// The request to stop.
    pub(crate) stop: &'a Stop,
    /// Disconnected once nothing more will come.
    pub(crate) source: Receiver<()>,
    /// That of the thread which asks.
    pub(crate) pulse: Pulse,
}

impl Ending<'_> {
    /// Waits for `pause`; true if it is over, and as soon as a stop is requested.
    pub(super) fn wait(&self, pause: Duration) -> bool {
        // Each attempt is a step of its own.
        self.pulse.work();
        self.stop.wait(pause) || self.source.try_recv() == Err(TryRecvError::Disconnected)
    }
}

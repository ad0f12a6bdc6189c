//! The ways to etcd: a thread for each, and what they say when etcd has a txn.

use std::sync::{Arc, Mutex};
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::bell::Bell;
use super::write::{Acknowledged, Ending, Job, PartWriter, Replies, Reply, Writer, lock, write};
use crate::core::ledger::{Ledger, PartLedger, Step};
use crate::core::packer::LANE_DEPTH;
use crate::error::{Error, Result};
use crate::etcd::{Client, Txn};
use crate::status::Status;
use crate::threads::Failure;

/// The ends of the writers' channels. Every send fails with [`Error::Stopped`] once a writer has
/// failed, which tells its own cause.
pub(crate) struct Lanes<'a> {
    ordered: Sender<Job>,
    writer: Arc<Mutex<Writer<'a>>>,
    parts: Vec<Sender<Txn>>,
    replies: Receiver<Reply>,
    /// For other threads without which the txns that are posted are in vain.
    failed: Replies,
}

/// What the writers are made of.
pub(crate) struct Writers<'w, 'env, E> {
    /// The etcd that is written; each writer has a connection of its own.
    pub(crate) client: &'w Client,
    pub(crate) ledger: Ledger,
    /// How many lanes take parts.
    pub(crate) part_lanes: usize,
    /// Told whenever etcd has more.
    pub(crate) moved: Option<Sender<()>>,
    /// Wakes the thread that takes the replies, if it polls.
    pub(crate) bell: Option<Bell>,
    /// Dropped when the ordered lane ends.
    pub(crate) writing: Option<Sender<()>>,
    pub(crate) status: &'env Status,
    /// Says when the thread of this name has to end.
    pub(crate) ending: E,
}

impl<'env> Lanes<'env> {
    /// Starts a thread a lane.
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, 'env>,
        failure: &'env Failure,
        writers: Writers<'_, 'env, impl Fn(&str) -> Ending<'env>>,
    ) -> Self {
        let Writers { client, ledger, part_lanes, moved, bell, writing, status, ending } = writers;
        // Whoever posts knows how many are outstanding: there is always room.
        let (sender, replies) = unbounded();
        let reply = Replies { replies: sender, bell };
        let parts = (0..part_lanes.max(1)).map(|lane| {
            let (sender, jobs) = bounded(LANE_DEPTH);
            let name = format!("write {}", lane + 1);
            let ledger = PartLedger::new(&ledger, lane);
            let writer = PartWriter::new(lane, client.clone(), ledger, status, ending(&name));
            let reply = reply.clone();
            let failed = reply.clone();
            let run = move || writer.run(&jobs, &reply);
            failure.spawn_then(scope, &name, run, move || failed.failed());
            sender
        });
        let parts = parts.collect();
        let (ordered, jobs) = bounded(LANE_DEPTH);
        let ending = ending("write 0");
        let pulse = ending.pulse.clone();
        let writer = Writer::new(client.clone(), ledger, moved, status, ending);
        let writer = Arc::new(Mutex::new(writer));
        let (failed, ordered_failed) = (reply.clone(), reply.clone());
        let shared = Arc::clone(&writer);
        let run = move || {
            let _writing = writing;
            write(&shared, &pulse, &jobs, &reply)
        };
        failure.spawn_then(scope, "write 0", run, move || ordered_failed.failed());
        Self { ordered, writer, parts, replies, failed }
    }

    /// Gives a txn to the ordered lane.
    pub(crate) fn post(&self, txn: Txn, step: Step) -> Result<()> {
        self.send(Job { txn, step, attempt: None })
    }

    /// Posts a txn while the ordered lane has no other, and waits a moment for the answer; without one the lane's
    /// thread goes on with it. No other thread has to wake up for it then.
    ///
    /// # Errors
    /// [`Error::Fenced`]; those of [`Self::post`].
    pub(crate) fn post_here(&self, txn: Txn, step: Step) -> Result<Option<Acknowledged>> {
        let posted = lock(&self.writer).try_post(Job { txn, step, attempt: None })?;
        posted.map_or_else(|job| self.send(job).map(|()| None), |answer| Ok(Some(answer)))
    }

    fn send(&self, job: Job) -> Result<()> {
        self.ordered.send(job).map_err(|_| Error::Stopped)
    }

    /// Gives a part to the lane of this number.
    pub(crate) fn post_part(&self, lane: usize, txn: Txn) -> Result<()> {
        let Some(jobs) = self.parts.get(lane) else { return Err(Error::Stopped) };
        jobs.send(txn).map_err(|_| Error::Stopped)
    }

    /// What comes back.
    pub(crate) fn replies(&self) -> &Receiver<Reply> {
        &self.replies
    }

    /// Where a thread says that it has failed, so that whoever waits for replies waits no longer.
    pub(crate) fn failed(&self) -> Replies {
        self.failed.clone()
    }
}

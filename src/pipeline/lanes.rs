//! The writers as one: who gets which txn, and when all of them are done.

use crossbeam_channel::{
    Receiver, Select, Sender, TryRecvError, bounded, never, select, unbounded,
};

use super::write::{Job, Step};
use crate::core::batch::Batch;
use crate::error::{Error, Result};
use crate::etcd::Txn;
use crate::status::Pulse;

/// The ends of the writers' channels. Every send fails with [`Error::Stopped`] once a writer has
/// failed, which tells its own cause.
pub(crate) struct Lanes {
    /// Each holds one job, whole and ready to be posted as soon as the one before it is in etcd.
    jobs: Vec<Sender<Job>>,
    /// Holds none: lane 0 takes a job from here only when it has nothing else to do.
    idle: Sender<Job>,
    used: Receiver<Txn>,
    /// That of the thread which gives the jobs.
    pulse: Pulse,
}

/// The other ends, for the writer of one lane.
pub(crate) struct LaneEnd {
    jobs: Receiver<Job>,
    idle: Receiver<Job>,
    used: Sender<Txn>,
}

impl LaneEnd {
    /// The next job; `None` when no more come.
    pub(crate) fn next(&self) -> Option<Job> {
        match self.jobs.try_recv() {
            Ok(job) => return Some(job),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        select! {
            recv(self.jobs) -> job => job.ok(),
            // It ends together with the other one, which may have a job still.
            recv(self.idle) -> job => job.or_else(|_| self.jobs.recv()).ok(),
        }
    }

    /// Gives a txn back, to be used again.
    pub(crate) fn give_back(&self, mut txn: Txn) {
        txn.clear();
        // Nobody may be left to use it.
        let _ = self.used.send(txn);
    }
}

impl Lanes {
    /// So many lanes, at least one.
    pub(crate) fn new(count: usize, pulse: Pulse) -> (Self, Vec<LaneEnd>) {
        // Txns come back in a lane's own time; at most three a lane are in use.
        let (used_sender, used) = unbounded();
        let (idle, idle_end) = bounded(0);
        let (jobs, ends) = (0..count.max(1))
            .map(|lane| {
                let (sender, jobs) = bounded(1);
                let idle = if lane == 0 { idle_end.clone() } else { never() };
                (sender, LaneEnd { jobs, idle, used: used_sender.clone() })
            })
            .unzip();
        (Self { jobs, idle, used, pulse }, ends)
    }

    /// How many lanes there are.
    pub(crate) fn count(&self) -> usize {
        self.jobs.len()
    }

    /// Empties the batch into a job.
    pub(crate) fn job(&self, batch: &mut Batch) -> Job {
        let mut txn = self.used.try_recv().unwrap_or_default();
        let step = batch.position.map(Step::To);
        batch.write(&mut txn);
        Job { txn, step }
    }

    /// Gives a job to a lane once it has room for it.
    pub(crate) fn send(&self, lane: usize, job: Job) -> Result<()> {
        self.pulse.wait();
        let sent = self.jobs[lane].send(job).map_err(|_| Error::Stopped);
        self.pulse.work();
        sent
    }

    /// Gives a job to the first lane that has room for it.
    pub(crate) fn send_to_any(&self, job: Job) -> Result<()> {
        let mut select = Select::new();
        for lane in &self.jobs {
            select.send(lane);
        }
        self.pulse.wait();
        let operation = select.select();
        self.pulse.work();
        let lane = &self.jobs[operation.index()];
        operation.send(lane, job).map_err(|_| Error::Stopped)
    }

    /// Returns when everything that was given to a lane is in etcd.
    pub(crate) fn settle(&self) -> Result<()> {
        // A lane takes a job, even one with nothing to do, only when the one before it is done;
        // that it was taken shows in the room for another.
        for lane in (0..self.count()).chain(0..self.count()) {
            self.send(lane, self.job(&mut Batch::default()))?;
        }
        Ok(())
    }

    /// Where a job goes that may grow as long as etcd is not ready for it: to the lane whose jobs
    /// come in order, once it has nothing to do or, behind one that waits there, once that is taken.
    pub(super) fn ordered(&self) -> &Sender<Job> {
        if self.jobs[0].is_empty() { &self.idle } else { &self.jobs[0] }
    }
}

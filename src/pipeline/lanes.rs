//! The writers as one: who gets which txn, and when all of them are done.

use crossbeam_channel::{Receiver, Select, Sender, bounded, unbounded};

use super::write::{Job, Step};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::etcd::Txn;
use crate::status::Pulse;

/// The ends of the writers' channels. Every send fails with [`Error::Stopped`] once a writer has
/// failed, which tells its own cause.
///
/// A channel holds nothing: a job is taken when the one before it is in etcd.
pub(crate) struct Lanes {
    jobs: Vec<Sender<Job>>,
    used: Receiver<Txn>,
    /// That of the thread which gives the jobs.
    pulse: Pulse,
}

/// The other ends, for the writer of one lane.
pub(crate) struct LaneEnd {
    pub(crate) jobs: Receiver<Job>,
    pub(crate) used: Sender<Txn>,
}

impl Lanes {
    /// So many lanes, at least one.
    pub(crate) fn new(count: usize, pulse: Pulse) -> (Self, Vec<LaneEnd>) {
        // Txns come back in a lane's own time; at most two a lane are in use.
        let (used_sender, used) = unbounded();
        let (jobs, ends) = (0..count.max(1))
            .map(|_| {
                let (sender, jobs) = bounded(0);
                (sender, LaneEnd { jobs, used: used_sender.clone() })
            })
            .unzip();
        (Self { jobs, used, pulse }, ends)
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

    /// Gives a job to a lane once it is free.
    pub(crate) fn send(&self, lane: usize, job: Job) -> Result<()> {
        self.pulse.wait();
        let sent = self.jobs[lane].send(job).map_err(|_| Error::Stopped);
        self.pulse.work();
        sent
    }

    /// Gives a job to the first lane that is free.
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
        // A lane takes a job, even one with nothing to do, only when the one before it is done.
        (0..self.count()).try_for_each(|lane| self.send(lane, self.job(&mut Batch::default())))
    }

    /// The lane whose jobs come in order, with the position.
    pub(super) fn ordered(&self) -> &Sender<Job> {
        &self.jobs[0]
    }
}

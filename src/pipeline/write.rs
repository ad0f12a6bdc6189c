//! The threads that post txns to etcd, one a lane, until etcd has each or a ledger says that another
//! daemon has taken over.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use super::bell::Bell;
use crate::core::Lane;
use crate::core::ledger::{Ledger, PartLedger, Step};
use crate::error::{Error, Result};
use crate::etcd::{Client, Txn, TxnReply};
use crate::retry::Retry;
use crate::status::{Metrics, Pulse, Status};
use crate::stop::Stop;

/// How long the thread that packs waits for etcd: mostly that needs less than a hundredth of it.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long one takes where the next is expected to take less than [`PATIENCE`].
const QUICK: Duration = Duration::from_millis(20);

/// A txn of the ordered lane.
pub(super) struct Job {
    /// The changes.
    pub(super) txn: Txn,
    /// What it does to the position.
    pub(super) step: Step,
    /// The attempt that was made, if one was: the txn is sealed, and etcd may have it.
    pub(super) attempt: Option<Attempt>,
}

/// An attempt to post a txn, without an answer.
pub(super) struct Attempt {
    begun: Instant,
    /// What failed, unless nothing but time has passed.
    error: Option<Error>,
}

impl Attempt {
    fn begin() -> Self {
        Self { begun: Instant::now(), error: None }
    }
}

/// What comes back from the writers.
pub(crate) enum Reply {
    /// etcd has a txn.
    Acknowledged(Acknowledged),
    /// A thread has failed, and has recorded why: nothing more will come of it.
    Failed,
}

impl Reply {
    /// The txn that etcd has.
    ///
    /// # Errors
    /// [`Error::Stopped`] if a thread has failed.
    pub(crate) fn acknowledged(self) -> Result<Acknowledged> {
        match self {
            Self::Acknowledged(acknowledged) => Ok(acknowledged),
            Self::Failed => Err(Error::Stopped),
        }
    }
}

/// Where the writers say what etcd has.
#[derive(Clone)]
pub(crate) struct Replies {
    pub(super) replies: Sender<Reply>,
    /// Wakes the thread that takes them, if it polls.
    pub(super) bell: Option<Bell>,
}

impl Replies {
    /// Says that etcd has a txn.
    fn acknowledged(&self, acknowledged: Acknowledged) {
        // Nobody may be left to hear it.
        let _ = self.replies.send(Reply::Acknowledged(acknowledged));
        if let Some(bell) = &self.bell {
            bell.ring_unless_muted();
        }
    }

    /// Says that a thread has failed.
    pub(crate) fn failed(&self) {
        let _ = self.replies.send(Reply::Failed);
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }
}

/// What etcd has of a lane.
pub(crate) struct Acknowledged {
    /// The lane, whose oldest txn it is.
    pub(crate) lane: Lane,
    /// The txn, to be used again.
    pub(crate) txn: Txn,
    /// The revision that it made, or a later one.
    pub(crate) revision: i64,
}

/// The ordered lane's way to etcd, which one thread at a time uses.
pub(super) struct Writer<'a> {
    sender: TxnSender<'a>,
    ledger: Ledger,
    /// Told whenever etcd has more.
    moved: Option<Sender<()>>,
    /// Whether the last txn took less than [`QUICK`].
    is_quick: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        client: Client,
        ledger: Ledger,
        moved: Option<Sender<()>>,
        status: &'a Status,
        ending: Ending<'a>,
    ) -> Self {
        let sender = TxnSender { client, metrics: &status.metrics, ending, accepted: false };
        Self { sender, ledger, moved, is_quick: false }
    }

    /// Posts a txn until there is an answer.
    fn post(&mut self, Job { mut txn, step, attempt }: Job) -> Result<Acknowledged> {
        let attempt = attempt.unwrap_or_else(|| self.seal(&mut txn, step));
        let begun = attempt.begun;
        let reply = self.sender.deliver(&mut txn, attempt)?;
        self.acknowledged((txn, step), &reply, begun)
    }

    /// Posts a txn, and waits a moment for the answer. Without one it is to be posted by [`Self::post`], and
    /// etcd may have two copies of it then, of which the ledger has seen to it that only one is carried out.
    pub(super) fn try_post(
        &mut self,
        Job { mut txn, step, .. }: Job,
    ) -> Result<std::result::Result<Acknowledged, Job>> {
        if !self.is_quick {
            return Ok(Err(Job { txn, step, attempt: None }));
        }
        let mut attempt = self.seal(&mut txn, step);
        match self.sender.attempt(&mut txn, &mut attempt) {
            Some(reply) => self.acknowledged((txn, step), &reply, attempt.begun).map(Ok),
            None => Ok(Err(Job { txn, step, attempt: Some(attempt) })),
        }
    }

    fn seal(&mut self, txn: &mut Txn, step: Step) -> Attempt {
        self.ledger.seal(txn, step);
        Attempt::begin()
    }

    fn acknowledged(
        &mut self,
        (txn, step): (Txn, Step),
        reply: &TxnReply,
        begun: Instant,
    ) -> Result<Acknowledged> {
        self.is_quick = begun.elapsed() < QUICK;
        self.ledger.accepted(reply)?;
        if let (Some(moved), Step::To(_)) = (&self.moved, step) {
            // One that was not heard yet counts for this one too.
            let _ = moved.try_send(());
        }
        Ok(Acknowledged { lane: Lane::Ordered, txn, revision: reply.revision })
    }
}

/// Posts the ordered lane's txns that come, until no more comes.
pub(super) fn write(
    writer: &Mutex<Writer<'_>>,
    pulse: &Pulse,
    jobs: &Receiver<Job>,
    done: &Replies,
) -> Result<()> {
    while let Some(job) = next(pulse, jobs) {
        let acknowledged = lock(writer).post(job)?;
        done.acknowledged(acknowledged);
    }
    Ok(())
}

/// The writer, when no other thread uses it.
pub(super) fn lock<'w, 'a>(writer: &'w Mutex<Writer<'a>>) -> MutexGuard<'w, Writer<'a>> {
    // A thread that has panicked ends all others.
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Posts the parts of one lane.
pub(super) struct PartWriter<'a> {
    lane: usize,
    sender: TxnSender<'a>,
    ledger: PartLedger,
}

impl<'a> PartWriter<'a> {
    pub(super) fn new(
        lane: usize,
        client: Client,
        ledger: PartLedger,
        status: &'a Status,
        ending: Ending<'a>,
    ) -> Self {
        // Parts follow a txn of the ordered lane.
        let sender = TxnSender { client, metrics: &status.metrics, ending, accepted: true };
        Self { lane, sender, ledger }
    }

    /// Posts what comes, until no more comes.
    pub(super) fn run(mut self, jobs: &Receiver<Txn>, done: &Replies) -> Result<()> {
        while let Some(mut txn) = next(&self.sender.ending.pulse, jobs) {
            self.ledger.seal(&mut txn);
            let reply = self.sender.deliver(&mut txn, Attempt::begin())?;
            self.ledger.accepted(&reply)?;
            let (lane, revision) = (Lane::Part(self.lane), reply.revision);
            done.acknowledged(Acknowledged { lane, txn, revision });
        }
        Ok(())
    }
}

/// A connection to etcd, and the patience to use it.
struct TxnSender<'a> {
    client: Client,
    metrics: &'a Metrics,
    ending: Ending<'a>,
    /// Whether etcd has let this process write: a refusal is then one that may pass.
    accepted: bool,
}

impl TxnSender<'_> {
    /// Sends a sealed txn until there is an answer. It may be sent twice, and each of the copies be
    /// carried out at any time: its ledger has seen to it that only one of them can be.
    fn deliver(&mut self, txn: &mut Txn, attempt: Attempt) -> Result<TxnReply> {
        let Self { client, ending, accepted, metrics } = self;
        let Attempt { begun, error: mut failed } = attempt;
        let mut retry = Retry::of_requests().despite_refusals(*accepted);
        let reply = retry.until_done(
            || failed.take().map_or_else(|| client.txn(txn).map_err(Error::from), Err),
            |error, pause| {
                metrics.retries.count(error);
                ending.wait(pause)
            },
        )?;
        *accepted = true;
        metrics.txn_written(txn.operations(), txn.request_bytes(), begun.elapsed());
        Ok(reply)
    }

    /// Sends a sealed txn once; `None` if there is no answer soon.
    fn attempt(&mut self, txn: &mut Txn, attempt: &mut Attempt) -> Option<TxnReply> {
        let sent = self.client.txn_within(txn, PATIENCE).map_err(Error::from);
        let reply = sent.unwrap_or_else(|error| {
            attempt.error = Some(error);
            None
        })?;
        let took = attempt.begun.elapsed();
        self.metrics.txn_written(txn.operations(), txn.request_bytes(), took);
        Some(reply)
    }
}

/// The next job; `None` when no more come.
fn next<T>(pulse: &Pulse, jobs: &Receiver<T>) -> Option<T> {
    pulse.wait();
    let job = jobs.recv().ok();
    pulse.work();
    job
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

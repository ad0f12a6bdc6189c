//! From the stream to txns: what goes together, what has to wait, and for what.

mod changes;
mod documents;
mod emptying;
mod messages;
mod nesting;
mod pending;
mod reading;
mod requests;
mod under_way;

use std::collections::HashSet;
use std::mem::take;
use std::time::Duration;

pub use self::messages::{Answer, Input, Output, Request, Rules};
use self::pending::Pending;
use self::under_way::Reading;
use super::batch::Batch;
use super::change::{Change, Event};
use super::ledger::{Replay, Step};
use super::listing::Listing;
use super::mutation::{Mutation, is};
use super::parts::Parts;
use super::recording::Recording;
use super::view::{Lane, View};
use super::waiting::Waiting;
use crate::error::Result;
use crate::etcd::Txn;
use crate::lsn::Lsn;
use crate::position::{Commit, Position};

/// How many txns the ordered lane, and each of the others, may have: one at etcd, and one that is whole
/// and can be posted as soon as the first is in.
pub const LANE_DEPTH: usize = 2;

/// Packs the stream's transactions into txns.
///
/// It is told what happens, and says what is to be done. It has no thread, socket or clock: the same
/// inputs give the same outputs.
#[derive(Debug)]
pub struct Packer {
    rules: Rules,
    pending: Pending,
    /// The transaction that is coming in.
    coming: Option<Commit>,
    /// What has come of it, if it fits one txn so far.
    open: Batch,
    /// Whole transactions that wait for the ordered lane.
    ready: Batch,
    /// The transaction that is coming in, if it does not fit.
    large: Option<Large>,
    view: View,
    /// What is nested in documents of the transaction that have no row now.
    waiting: Waiting,
    /// How many txns each lane has, the ordered one first.
    outstanding: Vec<usize>,
    /// How many txns the ordered lane was given, and how many of them etcd has.
    posted: u64,
    acknowledged: u64,
    /// The revision of the last of those.
    revision: Option<i64>,
    /// The last revision of which this life knows, of whichever lane.
    seen: i64,
    reading: Reading,
    /// The table that is being emptied.
    emptying: Option<Listing>,
    /// The transaction that a former life has begun to write.
    replay: Option<Replay>,
    /// The rows that were left out while it is replayed: what etcd had before is not theirs.
    replayed_without: HashSet<Vec<u8>>,
    /// The store's revision when this life began; 0 until that is known.
    claimed: i64,
    /// Where the stream has come to: where etcd is once everything up to here is written.
    position: Position,
    /// Whether `position` is ahead of what the ordered lane was given, though no row changed.
    idle_step: bool,
    /// When the next such step may be put.
    idle_due: Duration,
    watch: WatchSide,
    /// Whether the watch is to have its turn between the next two transactions.
    turn_due: bool,
    /// Whether the packing stopped between two transactions, only to let the watch have its turn.
    paused: bool,
    now: Duration,
    ended: bool,
    /// Txns that etcd has, to be used again.
    spare: Vec<Txn>,
}

/// A transaction that does not fit one txn.
#[derive(Debug)]
enum Large {
    /// The position is to say so first.
    Unmarked,
    /// It says so once the ordered lane is through.
    Marking,
    /// Its parts are being written.
    Parts(Parts),
}

/// What the watch waits for.
#[derive(Debug, Default)]
struct WatchSide {
    /// What it has asked for last and was not done yet.
    request: Option<Request>,
    /// How many events of the changes that it wants are done, while they are being made.
    applied: Option<usize>,
    /// The LSN that it waits for, and what it is told then, if that is more than that etcd is there.
    awaited: Option<(Lsn, Option<Answer>)>,
    /// The number of the ordered lane's txn that has all up to there.
    awaited_txn: Option<u64>,
    /// The table that it compares now.
    recording: Option<Recording>,
}

impl WatchSide {
    /// Whether the stream has changed the row since the compare began.
    fn overrules(&mut self, change: Change<'_>) -> bool {
        self.recording.as_mut().is_some_and(|recording| recording.overrules(change))
    }
}

/// Whether something was done, or has to wait for an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Done,
    Wait,
}

impl Packer {
    /// A packer for a stream that goes on at `position`.
    ///
    /// Before anything is posted or read, a txn that only puts the position makes void what an earlier life
    /// may have sent. While there is nothing to do, there is none: a restart alone changes nothing in etcd.
    #[must_use]
    pub fn new(rules: Rules, position: Position, replay: Option<Replay>) -> Self {
        Self {
            outstanding: vec![0; 1 + rules.part_lanes.max(1)],
            idle_due: rules.idle_period,
            rules,
            pending: Pending::default(),
            coming: None,
            open: Batch::default(),
            ready: Batch::default(),
            large: None,
            view: View::default(),
            waiting: Waiting::default(),
            posted: 0,
            acknowledged: 0,
            revision: None,
            seen: 0,
            reading: Reading::default(),
            emptying: None,
            replay,
            replayed_without: HashSet::new(),
            claimed: 0,
            position,
            idle_step: false,
            watch: WatchSide::default(),
            turn_due: false,
            paused: false,
            now: Duration::ZERO,
            ended: false,
            spare: Vec::new(),
        }
    }

    /// Makes void, once, what an earlier life may have sent.
    pub fn claim(&mut self, out: &mut Vec<Output>) {
        if self.posted == 0 && !is(Mutation::Unclaimed) {
            self.post_txn(Batch::default(), Step::Claim, out);
        }
    }

    /// Takes what happens, at a time that never goes back, and adds what is to be done to `out`.
    ///
    /// # Errors
    /// [`OversizedRow`](crate::error::Error::OversizedRow) unless such rows are left out.
    pub fn feed(&mut self, input: Input, now: Duration, out: &mut Vec<Output>) -> Result<()> {
        self.now = now;
        match input {
            Input::Chunk(chunk) => {
                self.pending.add(chunk);
                self.turn_due = true;
            }
            Input::Request(request) => self.watch.request = Some(request),
            Input::Acknowledged(lane, txn, revision) => self.acknowledge(lane, txn, revision),
            Input::Documents(documents) => self.take_documents(documents, out),
            Input::Keys(keys, more) => self.take_keys(keys, more),
            Input::Time => {}
            Input::End => self.ended = true,
        }
        self.answer_request(out)?;
        self.take(out)?;
        self.read_ahead(out);
        self.answer_awaited(out);
        self.idle_position();
        if self.paused {
            // What is ready may become more.
            out.push(Output::WakeAt(now));
            return Ok(());
        }
        self.post_ready_if_free(out);
        if self.idle_step && self.ready.is_empty() && !self.ended {
            out.push(Output::WakeAt(self.idle_due));
        }
        Ok(())
    }

    /// Whether more of the stream may come: all that came is taken, or documents are read, and those that
    /// it wants can be read next.
    #[must_use]
    pub fn wants_stream(&self) -> bool {
        let has_room =
            self.pending.is_empty() || self.reading.is_under_way() && self.pending.has_room();
        !self.ended && has_room && self.watch.applied.is_none()
    }

    /// Whether the watch may ask for something.
    #[must_use]
    pub fn takes_request(&self) -> bool {
        let WatchSide { request, awaited, .. } = &self.watch;
        self.coming.is_none() && request.is_none() && awaited.is_none()
    }

    /// Whether a transaction that comes now has to wait, since etcd works on one before it.
    #[must_use]
    pub fn is_lane_busy(&self) -> bool {
        self.outstanding[0] > 0
    }

    /// Whether one txn of the ordered lane is under way, nothing else is, and nothing waits for it.
    #[must_use]
    pub fn is_one_txn_under_way(&self) -> bool {
        self.outstanding[0] == 1
            && self.outstanding.iter().sum::<usize>() == 1
            && self.coming.is_none()
            && !self.reading.is_under_way()
            && !self.needs_acknowledgement()
    }

    /// Whether something waits for an acknowledgement: else it may be told of late, with whatever happens
    /// next.
    #[must_use]
    pub fn needs_acknowledgement(&self) -> bool {
        let WatchSide { request, applied, awaited, .. } = &self.watch;
        self.ended
            || !self.pending.is_empty()
            || !self.ready.is_empty()
            || request.is_some()
            || applied.is_some()
            || awaited.is_some()
    }

    /// Whether the stream has ended and all that is complete of it is in etcd.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended
            && self.pending.is_empty()
            && self.ready.is_empty()
            && self.outstanding.iter().all(|&txns| txns == 0)
    }

    /// Takes events until there are no more, or one has to wait.
    fn take(&mut self, out: &mut Vec<Output>) -> Result<()> {
        self.paused = false;
        if self.packs_nothing() || self.watch.applied.is_some() {
            return Ok(());
        }
        let mut pending = take(&mut self.pending);
        while let Some(event) = pending.next() {
            let flow = match event {
                Event::Begin(commit) => {
                    self.coming = Some(commit);
                    Flow::Done
                }
                Event::Change(change) => self.change(change, out)?,
                Event::End { end_lsn } => match self.settle_waiting(out)? {
                    Flow::Done => self.end(end_lsn, out),
                    Flow::Wait => Flow::Wait,
                },
                Event::Keepalive { wal_end, reply_requested } => {
                    self.keepalive(wal_end, reply_requested);
                    Flow::Done
                }
            };
            if flow == Flow::Wait {
                break;
            }
            pending.take_next();
            if self.coming.is_none() && take(&mut self.turn_due) && !pending.is_empty() {
                // More may always have come before this is taken: the watch would never have its turn.
                self.paused = true;
                break;
            }
        }
        self.pending = pending;
        Ok(())
    }

    fn filling(&self) -> Vec<&Batch> {
        filling(self.large.as_ref(), &self.open, &self.ready)
    }

    /// The transaction is complete: it waits for the ordered lane now, with those before it if they go
    /// together.
    fn end(&mut self, end_lsn: Lsn, out: &mut Vec<Output>) -> Flow {
        let commit = self.coming.unwrap_or_default();
        let position = Position::behind(&commit, end_lsn);
        match &self.large {
            None | Some(Large::Unmarked | Large::Marking) => {
                if self.open.is_empty() {
                    (self.coming, self.position) = (None, position);
                    self.idle(false);
                    return Flow::Done;
                }
                (self.open.position, self.open.first_commit) = (Some(position), Some(commit.lsn));
                if self.close(out) == Flow::Wait {
                    return Flow::Wait;
                }
            }
            Some(Large::Parts(_)) => {
                let early = is(Mutation::LastPartEarly);
                if self.post_parts(1, out) == Flow::Wait || self.has_parts_outstanding() && !early {
                    return Flow::Wait;
                }
                if let Some(Large::Parts(parts)) = &mut self.large {
                    self.ready = parts.take(0);
                }
                self.ready.reserve_end_of_parts();
                (self.ready.position, self.ready.first_commit) = (Some(position), Some(commit.lsn));
            }
        }
        self.large = None;
        (self.coming, self.position) = (None, position);
        Flow::Done
    }

    /// Puts what is complete with what waits for the ordered lane, after it if they do not go
    /// together.
    fn close(&mut self, out: &mut Vec<Output>) -> Flow {
        let Rules { limits, coalesce, .. } = &self.rules;
        if !self.ready.absorb(&mut self.open, *limits, *coalesce) {
            if self.post_ready(out) == Flow::Wait {
                return Flow::Wait;
            }
            std::mem::swap(&mut self.ready, &mut self.open);
        }
        Flow::Done
    }

    /// Takes note that the log has grown with nothing for us in it. Inside a transaction this
    /// says nothing: the LSN may be beyond its commit.
    fn keepalive(&mut self, wal_end: Lsn, reply_requested: bool) {
        if self.coming.is_some() && !is(Mutation::KeepaliveInside) {
            return;
        }
        if wal_end > self.position.lsn {
            self.position.lsn = wal_end;
            self.idle_step = true;
        }
        if self.idle_step {
            self.idle(reply_requested);
        }
    }

    /// Takes note that the position moved though no row changed: it goes with the transactions
    /// that wait for the ordered lane, else when it is due. The server asks for a reply when it wants to
    /// shut down, and then waits for all to be flushed: that is at once.
    fn idle(&mut self, at_once: bool) {
        self.idle_step = true;
        if at_once {
            self.idle_due = self.now;
        }
        if !self.ready.is_empty() {
            self.put_idle_position();
        }
    }

    /// Has the position put with what is ready, if there is room for the note of the last transaction.
    fn put_idle_position(&mut self) {
        if self.ready.reserve_note(self.rules.limits) {
            self.ready.position = Some(self.position);
        }
    }

    /// Has the position put by itself when that is due, and when the stream has ended.
    fn idle_position(&mut self) {
        let last = self.ended && self.pending.is_empty();
        if self.idle_step && self.ready.is_empty() && (last || self.idle_due <= self.now) {
            self.put_idle_position();
        }
    }

    /// A txn is closed when the lane is free for it, so that it waits for nothing else, and a loaded
    /// system fills it.
    fn post_ready_if_free(&mut self, out: &mut Vec<Output>) {
        if !self.ready.is_empty() && self.outstanding[0] == 0 {
            self.post_ready(out);
        }
    }

    fn post_ready(&mut self, out: &mut Vec<Output>) -> Flow {
        if !self.has_room(Lane::Ordered) {
            return Flow::Wait;
        }
        let batch = take(&mut self.ready);
        let step = batch.position.map_or(Step::Stay, Step::To);
        if batch.position == Some(self.position) {
            self.idle_step = false;
        }
        if batch.changes_nothing() {
            self.idle_due = self.now + self.rules.idle_period;
        }
        self.post(batch, step, out);
        Flow::Done
    }

    fn post(&mut self, batch: Batch, step: Step, out: &mut Vec<Output>) {
        self.claim(out);
        self.post_txn(batch, step, out);
    }

    fn post_txn(&mut self, batch: Batch, step: Step, out: &mut Vec<Output>) {
        let txn = self.txn(&batch);
        self.outstanding[0] += 1;
        self.posted += 1;
        self.view.posted(Lane::Ordered, batch);
        out.push(Output::Post(txn, step));
    }

    fn txn(&mut self, batch: &Batch) -> Txn {
        let mut txn = self.spare.pop().unwrap_or_default();
        txn.clear();
        batch.write(&mut txn);
        txn
    }

    fn acknowledge(&mut self, lane: Lane, txn: Txn, revision: i64) {
        if self.claimed == 0 {
            self.claimed = revision;
        }
        self.seen = self.seen.max(revision);
        self.spare.push(txn);
        let txns = &mut self.outstanding[lane.index()];
        *txns = txns.saturating_sub(1);
        if lane == Lane::Ordered {
            self.acknowledged += 1;
            self.revision = Some(revision);
        }
        let filling = filling(self.large.as_ref(), &self.open, &self.ready);
        let batch = self.view.acknowledged(lane, &filling);
        if let (Some(batch), Some(recording)) = (batch, &mut self.watch.recording)
            && let Some(position) = batch.position
        {
            recording.reached(position.lsn, batch.first_commit, revision);
        }
    }

    fn has_room(&self, lane: Lane) -> bool {
        self.outstanding[lane.index()] < LANE_DEPTH
    }
}

/// The batches that are being filled, the newest first.
fn filling<'b>(large: Option<&'b Large>, open: &'b Batch, ready: &'b Batch) -> Vec<&'b Batch> {
    let parts = match large {
        Some(Large::Parts(parts)) => Some(parts),
        _ => None,
    };
    parts.into_iter().flat_map(Parts::batches).chain([open, ready]).collect()
}

/// The changes that leave no version of a row in etcd. Its new key has one too if what was there has gone
/// unseen.
fn without_row(change: Change<'_>) -> impl Iterator<Item = Change<'_>> {
    let changes = match change {
        Change::Put { key, old_key, .. } => {
            [Some(key), old_key].map(|key| key.map(|key| Change::Delete { key }))
        }
        other => [Some(other), None],
    };
    changes.into_iter().flatten()
}

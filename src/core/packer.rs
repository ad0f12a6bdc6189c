//! From the stream to txns: what goes together, what has to wait, and for what.

use std::collections::HashSet;
use std::time::Duration;

use super::batch::{Batch, Fit, Limits};
use super::change::{Change, Chunk, Event};
use super::ledger::{Replay, Step};
use super::mutation::{Mutation, is};
use super::parts::{Parts, Place};
use super::recording::Recording;
use super::view::{Lane, Newest, View};
use crate::document::Body;
use crate::error::{Error, Result};
use crate::etcd::{KeyValue, Txn};
use crate::lsn::Lsn;
use crate::position::{Commit, Position};

/// How many txns the ordered lane, and each of the others, may have: one at etcd, and one that is whole
/// and can be posted as soon as the first is in.
pub const LANE_DEPTH: usize = 2;
/// How many documents are read at once: enough to spare round trips, few enough to hold them.
const READ_AHEAD: usize = 32;

/// Packs the stream's transactions into txns.
///
/// It is told what happens, and says what is to be done. It has no thread, socket or clock: the same
/// inputs give the same outputs.
#[derive(Debug)]
pub struct Packer {
    rules: Rules,
    /// What has come and was not taken yet, since something has to be waited for.
    pending: Option<Pending>,
    /// The transaction that is coming in.
    coming: Option<Commit>,
    /// What has come of it, if it fits one txn so far.
    open: Batch,
    /// Whole transactions that wait for the ordered lane.
    ready: Batch,
    /// The transaction that is coming in, if it does not fit.
    large: Option<Large>,
    view: View,
    /// How many txns each lane has, the ordered one first.
    outstanding: Vec<usize>,
    /// How many txns the ordered lane was given, and how many of them etcd has.
    posted: u64,
    acknowledged: u64,
    /// Which documents are being read.
    reading: Option<Reading>,
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
    now: Duration,
    ended: bool,
    /// Txns that etcd has, to be used again.
    spare: Vec<Txn>,
}

/// What the packing follows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What the notes of rows that are not known begin with; the row's key follows.
    pub notes: Vec<u8>,
    /// What one txn may hold beside the position.
    pub limits: Limits,
    /// How many lanes take parts of large transactions.
    pub part_lanes: usize,
    /// Whether a version of a row may be left out when a later one is at hand.
    pub coalesce: bool,
    /// The shortest time between two positions while no row changes.
    pub idle_period: Duration,
    /// Whether a row that no request can hold is left out.
    pub skip_oversized: bool,
}

/// What happens.
#[derive(Debug)]
pub enum Input {
    /// A part of the stream has come. Only if [`Packer::wants_stream`].
    Chunk(Chunk),
    /// The watch asks for something. Only if [`Packer::takes_request`].
    Request(Request),
    /// etcd has the oldest txn of a lane, as of this revision. The txn may be used again.
    Acknowledged(Lane, Txn, i64),
    /// The documents that were to be read, in the order of their keys; `None` where etcd has none, or
    /// has forgotten it.
    Documents(Vec<Option<KeyValue>>),
    /// Nothing but that time has passed.
    Time,
    /// Nothing more comes in the stream.
    End,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Post this on the ordered lane.
    Post(Txn, Step),
    /// Post this part on the lane of this number.
    PostPart(usize, Txn),
    /// Read what etcd has under these keys: now, or at a revision.
    Read(Vec<Vec<u8>>, Option<i64>),
    /// Tell the watch.
    Answer(Answer),
    /// A row, of this key, was left out, since etcd lacks what an update did not send: have its table
    /// compared.
    RowUnknown {
        /// The row's key before the update.
        key: Vec<u8>,
        /// What is missing.
        reason: String,
    },
    /// A row was left out that no request can hold: an [`Error::OversizedRow`].
    LeftOut(Error),
    /// Come back at this time, if nothing else happens.
    WakeAt(Duration),
}

/// What the watch asks for, which has its place between two transactions of the stream.
#[derive(Debug)]
pub enum Request {
    /// To answer once everything that committed up to this LSN is in etcd.
    Reach(Lsn),
    /// To take note, from here on, of the keys of a table that the stream changes.
    Record {
        /// What the table's keys begin with.
        prefix: Vec<u8>,
    },
    /// To make these changes, but for keys that were noted.
    Apply(Chunk),
    /// To take no more notes and to answer; and, unless the table has to be compared again, to make
    /// these changes first. The answer comes when etcd has them.
    Finish(Chunk),
}

/// What the watch is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// etcd has it all.
    Reached,
    /// A compare is done.
    Finished {
        /// Whether the table has to be compared again: the stream left out a column, or a row, that was
        /// then taken from a document that was not compared yet.
        again: bool,
    },
}

/// Events that have come, and which is next.
#[derive(Debug)]
struct Pending {
    chunk: Chunk,
    next: usize,
}

/// Documents that are being read.
#[derive(Debug)]
struct Reading {
    keys: Vec<Vec<u8>>,
    /// Whether as they were before the transaction that is replayed.
    past: bool,
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
    /// The LSN that it waits for, and what it is told then.
    awaited: Option<(Lsn, Answer)>,
    /// The number of the ordered lane's txn that has all up to there.
    awaited_txn: Option<u64>,
    /// The table that it compares now.
    recording: Option<Recording>,
}

impl WatchSide {
    /// Whether the stream has changed the row since the compare began.
    fn overrules(&self, change: Change<'_>) -> bool {
        self.recording.as_ref().is_some_and(|recording| recording.overrules(change))
    }
}

/// Whether something was done, or has to wait for an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Done,
    Wait,
}

impl Packer {
    /// A packer for a stream that goes on at `position`. The first output makes void what an earlier
    /// life may have sent.
    #[must_use]
    pub fn new(
        rules: Rules,
        position: Position,
        replay: Option<Replay>,
        out: &mut Vec<Output>,
    ) -> Self {
        let mut packer = Self {
            outstanding: vec![0; 1 + rules.part_lanes.max(1)],
            idle_due: rules.idle_period,
            rules,
            pending: None,
            coming: None,
            open: Batch::default(),
            ready: Batch::default(),
            large: None,
            view: View::default(),
            posted: 0,
            acknowledged: 0,
            reading: None,
            replay,
            replayed_without: HashSet::new(),
            claimed: 0,
            position,
            idle_step: false,
            watch: WatchSide::default(),
            now: Duration::ZERO,
            ended: false,
            spare: Vec::new(),
        };
        if !is(Mutation::Unclaimed) {
            packer.post(Batch::default(), Step::Claim, out);
        }
        packer
    }

    /// Takes what happens, at a time that never goes back, and adds what is to be done to `out`.
    ///
    /// # Errors
    /// [`Error::OversizedRow`] unless such rows are left out.
    pub fn feed(&mut self, input: Input, now: Duration, out: &mut Vec<Output>) -> Result<()> {
        self.now = now;
        match input {
            Input::Chunk(chunk) => self.pending = Some(Pending { chunk, next: 0 }),
            Input::Request(request) => self.watch.request = Some(request),
            Input::Acknowledged(lane, txn, revision) => self.acknowledge(lane, txn, revision),
            Input::Documents(documents) => self.take_documents(documents, out),
            Input::Time => {}
            Input::End => self.ended = true,
        }
        self.take(out)?;
        self.answer_request(out)?;
        self.answer_awaited(out);
        self.idle_position();
        self.post_ready_if_free(out);
        if self.idle_step && self.ready.is_empty() && !self.ended {
            out.push(Output::WakeAt(self.idle_due));
        }
        Ok(())
    }

    /// Whether all that came is taken, so that more may come.
    #[must_use]
    pub fn wants_stream(&self) -> bool {
        !self.ended && self.pending.is_none() && self.watch.applied.is_none()
    }

    /// Whether the watch may ask for something.
    #[must_use]
    pub fn takes_request(&self) -> bool {
        let WatchSide { request, awaited, .. } = &self.watch;
        self.coming.is_none() && request.is_none() && awaited.is_none()
    }

    /// Whether the stream has ended and all that is complete of it is in etcd.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended
            && self.pending.is_none()
            && self.ready.is_empty()
            && self.outstanding.iter().all(|&txns| txns == 0)
    }

    /// Takes events until there are no more, or one has to wait.
    fn take(&mut self, out: &mut Vec<Output>) -> Result<()> {
        // What is being read must not change before it is here.
        if self.reading.is_some() {
            return Ok(());
        }
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        while let Some(event) = pending.chunk.get(pending.next) {
            let flow = match event {
                Event::Begin(commit) => {
                    self.coming = Some(commit);
                    Flow::Done
                }
                Event::Change(change) => self.change(change, &pending, out)?,
                Event::End { end_lsn } => self.end(end_lsn, out),
                Event::Keepalive { wal_end, reply_requested } => {
                    self.keepalive(wal_end, reply_requested);
                    Flow::Done
                }
            };
            if flow == Flow::Wait {
                self.pending = Some(pending);
                return Ok(());
            }
            pending.next += 1;
        }
        Ok(())
    }

    /// Adds a change to the transaction; `pending` are it and what follows it.
    fn change(
        &mut self,
        change: Change<'_>,
        pending: &Pending,
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
        let mut filled = Vec::new();
        let whole = match self.fill(change, &mut filled) {
            Filled::Whole(whole) => whole,
            Filled::InEtcd => {
                self.read(pending, out);
                return Ok(Flow::Wait);
            }
            Filled::Unknown { key, reason } => return self.row_unknown(change, key, reason, out),
        };
        let flow = self.add(whole, out)?;
        if flow == Flow::Done {
            if let Some(recording) = &mut self.watch.recording {
                recording.note(change);
            }
            self.view.changed(whole);
        }
        Ok(flow)
    }

    /// The change with its holes filled from the newest version of the row.
    fn fill<'c>(&self, change: Change<'c>, filled: &'c mut Vec<u8>) -> Filled<'c> {
        let Change::Put { key, body: Body::Holed(document), old_key } = change else {
            return Filled::Whole(change);
        };
        let source = old_key.unwrap_or(key);
        let unknown = |problem: &str| {
            let text = String::from_utf8_lossy(source);
            let reason = format!("an update left out a column of {text}, and {problem}");
            Filled::Unknown { key: source.to_vec(), reason }
        };
        match self.view.newest(&self.filling(), source) {
            Newest::InEtcd => Filled::InEtcd,
            Newest::Absent => unknown("etcd does not have the row"),
            Newest::Document(newest) => match document.fill(newest, filled) {
                Ok(()) => Filled::Whole(Change::Put { key, body: Body::Whole(filled), old_key }),
                Err(missing) => unknown(&missing.to_string()),
            },
        }
    }

    /// Has the documents read that the next change and those behind it want, in one request.
    fn read(&mut self, pending: &Pending, out: &mut Vec<Output>) {
        // What a former life has sent may still arrive before this one is in its place.
        if self.claimed == 0 && !is(Mutation::Unclaimed) {
            return;
        }
        let filling = self.filling();
        let events = (pending.next..).map_while(|at| pending.chunk.get(at));
        let wanted = events.filter_map(|event| match event {
            Event::Change(Change::Put { key, body: Body::Holed(_), old_key }) => {
                let source = old_key.unwrap_or(key);
                (self.view.newest(&filling, source) == Newest::InEtcd).then_some(source)
            }
            _ => None,
        });
        let mut keys: Vec<_> = wanted.take(READ_AHEAD).map(<[u8]>::to_vec).collect();
        keys.sort_unstable();
        keys.dedup();
        out.push(Output::Read(keys.clone(), None));
        self.reading = Some(Reading { keys, past: false });
    }

    /// Takes documents that were read. In a transaction that is replayed, a row which the former life has
    /// changed, or deleted, is not what it was: then its document before the transaction is read.
    fn take_documents(&mut self, documents: Vec<Option<KeyValue>>, out: &mut Vec<Output>) {
        let Some(Reading { keys, past }) = self.reading.take() else { return };
        let mut again = Vec::new();
        for (key, document) in keys.into_iter().zip(documents) {
            let found = document.as_ref().map(|document| document.mod_revision);
            if !past && self.is_replayed(&key, found) && !is(Mutation::ReplayFromParts) {
                again.push(key);
            } else {
                self.view.read(key, document.map(|document| document.value));
            }
        }
        if let (Some(replay), false) = (self.replay, again.is_empty()) {
            out.push(Output::Read(again.clone(), Some(replay.revision)));
            self.reading = Some(Reading { keys: again, past: true });
        }
    }

    /// Whether a document of this revision, `None` for one that is not there, may be as a former life left
    /// it in the middle of the transaction that is coming in.
    fn is_replayed(&self, key: &[u8], found: Option<i64>) -> bool {
        self.replaying().is_some_and(|replay| match found {
            Some(revision) => revision > replay.revision && revision < self.claimed,
            None => !self.replayed_without.contains(key),
        })
    }

    /// The replay, if the transaction that is coming in is the one.
    fn replaying(&self) -> Option<Replay> {
        let commit_lsn = self.coming.map(|commit| commit.lsn);
        self.replay.filter(|replay| Some(replay.commit_lsn) == commit_lsn)
    }

    /// Takes note that a row is in the database and not in etcd.
    fn note_left_out(&mut self, change: Change<'_>) {
        if let (Change::Put { key, .. }, Some(_)) = (change, self.replaying()) {
            self.replayed_without.insert(key.to_vec());
        }
    }

    fn filling(&self) -> Vec<&Batch> {
        filling(self.large.as_ref(), &self.open, &self.ready)
    }

    /// Leaves out a row of which etcd lacks what the server did not send. Either its table is
    /// being compared, and is compared once more, or it has to be.
    fn row_unknown(
        &mut self,
        change: Change<'_>,
        key: Vec<u8>,
        reason: String,
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
        if let Some(recording) = &mut self.watch.recording
            && recording.covers(&key)
        {
            recording.note_left_out();
            self.note_left_out(change);
            return Ok(Flow::Done);
        }
        // The note goes with the position, so that the row is not forgotten if this life ends.
        let note = [&self.rules.notes, &key[..]].concat();
        let note = Change::Put { key: &note, body: Body::Whole(b"1"), old_key: None };
        if self.add(note, out)? == Flow::Wait {
            return Ok(Flow::Wait);
        }
        let flow = self.add(without_row(change), out)?;
        if flow == Flow::Done {
            self.note_left_out(change);
            self.view.changed(without_row(change));
            out.push(Output::RowUnknown { key, reason });
        }
        Ok(flow)
    }

    fn add(&mut self, change: Change<'_>, out: &mut Vec<Output>) -> Result<Flow> {
        loop {
            if self.large.is_some() {
                return self.add_to_parts(change, out);
            }
            match self.open.add(change, self.rules.limits) {
                Fit::Added => return Ok(Flow::Done),
                Fit::Full => self.large = Some(Large::Unmarked),
                Fit::TooLarge { bytes } => return self.add_without(change, bytes, out),
            }
        }
    }

    /// Adds a change to a transaction that does not fit one txn. All before it goes first, then a
    /// position that says so, then what has come of it, then the rest, over all lanes.
    fn add_to_parts(&mut self, change: Change<'_>, out: &mut Vec<Output>) -> Result<Flow> {
        loop {
            match &mut self.large {
                None => return self.add(change, out),
                Some(Large::Unmarked) => {
                    if !self.ready.is_empty() && self.post_ready(out) == Flow::Wait {
                        return Ok(Flow::Wait);
                    }
                    let commit_lsn = self.coming.map_or(Lsn(0), |commit| commit.lsn);
                    let step = Step::Partial { position: self.position, commit_lsn };
                    if !is(Mutation::Unmarked) {
                        if !self.has_room(Lane::Ordered) {
                            return Ok(Flow::Wait);
                        }
                        self.post(Batch::default(), step, out);
                    }
                    self.idle_step = false;
                    self.large = Some(Large::Marking);
                }
                Some(Large::Marking) => {
                    if self.outstanding[0] > 0 {
                        return Ok(Flow::Wait);
                    }
                    let first = std::mem::take(&mut self.open);
                    let Rules { limits, part_lanes, .. } = &self.rules;
                    let (limits, part_lanes) = (*limits, *part_lanes);
                    self.large = Some(Large::Parts(Parts::new(limits, part_lanes, first)));
                }
                Some(Large::Parts(parts)) => match parts.add(change) {
                    Place::Added => return Ok(Flow::Done),
                    Place::Full(lane) => {
                        if self.post_part(lane, out) == Flow::Wait {
                            return Ok(Flow::Wait);
                        }
                    }
                    Place::Barrier => {
                        if self.settle_parts(out) == Flow::Wait {
                            return Ok(Flow::Wait);
                        }
                    }
                    Place::TooLarge { bytes } => return self.add_without(change, bytes, out),
                },
            }
        }
    }

    /// Posts all parts, and takes note once they are in etcd.
    fn settle_parts(&mut self, out: &mut Vec<Output>) -> Flow {
        if self.post_parts(0, out) == Flow::Wait || self.has_parts_outstanding() {
            return Flow::Wait;
        }
        if let Some(Large::Parts(parts)) = &mut self.large {
            parts.settled();
        }
        Flow::Done
    }

    /// Posts the parts of all lanes from this one on.
    fn post_parts(&mut self, from: usize, out: &mut Vec<Output>) -> Flow {
        let Some(Large::Parts(parts)) = &self.large else { return Flow::Done };
        let lanes: Vec<_> = parts.filled().filter(|&lane| lane >= from).collect();
        let mut flow = Flow::Done;
        for lane in lanes {
            if self.post_part(lane, out) == Flow::Wait {
                flow = Flow::Wait;
            }
        }
        flow
    }

    fn post_part(&mut self, lane: usize, out: &mut Vec<Output>) -> Flow {
        if !self.has_room(Lane::Part(lane)) {
            return Flow::Wait;
        }
        if let Some(Large::Parts(parts)) = &mut self.large {
            let batch = parts.take(lane);
            let txn = self.txn(&batch);
            self.outstanding[1 + lane] += 1;
            self.view.posted(Lane::Part(lane), batch);
            out.push(Output::PostPart(lane, txn));
        }
        Flow::Done
    }

    /// Adds, instead of a row that no request can hold, that it is gone: absent, never an old version.
    fn add_without(
        &mut self,
        change: Change<'_>,
        bytes: usize,
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
        let left_out = self.oversized(change, bytes)?;
        let flow = self.add(without_row(change), out)?;
        if flow == Flow::Done {
            self.note_left_out(change);
            out.push(Output::LeftOut(left_out));
        }
        Ok(flow)
    }

    /// What is to be said of a change that no request can hold, if it may be left out.
    fn oversized(&self, change: Change<'_>, bytes: usize) -> Result<Error> {
        let (Change::Put { key, .. } | Change::Delete { key } | Change::Truncate { prefix: key }) =
            change;
        let error = Error::OversizedRow {
            key: String::from_utf8_lossy(key).into_owned(),
            bytes,
            limit: self.rules.limits.bytes,
            lsn: self.coming.map(|commit| commit.lsn),
        };
        let may = self.rules.skip_oversized && matches!(change, Change::Put { .. });
        if may { Ok(error) } else { Err(error) }
    }

    /// The transaction is complete: it waits for the ordered lane now, with those before it if they go
    /// together.
    fn end(&mut self, end_lsn: Lsn, out: &mut Vec<Output>) -> Flow {
        let position = Position::behind(&self.coming.unwrap_or_default(), end_lsn);
        match &self.large {
            None | Some(Large::Unmarked | Large::Marking) => {
                if self.open.is_empty() {
                    (self.coming, self.position) = (None, position);
                    self.idle(false);
                    return Flow::Done;
                }
                self.open.position = Some(position);
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
                // The end of the parts deletes their guards.
                self.ready.reserve(1, self.rules.limits);
                self.ready.position = Some(position);
            }
        }
        self.large = None;
        (self.coming, self.position) = (None, position);
        Flow::Done
    }

    /// Puts what is complete with what waits for the ordered lane, after it if they do not go
    /// together.
    fn close(&mut self, out: &mut Vec<Output>) -> Flow {
        let Rules { limits, coalesce, .. } = self.rules.clone();
        if !self.ready.absorb(&mut self.open, limits, coalesce) {
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
        if self.ready.reserve(1, self.rules.limits) {
            self.ready.position = Some(self.position);
        }
    }

    /// Has the position put by itself when that is due, and when the stream has ended.
    fn idle_position(&mut self) {
        let last = self.ended && self.pending.is_none();
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
        let batch = std::mem::take(&mut self.ready);
        let step = batch.position.map_or(Step::Stay, Step::To);
        if batch.position == Some(self.position) {
            self.idle_step = false;
        }
        if batch.count() == 0 {
            self.idle_due = self.now + self.rules.idle_period;
        }
        self.post(batch, step, out);
        Flow::Done
    }

    fn post(&mut self, batch: Batch, step: Step, out: &mut Vec<Output>) {
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
        self.spare.push(txn);
        let txns = &mut self.outstanding[lane.index()];
        *txns = txns.saturating_sub(1);
        self.acknowledged += u64::from(lane == Lane::Ordered);
        self.view.acknowledged(lane, &filling(self.large.as_ref(), &self.open, &self.ready));
    }

    /// Does what the watch asks for, between two transactions of the stream.
    fn answer_request(&mut self, out: &mut Vec<Output>) -> Result<()> {
        if self.coming.is_some() {
            return Ok(());
        }
        match self.watch.request.take() {
            None => {}
            Some(Request::Reach(lsn)) => self.watch.awaited = Some((lsn, Answer::Reached)),
            Some(Request::Record { prefix }) => self.watch.recording = Some(Recording::new(prefix)),
            Some(Request::Finish(chunk)) => {
                let again = self.watch.recording.as_ref().is_some_and(Recording::again);
                if !again && self.apply(&chunk, out)? == Flow::Wait {
                    self.watch.request = Some(Request::Finish(chunk));
                    return Ok(());
                }
                self.watch.recording = None;
                let finished = Answer::Finished { again };
                match again {
                    true => out.push(Output::Answer(finished)),
                    // It is, once etcd has all that was found.
                    false => self.watch.awaited = Some((self.position.lsn, finished)),
                }
            }
            Some(Request::Apply(chunk)) => {
                if self.apply(&chunk, out)? == Flow::Wait {
                    self.watch.request = Some(Request::Apply(chunk));
                }
            }
        }
        Ok(())
    }

    /// Makes changes that are not in the stream, but for rows that the stream has changed since.
    fn apply(&mut self, chunk: &Chunk, out: &mut Vec<Output>) -> Result<Flow> {
        let mut applied = self.watch.applied.unwrap_or(0);
        while let Some(event) = chunk.get(applied) {
            if let Event::Change(change) = event
                && !self.watch.overrules(change)
                && self.repair(change, out)? == Flow::Wait
            {
                self.watch.applied = Some(applied);
                return Ok(Flow::Wait);
            }
            applied += 1;
        }
        let flow = self.close(out);
        self.watch.applied = (flow == Flow::Wait).then_some(applied);
        Ok(flow)
    }

    /// Makes a change that may go in any txn.
    fn repair(&mut self, change: Change<'_>, out: &mut Vec<Output>) -> Result<Flow> {
        match self.open.add(change, self.rules.limits) {
            Fit::Added => {
                self.view.changed(change);
                Ok(Flow::Done)
            }
            Fit::Full => match self.close(out) {
                Flow::Done => self.repair(change, out),
                Flow::Wait => Ok(Flow::Wait),
            },
            Fit::TooLarge { bytes } => {
                let left_out = self.oversized(change, bytes)?;
                let flow = self.repair(without_row(change), out)?;
                if flow == Flow::Done {
                    out.push(Output::LeftOut(left_out));
                }
                Ok(flow)
            }
        }
    }

    /// Tells the watch that etcd has all that it waits for.
    fn answer_awaited(&mut self, out: &mut Vec<Output>) {
        let Some((lsn, answer)) = self.watch.awaited else { return };
        if self.watch.awaited_txn.is_none() && self.coming.is_none() && lsn <= self.position.lsn {
            if !self.ready.is_empty() && self.post_ready(out) == Flow::Wait {
                return;
            }
            self.watch.awaited_txn = Some(self.posted);
        }
        if self.watch.awaited_txn.is_some_and(|txn| txn <= self.acknowledged) {
            (self.watch.awaited, self.watch.awaited_txn) = (None, None);
            out.push(Output::Answer(answer));
        }
    }

    fn has_room(&self, lane: Lane) -> bool {
        self.outstanding[lane.index()] < LANE_DEPTH
    }

    fn has_parts_outstanding(&self) -> bool {
        self.outstanding[1..].iter().any(|&txns| txns > 0)
    }
}

/// A change with its holes filled, or why that cannot be done now.
enum Filled<'c> {
    /// All of it is known.
    Whole(Change<'c>),
    /// What is missing is in etcd.
    InEtcd,
    /// What is missing is nowhere.
    Unknown {
        /// The row's key before the update.
        key: Vec<u8>,
        /// What is missing.
        reason: String,
    },
}

/// The batches that are being filled, the newest first.
fn filling<'b>(large: Option<&'b Large>, open: &'b Batch, ready: &'b Batch) -> Vec<&'b Batch> {
    let parts = match large {
        Some(Large::Parts(parts)) => Some(parts),
        _ => None,
    };
    parts.into_iter().flat_map(Parts::batches).chain([open, ready]).collect()
}

/// The change that leaves no version of the row in etcd.
fn without_row(change: Change<'_>) -> Change<'_> {
    match change {
        // The new key cannot be there: etcd has the row, if at all, under the old one.
        Change::Put { old_key: Some(key), .. } | Change::Put { key, old_key: None, .. } => {
            Change::Delete { key }
        }
        other => other,
    }
}

//! The thread that packs the stream's transactions into txns and gives them to the writers.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, never};

use super::channel::ChunkReceiver;
use super::lanes::Lanes;
use super::parts::Parts;
use super::repair::{Recording, Request};
use super::toast::Stored;
use super::watch::Poke;
use super::write::{Ending, Job, Step};
use crate::core::batch::{Batch, Fit, Limits};
use crate::core::change::{Change, Chunk, Event};
use crate::error::{Error, Result};
use crate::etcd::{Client, Txn};
use crate::lsn::Lsn;
use crate::position::{Commit, Position};
use crate::status::{Pulse, Status};

/// What the packing follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// What one txn may hold beside the position.
    pub(super) limits: Limits,
    /// Whether a version of a row may be left out when a later one is at hand.
    pub(super) coalesce: bool,
    /// The shortest time between two positions while no row changes.
    pub(super) idle_period: Duration,
    /// Whether a row that no request can hold is left out.
    pub(super) skip_oversized: bool,
}

/// Packs the stream.
pub(super) struct Pack<'a> {
    pub(super) rules: Rules,
    pub(super) lanes: Lanes,
    stored: Stored<'a>,
    /// Transactions that wait for the writer.
    ready: Batch,
    /// The transaction that is coming in.
    pub(super) open: Batch,
    /// The transaction that is coming in.
    pub(super) coming: Option<Commit>,
    /// The parts of that transaction, if it is too large for one txn.
    parts: Option<Parts>,
    /// Where the stream has come to: where etcd is once everything up to here is written.
    pub(super) position: Position,
    /// Whether `position` is ahead of what the writer was given, though no row changed.
    idle_step: bool,
    /// When the next such step may be put.
    idle_due: Instant,
    /// What the watch asks for.
    requests: Receiver<Request>,
    /// Tells the watch of rows that are not known.
    pokes: Sender<Poke>,
    /// The table that the watch compares now.
    pub(super) recording: Option<Recording>,
    /// Who waits for etcd to have all up to an LSN.
    pub(super) awaited: Option<(Lsn, Sender<()>)>,
    status: &'a Status,
    pulse: Pulse,
}

impl<'a> Pack<'a> {
    pub(super) fn new(
        rules: Rules,
        lanes: Lanes,
        client: Client,
        ending: Ending<'a>,
        position: Position,
        (requests, pokes): (Receiver<Request>, Sender<Poke>),
        status: &'a Status,
    ) -> Self {
        let pulse = ending.pulse.clone();
        Self {
            rules,
            lanes,
            stored: Stored::new(client, ending, &status.metrics.retries),
            ready: Batch::default(),
            open: Batch::default(),
            coming: None,
            parts: None,
            position,
            idle_step: false,
            idle_due: Instant::now() + rules.idle_period,
            requests,
            pokes,
            recording: None,
            awaited: None,
            status,
            pulse,
        }
    }

    /// Packs what comes, until no more comes; then what is complete still goes, and what is not
    /// is left.
    pub(super) fn run(mut self, chunks: &ChunkReceiver) -> Result<()> {
        loop {
            self.pulse.wait();
            let next = self.next(chunks)?;
            self.pulse.work();
            match next {
                Next::Chunk(chunk) => self.take(&chunk)?,
                Next::Request(request) => self.answer(request)?,
                Next::Given => {}
                Next::End => break,
            }
            self.answer_awaited()?;
        }
        if self.idle_step {
            self.ready.position = Some(self.position);
        }
        self.give_ready()
    }

    /// Waits for a chunk and, if there is something for it, for the writer: a txn is closed when
    /// etcd is ready for it, so that it waits for nothing else and a loaded system fills it.
    fn next(&mut self, chunks: &ChunkReceiver) -> Result<Next> {
        if self.idle_step && self.ready.is_empty() && self.idle_due <= Instant::now() {
            self.ready.position = Some(self.position);
        }
        let mut select = Select::new();
        let chunk = chunks.select(&mut select);
        // What is not in the stream has its place between two transactions of it.
        let between = self.coming.is_none() && self.awaited.is_none();
        let request = between.then(|| select.recv(&self.requests));
        let ordered = self.lanes.ordered();
        if !self.ready.is_empty() {
            select.send(ordered);
        }
        let operation = if self.idle_step && self.ready.is_empty() {
            match select.select_deadline(self.idle_due) {
                Ok(operation) => operation,
                Err(_) => return Ok(Next::Given),
            }
        } else {
            select.select()
        };
        if operation.index() == chunk {
            return Ok(chunks.complete(operation).map_or(Next::End, Next::Chunk));
        }
        if Some(operation.index()) == request {
            let request = operation.recv(&self.requests);
            if request.is_err() {
                self.requests = never();
            }
            return Ok(request.map_or(Next::Given, Next::Request));
        }
        let job = self.lanes.job(&mut self.ready);
        let (step, operations) = (job.step, job.txn.operations());
        operation.send(ordered, job).map_err(|_| Error::Stopped)?;
        self.note_given(step, operations);
        Ok(Next::Given)
    }

    fn take(&mut self, chunk: &Chunk) -> Result<()> {
        let events: Vec<_> = chunk.events().collect();
        for (index, event) in events.iter().enumerate() {
            match *event {
                Event::Begin(commit) => self.coming = Some(commit),
                Event::Change(change) => self.change(change, &events[index..])?,
                Event::End { end_lsn } => self.commit(end_lsn)?,
                Event::Keepalive { wal_end, reply_requested } => {
                    self.keepalive(wal_end, reply_requested);
                }
            }
        }
        self.stored.forget();
        Ok(())
    }

    /// Adds a change to the transaction; `events` are it and what follows it.
    fn change(&mut self, change: Change<'_>, events: &[Event<'_>]) -> Result<()> {
        let mut filled = Vec::new();
        let whole = match self.fill(change, events, &mut filled) {
            Err(Error::RowUnknown { key, reason }) => {
                return self.row_unknown(change, key, &reason);
            }
            whole => whole?,
        };
        if let Some(recording) = &mut self.recording {
            recording.note(change);
        }
        self.stored.changed(whole);
        self.add(whole)
    }

    /// Leaves out a row of which etcd lacks what the server did not send. Either its table is
    /// being compared, and is compared once more, or it has to be; unless there never was a dump.
    fn row_unknown(&mut self, change: Change<'_>, key: Vec<u8>, reason: &str) -> Result<()> {
        match &mut self.recording {
            Some(recording) if recording.covers(&key) => {
                recording.note_left_out();
                return Ok(());
            }
            _ => log::warn!("Leaving a row out for now: {reason}"),
        }
        // The watch may be behind; it hears of the next such row.
        let _ = self.pokes.try_send(Poke::RowUnknown(key));
        self.add(without_row(change))
    }

    /// The change with its holes filled, from the newest version of the row that is at hand, else
    /// from etcd.
    fn fill<'c>(
        &mut self,
        change: Change<'c>,
        events: &[Event<'_>],
        filled: &'c mut Vec<u8>,
    ) -> Result<Change<'c>> {
        let Self { stored, lanes, parts, open, ready, .. } = self;
        let pending = |key: &[u8]| {
            let part = parts.as_ref().and_then(|parts| parts.get(key));
            part.or_else(|| open.get(key)).or_else(|| ready.get(key))
        };
        stored.fill(change, events, pending, || lanes.settle(), filled)
    }

    fn add(&mut self, change: Change<'_>) -> Result<()> {
        let Self { parts, lanes, .. } = self;
        let fit = match parts {
            Some(parts) => parts.add(change, lanes)?,
            None => self.open.add(change, self.rules.limits),
        };
        match fit {
            Fit::Added => Ok(()),
            Fit::Full => {
                self.begin_parts()?;
                self.add(change)
            }
            Fit::TooLarge { bytes } => {
                let change = self.without_oversized(change, bytes)?;
                self.add(change)
            }
        }
    }

    /// Goes over to writing the transaction in parts: all before it goes first, then a position
    /// that says so, then what has come of it.
    fn begin_parts(&mut self) -> Result<()> {
        self.give_ready()?;
        if let Some(commit_lsn) = self.coming.map(|commit| commit.lsn) {
            let step = Some(Step::Partial { position: self.position, commit_lsn });
            self.lanes.send(0, Job { txn: Txn::new(), step })?;
            self.idle_step = false;
        }
        let job = self.lanes.job(&mut self.open);
        self.lanes.send(0, job)?;
        self.lanes.settle()?;
        self.parts = Some(Parts::new(self.rules.limits, self.lanes.count()));
        Ok(())
    }

    /// What is to be done instead of a change that no request can hold.
    pub(super) fn without_oversized<'c>(
        &self,
        change: Change<'c>,
        bytes: usize,
    ) -> Result<Change<'c>> {
        let (Change::Put { key, .. } | Change::Delete { key } | Change::Truncate { prefix: key }) =
            change;
        let error = Error::OversizedRow {
            key: String::from_utf8_lossy(key).into_owned(),
            bytes,
            limit: self.rules.limits.bytes,
            lsn: self.coming.map(|commit| commit.lsn),
        };
        match change {
            Change::Put { .. } if self.rules.skip_oversized => {
                log::error!("Leaving a row out: {error}");
                self.status.metrics.oversized_rows.inc();
                Ok(without_row(change))
            }
            _ => Err(error),
        }
    }

    fn commit(&mut self, end_lsn: Lsn) -> Result<()> {
        let commit = self.coming.take().unwrap_or(self.position.commit);
        let position = Position { lsn: end_lsn, commit };
        self.position = position;
        if let Some(parts) = self.parts.take() {
            self.ready = parts.finish(&self.lanes)?;
            self.ready.position = Some(position);
            return Ok(());
        }
        if self.open.is_empty() {
            self.idle(false);
            return Ok(());
        }
        self.open.position = Some(position);
        self.close()
    }

    /// Puts what is complete with what waits for the writer, after it if they do not go together.
    pub(super) fn close(&mut self) -> Result<()> {
        let Rules { limits, coalesce, .. } = self.rules;
        if !self.ready.absorb(&mut self.open, limits, coalesce) {
            self.give_ready()?;
            std::mem::swap(&mut self.ready, &mut self.open);
        }
        Ok(())
    }

    /// Takes note that the log has grown with nothing for us in it. Inside a transaction this
    /// says nothing: the LSN may be beyond its commit.
    fn keepalive(&mut self, wal_end: Lsn, reply_requested: bool) {
        if self.coming.is_some() {
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
    /// that wait for the writer, else when it is due. The server asks for a reply when it wants to
    /// shut down, and then waits for all to be flushed: that is at once.
    fn idle(&mut self, at_once: bool) {
        self.idle_step = true;
        if at_once || !self.ready.is_empty() {
            self.ready.position = Some(self.position);
        }
    }

    /// Gives the ready transactions to the writer, when it is free.
    pub(super) fn give_ready(&mut self) -> Result<()> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let job = self.lanes.job(&mut self.ready);
        self.note_given(job.step, job.txn.operations());
        self.lanes.send(0, job)
    }

    fn note_given(&mut self, step: Option<Step>, operations: usize) {
        if step == Some(Step::To(self.position)) {
            self.idle_step = false;
        }
        if operations == 0 {
            self.idle_due = Instant::now() + self.rules.idle_period;
        }
    }
}

/// What there is to be done next.
enum Next {
    /// A chunk has come.
    Chunk(Chunk),
    /// The watch asks for something.
    Request(Request),
    /// Something was given to the writer, or is due to be.
    Given,
    /// No more chunks come.
    End,
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

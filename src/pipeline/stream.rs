//! The thread that reads the stream, tells the packer what happens, and carries out what it says.

use std::io::{self, ErrorKind};
use std::mem::replace;
use std::os::fd::AsFd;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use super::bell::Bell;
use super::lanes::Lanes;
use super::read::{Asked, Found};
use super::receive::Receive;
use super::watch::Poke;
use super::write::Acknowledged;
use crate::core::change::{Change, Chunk, Event};
use crate::core::ledger::Replay;
use crate::core::{Answer, Input, Output, Packer, Request, Rules};
use crate::error::{Error, Result};
use crate::position::Position;
use crate::postgres::FrameReader;
use crate::status::{LeftOut, Pulse, Status};
use crate::stop::{Stop, poll_readable};
use crate::threads::Failure;

/// How long what comes is left in the socket while etcd works on a txn: it would have to wait for that
/// all the same, and the server sends each change by itself. A request for a status waits no longer.
const GATHERING: Duration = Duration::from_millis(1);

/// The stream, the packer, and the ends of the channels that lead to other threads.
pub(super) struct Stream<'a> {
    pub(super) source: Source<'a>,
    pub(super) lanes: Lanes<'a>,
    /// What etcd has, of a txn that this thread has posted itself.
    pub(super) posted: Option<Acknowledged>,
    /// What is to be read.
    pub(super) reads: Sender<Asked>,
    /// What was read.
    pub(super) found: Receiver<Found>,
    /// What the watch asks for.
    pub(super) requests: Receiver<Request>,
    /// What it is told.
    pub(super) answers: Sender<Answer>,
    /// Tells the watch of rows that are not known.
    pub(super) pokes: Sender<Poke>,
    /// Rung when something is in the lanes' replies, in `found` or in `requests`.
    pub(super) bell: Bell,
    /// Whether another daemon had the slot until now. It may be frozen, with a txn at hand.
    pub(super) takes_over: bool,
    pub(super) stop: &'a Stop,
    pub(super) failure: &'a Failure,
    pub(super) status: &'a Status,
    pub(super) pulse: Pulse,
}

/// Where the changes come from.
pub(super) enum Source<'a> {
    /// The server.
    Open(Box<Receive<'a>>),
    /// Nothing more is received. The stream is to be read to its end, unless it has failed.
    Ended(Option<FrameReader>),
}

impl Stream<'_> {
    /// Packs what comes until a stop is requested or the stream fails; then what is complete still goes, and
    /// what is not is left. Returns the stream to be read to its end.
    pub(super) fn run(
        mut self,
        rules: Rules,
        position: Position,
        replay: Option<Replay>,
    ) -> Result<FrameReader> {
        let begin = Instant::now();
        let mut outputs = Vec::new();
        let mut packer = Packer::new(rules, position, replay);
        if self.takes_over {
            packer.claim(&mut outputs);
        }
        loop {
            let mut wake = None;
            let is_alone = self.is_alone(&packer, &outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::WakeAt(time) => wake = Some(begin + time),
                    Output::Post(txn, step) if is_alone => {
                        self.posted = self.lanes.post_here(txn, step)?;
                    }
                    output => self.carry_out(output)?,
                }
            }
            if packer.is_done() {
                break;
            }
            let input = self.next(&packer, wake)?;
            packer.feed(input, begin.elapsed(), &mut outputs)?;
        }
        match self.source {
            Source::Ended(Some(frames)) => Ok(frames),
            _ => Err(Error::Stopped),
        }
    }

    /// Whether a txn is all that is to be done: there is nothing to be gained from another thread that posts it.
    fn is_alone(&self, packer: &Packer, outputs: &[Output]) -> bool {
        let is_caught_up = match &self.source {
            Source::Open(receive) => !receive.is_behind && !receive.frames.holds_bytes(),
            Source::Ended(_) => false,
        };
        let is_post = |output: &Output| matches!(output, Output::Post(..) | Output::WakeAt(_));
        is_caught_up && packer.is_one_txn_under_way() && outputs.iter().all(is_post)
    }

    fn carry_out(&self, output: Output) -> Result<()> {
        match output {
            Output::Post(txn, step) => self.lanes.post(txn, step),
            Output::PostPart(lane, txn) => self.lanes.post_part(lane, txn),
            Output::Read(keys, as_of) => {
                let asked = Asked::Documents { keys, as_of };
                self.reads.send(asked).map_err(|_| Error::Stopped)
            }
            Output::List(start, end) => {
                self.reads.send(Asked::Keys { start, end }).map_err(|_| Error::Stopped)
            }
            Output::Answer(answer) => {
                // Whoever asked may be gone.
                let _ = self.answers.send(answer);
                Ok(())
            }
            Output::RowUnknown { key, reason } => {
                // Each row that changes in a document that is too large has it compared anew.
                let is_told = self.status.left_out.has(&String::from_utf8_lossy(&key));
                let level = if is_told { log::Level::Debug } else { log::Level::Warn };
                log::log!(level, "Leaving a row out for now: {reason}");
                // The watch may be behind; it hears of the next such row.
                let _ = self.pokes.try_send(Poke::RowUnknown(key));
                Ok(())
            }
            Output::LeftOut(error) => {
                self.status.metrics.oversized_rows.inc();
                let is_news = match &error {
                    Error::OversizedRow { key, .. } => self.status.left_out.add(key.clone()),
                    _ => true,
                };
                let level = if is_news { log::Level::Error } else { log::Level::Debug };
                log::log!(level, "Leaving a row out: {error}");
                Ok(())
            }
            Output::WakeAt(_) => Ok(()),
        }
    }

    /// Waits for whatever happens next, until `wake` at the latest.
    fn next(&mut self, packer: &Packer, wake: Option<Instant>) -> Result<Input> {
        loop {
            if let Some(input) = self.told(packer)? {
                return Ok(input);
            }
            if packer.wants_stream()
                && let Some(input) = self.came()
            {
                return Ok(input);
            }
            let left = wake.map(|wake| wake.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Input::Time);
            }
            self.wait(packer, left)?;
        }
    }

    /// What another thread has said.
    fn told(&mut self, packer: &Packer) -> Result<Option<Input>> {
        // First, since the watch has its turn between two transactions only; without it there are none.
        if packer.takes_request()
            && let Ok(request) = self.requests.try_recv()
        {
            return Ok(Some(Input::Request(request)));
        }
        if let Some(Acknowledged { lane, txn, revision }) = self.posted.take() {
            return Ok(Some(Input::Acknowledged(lane, txn, revision)));
        }
        match self.lanes.replies().try_recv() {
            Ok(reply) => {
                let Acknowledged { lane, txn, revision } = reply.acknowledged()?;
                return Ok(Some(Input::Acknowledged(lane, txn, revision)));
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(Error::Stopped),
        }
        match self.found.try_recv() {
            Ok(Found::Documents(documents)) => return Ok(Some(Input::Documents(documents))),
            Ok(Found::Keys(keys, more)) => return Ok(Some(Input::Keys(keys, more))),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(Error::Stopped),
        }
        Ok(None)
    }

    /// What has come of the stream.
    fn came(&mut self) -> Option<Input> {
        let Source::Open(receive) = &mut self.source else { return Some(Input::End) };
        match receive.chunk() {
            Ok(None) => None,
            Ok(Some(chunk)) => {
                forget_gone(&self.status.left_out, &chunk);
                Some(Input::Chunk(chunk))
            }
            Err(error) => {
                self.fail(error);
                Some(Input::End)
            }
        }
    }

    /// Waits until another thread has said something, the server has sent something that is wanted, which
    /// is then read, or a stop is requested; for `timeout` at most.
    fn wait(&mut self, packer: &Packer, timeout: Option<Duration>) -> Result<()> {
        self.pulse.wait();
        let ready = self.poll(packer, timeout);
        self.pulse.work();
        let [is_rung, is_stopped, is_readable] = match ready {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            ready => ready.map_err(|source| Error::System {
                doing: "waiting for the stream".to_owned(),
                source,
            })?,
        };
        if is_rung {
            self.bell.hear();
        }
        if is_stopped {
            self.end();
        } else if is_readable
            && let Source::Open(receive) = &mut self.source
            && let Err(error) = receive.read()
        {
            self.fail(error);
        }
        Ok(())
    }

    /// Waits; says whether the bell was rung, a stop requested, and the stream can be read.
    fn poll(&self, packer: &Packer, timeout: Option<Duration>) -> io::Result<[bool; 3]> {
        let (bell, stop) = (self.bell.as_fd(), self.stop.as_fd());
        let receive = match &self.source {
            Source::Open(receive) if packer.wants_stream() => receive,
            _ => return poll_readable([bell], timeout).map(|[is_rung]| [is_rung, false, false]),
        };
        if receive.frames.holds_bytes() {
            return Ok([false, false, true]);
        }
        // Else what comes next goes on at once.
        let has_time = packer.is_lane_busy() && !receive.is_behind;
        let needs_acknowledgement = packer.needs_acknowledgement();
        if has_time && needs_acknowledgement {
            let [is_rung, is_stopped] = poll_readable([bell, stop], Some(GATHERING))?;
            if is_rung || is_stopped {
                return Ok([is_rung, is_stopped, false]);
            }
        }
        self.bell.mute(!needs_acknowledgement);
        let ready = poll_readable([bell, stop, receive.as_fd()], timeout);
        self.bell.mute(false);
        let ready = ready?;
        if ready == [false, false, true] && !receive.is_behind {
            match has_time && self.lanes.replies().is_empty() {
                true => drop(poll_readable([bell, stop], Some(GATHERING))?),
                // The server is about to send the rest.
                false => yield_now(),
            }
        }
        Ok(ready)
    }

    /// Receives nothing more.
    fn end(&mut self) {
        if let Source::Open(receive) = replace(&mut self.source, Source::Ended(None)) {
            self.source = Source::Ended(Some(receive.frames));
        }
    }

    /// Receives nothing more, and says why first: what other threads meet then is not taken for the cause.
    fn fail(&mut self, error: Error) {
        self.failure.record(error);
        self.source = Source::Ended(None);
    }
}

/// Forgets the rows that were left out and are gone, or have another key.
fn forget_gone(left_out: &LeftOut, chunk: &Chunk) {
    if left_out.is_empty() {
        return;
    }
    for event in chunk.events() {
        match event {
            Event::Change(
                Change::Delete { key: gone } | Change::Put { old_key: Some(gone), .. },
            ) => left_out.remove(&String::from_utf8_lossy(gone)),
            Event::Change(Change::Truncate { prefix }) => {
                left_out.forget_gone(|key| key.starts_with(prefix));
            }
            Event::Change(Change::Empty { keyspace }) => {
                left_out.forget_gone(|key| keyspace.gives(key));
            }
            _ => {}
        }
    }
}

//! The thread that tells the packer what happens, and carries out what it says.

use std::time::Instant;

use crossbeam_channel::{Receiver, Select, Sender, never};

use super::channel::ChunkReceiver;
use super::lanes::Lanes;
use super::read::{Asked, Found};
use super::watch::Poke;
use super::write::Acknowledged;
use crate::core::ledger::Replay;
use crate::core::{Answer, Input, Output, Packer, Request, Rules};
use crate::error::{Error, Result};
use crate::position::Position;
use crate::status::{Pulse, Status};

/// The ends of the channels that lead to the packer and from it.
pub(super) struct Pack<'a> {
    pub(super) chunks: ChunkReceiver,
    pub(super) lanes: Lanes,
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
    /// Whether another daemon had the slot until now. It may be frozen, with a txn at hand.
    pub(super) takes_over: bool,
    pub(super) status: &'a Status,
    pub(super) pulse: Pulse,
}

impl Pack<'_> {
    /// Packs what comes, until no more comes; then what is complete still goes, and what is not
    /// is left.
    pub(super) fn run(
        mut self,
        rules: Rules,
        position: Position,
        replay: Option<Replay>,
    ) -> Result<()> {
        let begin = Instant::now();
        let mut outputs = Vec::new();
        let mut packer = Packer::new(rules, position, replay);
        if self.takes_over {
            packer.claim(&mut outputs);
        }
        loop {
            let mut wake = None;
            for output in outputs.drain(..) {
                match output {
                    Output::WakeAt(time) => wake = Some(begin + time),
                    output => self.carry_out(output)?,
                }
            }
            if packer.is_done() {
                return Ok(());
            }
            self.pulse.wait();
            let input = self.next(&packer, wake)?;
            self.pulse.work();
            packer.feed(input, begin.elapsed(), &mut outputs)?;
        }
    }

    fn carry_out(&self, output: Output) -> Result<()> {
        match output {
            Output::Post(txn, step) => self.lanes.post(txn, step),
            Output::PostPart(lane, txn) => self.lanes.post_part(lane, txn),
            Output::Read(keys, revision) => {
                let asked = Asked::Documents { keys, revision };
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
                log::warn!("Leaving a row out for now: {reason}");
                // The watch may be behind; it hears of the next such row.
                let _ = self.pokes.try_send(Poke::RowUnknown(key));
                Ok(())
            }
            Output::LeftOut(error) => {
                log::error!("Leaving a row out: {error}");
                self.status.metrics.oversized_rows.inc();
                if let Error::OversizedRow { key, .. } = error {
                    self.status.left_out.add(key);
                }
                Ok(())
            }
            Output::WakeAt(_) => Ok(()),
        }
    }

    /// Waits for whatever happens next.
    fn next(&mut self, packer: &Packer, wake: Option<Instant>) -> Result<Input> {
        let mut select = Select::new();
        let reply = select.recv(self.lanes.replies());
        let found = select.recv(&self.found);
        let chunk = packer.wants_stream().then(|| self.chunks.select(&mut select));
        let request = packer.takes_request().then(|| select.recv(&self.requests));
        let operation = match wake {
            None => select.select(),
            Some(wake) => match select.select_deadline(wake) {
                Ok(operation) => operation,
                Err(_) => return Ok(Input::Time),
            },
        };
        let at = operation.index();
        if at == reply {
            let reply = operation.recv(self.lanes.replies()).map_err(|_| Error::Stopped)?;
            let Acknowledged { lane, txn, revision } = reply.acknowledged()?;
            return Ok(Input::Acknowledged(lane, txn, revision));
        }
        if at == found {
            let found = operation.recv(&self.found).map_err(|_| Error::Stopped)?;
            return Ok(match found {
                Found::Documents(documents) => Input::Documents(documents),
                Found::Keys(keys, more) => Input::Keys(keys, more),
            });
        }
        if Some(at) == chunk {
            return Ok(self.chunks.complete(operation).map_or(Input::End, Input::Chunk));
        }
        debug_assert_eq!(Some(at), request);
        let request = operation.recv(&self.requests);
        if request.is_err() {
            self.requests = never();
        }
        Ok(request.map_or(Input::Time, Input::Request))
    }
}

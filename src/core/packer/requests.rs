//! What the packer does for the watch, between two transactions of the stream.

use super::{Answer, Flow, Output, Packer, Request, without_row};
use crate::core::batch::Fit;
use crate::core::change::{Change, Chunk, Event};
use crate::core::recording::Recording;
use crate::error::Result;

impl Packer {
    /// Does what the watch asks for, between two transactions of the stream.
    pub(super) fn answer_request(&mut self, out: &mut Vec<Output>) -> Result<()> {
        if self.coming.is_some() {
            return Ok(());
        }
        match self.watch.request.take() {
            None => {}
            Some(Request::Reach(lsn)) => self.watch.awaited = Some((lsn, None)),
            Some(Request::Snapshot(lsn)) => {
                if let Some(recording) = &mut self.watch.recording {
                    recording.snapshot_at(lsn);
                }
                self.watch.awaited = Some((lsn, None));
            }
            Some(Request::Record { prefixes }) => {
                self.watch.recording = Some(Recording::new(prefixes));
                out.push(Output::Answer(Answer::Recording));
            }
            Some(Request::Finish(chunk)) => {
                let again = self.watch.recording.as_ref().is_some_and(Recording::again);
                if !again && self.apply(&chunk, out)? == Flow::Wait {
                    self.watch.request = Some(Request::Finish(chunk));
                    return Ok(());
                }
                let recording = self.watch.recording.take();
                let overruled =
                    recording.map(|recording| recording.overruled()).unwrap_or_default();
                let finished = Answer::Finished { again, overruled };
                match again {
                    true => out.push(Output::Answer(finished)),
                    // It is, once etcd has all that was found.
                    false => self.watch.awaited = Some((self.position.lsn, Some(finished))),
                }
            }
            Some(Request::Apply(chunk)) if self.apply(&chunk, out)? == Flow::Wait => {
                self.watch.request = Some(Request::Apply(chunk));
            }
            Some(Request::Apply(_)) => {}
        }
        Ok(())
    }

    /// Makes changes that are not in the stream, but for rows that the stream has changed since.
    pub(super) fn apply(&mut self, chunk: &Chunk, out: &mut Vec<Output>) -> Result<Flow> {
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
    pub(super) fn repair(&mut self, change: Change<'_>, out: &mut Vec<Output>) -> Result<Flow> {
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
                for change in without_row(change) {
                    if self.repair(change, out)? == Flow::Wait {
                        return Ok(Flow::Wait);
                    }
                }
                out.push(Output::LeftOut(left_out));
                Ok(Flow::Done)
            }
        }
    }

    /// Tells the watch that etcd has all that it waits for.
    pub(super) fn answer_awaited(&mut self, out: &mut Vec<Output>) {
        let Some((lsn, answer)) = self.watch.awaited else { return };
        if self.watch.awaited_txn.is_none() && lsn <= self.position.lsn {
            // What is ready is the ordered lane's next txn, if there is no room for it now.
            let is_posted = self.ready.is_empty() || self.post_ready(out) == Flow::Done;
            self.watch.awaited_txn = Some(self.posted + u64::from(!is_posted));
        }
        if self.watch.awaited_txn.is_some_and(|txn| txn <= self.acknowledged) {
            (self.watch.awaited, self.watch.awaited_txn) = (None, None);
            let recording = self.watch.recording.as_ref();
            let revision = recording.and_then(|recording| recording.revision_at(lsn));
            let reached = Answer::Reached { revision: revision.or(self.revision) };
            out.push(Output::Answer(answer.unwrap_or(reached)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use super::*;
    use crate::core::packer::{Input, LANE_DEPTH, Rules};
    use crate::core::view::Lane;
    use crate::etcd::Txn;
    use crate::lsn::Lsn;
    use crate::position::{Commit, Position};

    /// A packer whose lane is always full, as the stream has more whenever it is wanted.
    struct Busy {
        packer: Packer,
        changes: Changes,
        txns: VecDeque<Txn>,
        outputs: Vec<Output>,
    }

    impl Busy {
        fn new(changes: Changes) -> Self {
            let packer = Packer::new(Rules::with_limits(4, 1000), Position::default(), None);
            Self { packer, changes, txns: VecDeque::new(), outputs: Vec::new() }
        }

        /// Until the watch may ask for something.
        fn await_turn(&mut self) {
            self.go_on_until(|busy| busy.txns.len() == LANE_DEPTH && busy.packer.takes_request());
        }

        fn go_on_until(&mut self, is_met: impl Fn(&Self) -> bool) {
            for _ in 0..100 {
                if is_met(self) {
                    return;
                }
                let is_paused =
                    self.outputs.iter().any(|output| matches!(output, Output::WakeAt(_)));
                let input = if self.packer.wants_stream() {
                    Input::Chunk(self.changes.next())
                } else if is_paused {
                    Input::Time
                } else {
                    let txn = self.txns.pop_front().expect("a txn that etcd does not have");
                    Input::Acknowledged(Lane::Ordered, txn, 1)
                };
                self.feed(input);
            }
            panic!("waited in vain");
        }

        fn feed(&mut self, input: Input) {
            self.outputs.clear();
            let fed = self.packer.feed(input, Duration::ZERO, &mut self.outputs);
            fed.expect("nothing is too large");
            for output in &mut self.outputs {
                if let Output::Post(txn, _) = output {
                    self.txns.push_back(std::mem::take(txn));
                }
            }
        }

        fn has_answer(&self) -> bool {
            let is_answer =
                |output: &Output| matches!(output, Output::Answer(Answer::Reached { .. }));
            self.outputs.iter().any(is_answer)
        }
    }

    /// Transactions that change the same row, so that each needs a txn of its own.
    #[derive(Default)]
    struct Changes {
        /// Whether a chunk ends in the middle of a transaction, and the next one goes on there.
        are_cut: bool,
        lsn: u64,
    }

    impl Changes {
        /// The next chunk.
        fn next(&mut self) -> Chunk {
            let mut chunk = Chunk::default();
            if self.are_cut && self.lsn > 0 {
                self.end(&mut chunk);
            }
            for _ in 0..3 {
                self.begin(&mut chunk);
                self.end(&mut chunk);
            }
            if self.are_cut {
                self.begin(&mut chunk);
            }
            chunk
        }

        fn begin(&self, chunk: &mut Chunk) {
            chunk.begin(Commit { lsn: Lsn(self.lsn + 1), ..Commit::default() });
            chunk.put(
                |key| key.push(b'k'),
                |document, _| document.push(b'v'),
                None::<fn(&mut Vec<u8>)>,
            );
        }

        fn end(&mut self, chunk: &mut Chunk) {
            self.lsn += 10;
            chunk.end(Lsn(self.lsn));
        }
    }

    #[test]
    fn the_watch_hears_of_a_position_while_etcd_is_behind() {
        for are_cut in [false, true] {
            let mut busy = Busy::new(Changes { are_cut, ..Changes::default() });
            busy.await_turn();
            busy.feed(Input::Request(Request::Reach(Lsn(busy.changes.lsn))));
            busy.go_on_until(Busy::has_answer);
            busy.await_turn();
        }
    }
}

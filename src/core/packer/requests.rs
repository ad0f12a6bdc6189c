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
        if self.watch.awaited_txn.is_none() && self.coming.is_none() && lsn <= self.position.lsn {
            if !self.ready.is_empty() && self.post_ready(out) == Flow::Wait {
                return;
            }
            self.watch.awaited_txn = Some(self.posted);
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

//! The changes of the transaction that is coming in: into one txn, or into parts.

use super::documents::Filled;
use super::{Flow, Large, Output, Packer, Rules, without_row};
use crate::core::batch::{Batch, Fit};
use crate::core::change::{Change, Splice};
use crate::core::ledger::Step;
use crate::core::mutation::{Mutation, is};
use crate::core::parts::{Parts, Place};
use crate::core::view::Lane;
use crate::document::Body;
use crate::error::{Error, Result};
use crate::lsn::Lsn;

impl Packer {
    /// Adds a change to the transaction. One that wants a document which is still to be read has to wait.
    pub(super) fn change(&mut self, change: Change<'_>, out: &mut Vec<Output>) -> Result<Flow> {
        match change {
            Change::Empty { keyspace } if !keyspace.is_range() => {
                return self.empty(keyspace, out);
            }
            Change::Vacate { key, members } => return self.vacate(key, members, out),
            Change::Splice(splice) => return self.splice(splice, out),
            Change::Hollow { keyspace, nested } => return self.hollow(keyspace, nested, out),
            Change::Put { .. }
            | Change::Delete { .. }
            | Change::Truncate { .. }
            | Change::Empty { .. } => {}
        }
        let mut filled = Vec::new();
        let whole = match self.fill(change, &mut filled) {
            Filled::Whole(whole) => whole,
            Filled::InEtcd => return Ok(Flow::Wait),
            Filled::Unknown { key, reason } => return self.row_unknown(change, &key, reason, out),
        };
        if let Change::Put { key, .. } = whole {
            self.waiting.is_put(key);
        }
        let flow = self.add(whole, out)?;
        if flow == Flow::Done {
            self.note(change);
            self.view.changed(whole);
            self.waiting.changed(change);
        }
        Ok(flow)
    }

    /// Takes note of a change of the stream, for the compare that is being made.
    pub(super) fn note(&mut self, change: Change<'_>) {
        let (Some(recording), Some(commit)) = (&mut self.watch.recording, self.coming) else {
            return;
        };
        recording.note(change, commit.lsn);
        // A row of the table was left open: what the compare finds may be older.
        if let Change::Put { key, .. } = change
            && let Some(of) = key.strip_prefix(&self.rules.notes[..])
            && recording.covers(of)
        {
            recording.note_left_out(commit.lsn);
        }
    }

    /// Leaves out a row of which etcd lacks what the server did not send.
    pub(super) fn row_unknown(
        &mut self,
        change: Change<'_>,
        key: &[u8],
        reason: String,
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
        if self.is_compared(key) {
            self.note_left_out(change);
            return self.unknown(key, reason, out);
        }
        if self.delete_row(change, out)? == Flow::Wait {
            return Ok(Flow::Wait);
        }
        let flow = self.unknown(key, reason, out)?;
        if flow == Flow::Done {
            self.note_left_out(change);
            self.view.changed(change);
        }
        Ok(flow)
    }

    /// Has the table of a document compared. Either that is being done, and is done once more, or it has
    /// to be: the note of it goes with the position, so that it is not forgotten if this life ends.
    pub(super) fn unknown(
        &mut self,
        key: &[u8],
        reason: String,
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
        let commit_lsn = self.coming.unwrap_or_default().lsn;
        if let Some(recording) = &mut self.watch.recording
            && recording.covers(key)
        {
            recording.note_left_out(commit_lsn);
            return Ok(Flow::Done);
        }
        let note = [&self.rules.notes, key].concat();
        let note = Change::Put { key: &note, body: Body::Whole(b"1"), old_key: None };
        let flow = self.add(note, out)?;
        // Many rows of one document may follow each other.
        if flow == Flow::Done && self.waiting.note(key) {
            out.push(Output::RowUnknown { key: key.to_vec(), reason });
        }
        Ok(flow)
    }

    fn is_compared(&self, key: &[u8]) -> bool {
        self.watch.recording.as_ref().is_some_and(|recording| recording.covers(key))
    }

    pub(super) fn add(&mut self, change: Change<'_>, out: &mut Vec<Output>) -> Result<Flow> {
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
    pub(super) fn add_to_parts(
        &mut self,
        change: Change<'_>,
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
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
    pub(super) fn settle_parts(&mut self, out: &mut Vec<Output>) -> Flow {
        if self.post_parts(0, out) == Flow::Wait || self.has_parts_outstanding() {
            return Flow::Wait;
        }
        if let Some(Large::Parts(parts)) = &mut self.large {
            parts.settled();
        }
        Flow::Done
    }

    /// Posts the parts of all lanes from this one on.
    pub(super) fn post_parts(&mut self, from: usize, out: &mut Vec<Output>) -> Flow {
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

    pub(super) fn post_part(&mut self, lane: usize, out: &mut Vec<Output>) -> Flow {
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

    /// Adds that a row is gone.
    fn delete_row(&mut self, change: Change<'_>, out: &mut Vec<Output>) -> Result<Flow> {
        for change in without_row(change) {
            if self.add(change, out)? == Flow::Wait {
                return Ok(Flow::Wait);
            }
        }
        Ok(Flow::Done)
    }

    /// Adds, instead of a row that no request can hold, that it is gone: absent, never an old version.
    pub(super) fn add_without(
        &mut self,
        change: Change<'_>,
        bytes: usize,
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
        let left_out = self.oversized(change, bytes)?;
        let flow = self.delete_row(change, out)?;
        if flow == Flow::Done {
            self.note_left_out(change);
            if let Change::Put { key, .. } = change {
                self.waiting.leave_out(key);
            }
            out.push(Output::LeftOut(left_out));
        }
        Ok(flow)
    }

    /// What is to be said of a change that no request can hold, if it may be left out.
    pub(super) fn oversized(&self, change: Change<'_>, bytes: usize) -> Result<Error> {
        let key = match change {
            Change::Put { key, .. }
            | Change::Delete { key }
            | Change::Vacate { key, .. }
            | Change::Truncate { prefix: key } => key,
            Change::Splice(Splice { new, old, .. }) => {
                new.map(|(slot, _)| slot).or(old).map_or(&[][..], |slot| slot.key)
            }
            Change::Empty { keyspace } | Change::Hollow { keyspace, .. } => keyspace.prefix(),
        };
        let error = Error::OversizedRow {
            key: String::from_utf8_lossy(key).into_owned(),
            bytes,
            limit: self.rules.limits.bytes,
            lsn: self.coming.map(|commit| commit.lsn),
        };
        let may = self.rules.skip_oversized && matches!(change, Change::Put { .. });
        if may { Ok(error) } else { Err(error) }
    }

    pub(super) fn has_parts_outstanding(&self) -> bool {
        self.outstanding[1..].iter().any(|&txns| txns > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::change::Chunk;
    use crate::core::packer::Input;
    use crate::etcd::Txn;
    use crate::position::{Commit, Position};

    #[test]
    fn a_row_that_moves_and_is_left_out_leaves_nothing_under_either_key() {
        let rules = Rules { skip_oversized: true, ..Rules::with_limits(4, 100) };
        let mut packer = Packer::new(rules, Position::default(), None);
        let mut chunk = Chunk::default();
        chunk.begin(Commit { lsn: Lsn(1), ..Commit::default() });
        chunk.put(
            |key| key.extend(b"new"),
            |document, _| document.extend([b'x'; 100]),
            Some(|key: &mut Vec<u8>| key.extend(b"old")),
        );
        chunk.end(Lsn(2));
        let mut outputs = Vec::new();
        packer.feed(Input::Chunk(chunk), Duration::ZERO, &mut outputs).expect("it is left out");
        let mut posted = outputs.into_iter().filter_map(|output| match output {
            Output::Post(txn, Step::To(_)) => Some(txn),
            _ => None,
        });
        let mut expected = Txn::new();
        expected.delete(b"new");
        expected.delete(b"old");
        let body = |mut txn: Txn| String::from_utf8(txn.body().to_vec()).expect("a text");
        assert_eq!(posted.next().map(body), Some(body(expected)));
    }
}

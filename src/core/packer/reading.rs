//! Documents that are read of etcd: those of the next changes, while the changes before them are packed and
//! posted.
//!
//! One read is under way at a time. The view knows what it is for, and drops what comes of a key that has
//! changed since the read began. Of the other keys etcd had the newest versions by then: any revision that is not
//! older than the last of which this life knows has them, so that a read need not wait for what is being
//! written.

use super::under_way::UnderWay;
use super::{Output, Packer};
use crate::core::change::{Change, Event};
use crate::core::ledger::Replay;
use crate::core::mutation::{Mutation, is};
use crate::core::view::Newest;
use crate::etcd::{AsOf, KeyValue};

impl Packer {
    /// Has the documents read that the next changes want and nobody has at hand: at once those of the change
    /// whose turn it is, else those that were not asked for yet.
    pub(super) fn read_ahead(&mut self, out: &mut Vec<Output>) {
        if self.reading.is_under_way() {
            return;
        }
        let is_stuck = match self.pending.next() {
            Some(Event::Change(change)) => self.wanted(change).next().is_some(),
            _ => false,
        };
        if is_stuck {
            self.pending.ask_again();
        } else if self.may_replay() {
            return;
        }
        let (mut keys, mut asked) = (Vec::new(), None);
        for (place, event) in self.pending.unasked() {
            if let Event::Change(change) = event {
                keys.extend(self.wanted(change).map(<[u8]>::to_vec));
            }
            asked = Some(place);
            if keys.len() >= self.reading.most() {
                break;
            }
        }
        match asked {
            None => {}
            Some(place) if keys.is_empty() => self.pending.known_up_to(place),
            // What a former life has sent may still arrive before this one is in its place.
            Some(_) if self.claimed == 0 && !is(Mutation::Unclaimed) => self.claim(out),
            Some(place) => {
                self.pending.asked_up_to(place);
                self.read_documents(keys, out);
            }
        }
    }

    /// Has these documents read, unless something is being read.
    pub(super) fn read_documents(&mut self, mut keys: Vec<Vec<u8>>, out: &mut Vec<Output>) {
        if self.reading.is_under_way() {
            return;
        }
        keys.sort_unstable();
        keys.dedup();
        self.view.reading(&keys);
        let seen = if is(Mutation::ReadBehind) { self.claimed } else { self.seen };
        out.push(Output::Read(keys.clone(), AsOf::Since(seen)));
        self.reading.under_way = Some(UnderWay::Documents { keys, past: false });
    }

    /// Takes documents that were read. In a transaction that is replayed, a row which the former life has
    /// changed, or deleted, is not what it was: then its document before the transaction is read.
    pub(super) fn take_documents(
        &mut self,
        documents: Vec<Option<KeyValue>>,
        out: &mut Vec<Output>,
    ) {
        let Some(UnderWay::Documents { keys, past }) = self.reading.under_way.take() else {
            return;
        };
        let bytes: usize = documents.iter().flatten().map(|document| document.value.len()).sum();
        if let Some(average) = bytes.checked_div(documents.len()) {
            self.reading.found(average);
        }
        let mut again = Vec::new();
        for (key, document) in keys.into_iter().zip(documents) {
            let found = document.as_ref().map(|document| document.mod_revision);
            if !past && self.is_replayed(&key, found) && !is(Mutation::ReplayFromParts) {
                again.push(key);
            } else {
                let document = document.map(|document| match past {
                    true => self.waiting.emptied(&key, document.value),
                    false => document.value,
                });
                self.view.read(key, document);
            }
        }
        if let (Some(replay), false) = (self.replay, again.is_empty()) {
            out.push(Output::Read(again.clone(), AsOf::Revision(replay.revision)));
            self.reading.under_way = Some(UnderWay::Documents { keys: again, past: true });
        }
    }

    /// Whether nothing may be packed before what is being read is here: while a transaction may be replayed,
    /// what is found means this or that by what the transaction has done so far.
    pub(super) fn packs_nothing(&self) -> bool {
        self.reading.is_under_way() && self.may_replay()
    }

    /// The keys of the documents that a change wants and that have to be read.
    fn wanted<'c>(&self, change: Change<'c>) -> impl Iterator<Item = &'c [u8]> {
        // A row that moves is under its old key still, though it was said to leave it.
        let is_row = matches!(change, Change::Put { .. });
        change.bases().filter(move |key| {
            let newest = if is_row { self.newest(key) } else { self.newest_parent(key) };
            newest == Newest::InEtcd
        })
    }

    /// Whether a document of this revision, `None` for one that is not there, may be as a former life left
    /// it in the middle of the transaction that is coming in.
    fn is_replayed(&self, key: &[u8], found: Option<i64>) -> bool {
        self.replaying().is_some_and(|replay| match found {
            Some(revision) => revision > replay.revision && revision < self.claimed,
            // What this life has deleted is not there, either.
            None => !self.replayed_without.contains(key) && !self.waiting.has_gone(key),
        })
    }

    /// The replay, if the transaction that is coming in is the one.
    pub(super) fn replaying(&self) -> Option<Replay> {
        let commit_lsn = self.coming.map(|commit| commit.lsn);
        self.replay.filter(|replay| Some(replay.commit_lsn) == commit_lsn)
    }

    /// Whether the transaction that is replayed is still to come, or coming in.
    fn may_replay(&self) -> bool {
        self.replay.is_some_and(|replay| self.position.lsn <= replay.commit_lsn)
    }
}

//! What is asserted of each revision of the store.

use std::collections::BTreeSet;

use super::database::Transaction;
use super::life::STATE_PATH;
use super::rows::Documents;
use super::store::Stored;
use super::{OTHER, World};
use crate::lsn::Lsn;
use crate::state::checkpoint::Checkpoint;
use crate::state::layout;

impl World {
    /// Prints what a txn did, for a history that is run alone.
    pub(super) fn trace(&self, reply: &crate::etcd::TxnReply) {
        let Checkpoint { lsn, partial, .. } = self.checkpoint();
        println!("revision {} {}: {lsn} {partial:?}", self.store.revision, reply.succeeded);
        for (_, key, before) in self.store.past.iter().filter(|(at, ..)| *at == self.store.revision)
        {
            let text = |value: Option<&(Vec<u8>, i64)>| {
                value.map(|(value, _)| String::from_utf8_lossy(value).into_owned())
            };
            let (before, now) = (text(before.as_ref()), text(self.store.keys.get(key)));
            println!("    {}: {before:?} -> {now:?}", key.escape_ascii());
        }
    }

    /// What must hold of a revision that was just made.
    pub(super) fn check_revision(&mut self) {
        let checkpoint = self.checkpoint();
        let (before, now) = (self.position, checkpoint.lsn);
        assert!(now >= before, "the position went back from {before} to {now}");
        self.position = now;
        let between: Vec<_> =
            self.database.transactions.iter().filter(|t| t.end > before && t.end <= now).collect();
        let changed = self.store.past.iter().rev();
        let changed = changed.take_while(|(at, ..)| *at == self.store.revision);
        let changed: Vec<_> = changed.map(|(_, key, _)| key).collect();
        for key in &changed {
            if let Some((value, _)) = self.store.keys.get(*key) {
                self.seen.insert(((*key).clone(), value.clone()));
            }
        }
        let mut touched = BTreeSet::new();
        for transaction in between {
            for key in &transaction.touched {
                match transaction.open.contains(key) {
                    true => self.open.insert(key.clone(), transaction.end),
                    false => self.open.remove(key),
                };
                let version = transaction.after.get(key).map(|after| (key.clone(), after.clone()));
                let seen = version.is_none_or(|version| self.seen.contains(&version));
                assert!(
                    seen || self.rules.coalesce || self.is_excused(key),
                    "nobody saw {} as of {}",
                    key.escape_ascii(),
                    transaction.end
                );
                touched.insert(key.clone());
            }
        }
        if let Some(commit_lsn) = checkpoint.partial {
            let large = self.database.transactions.iter().find(|t| t.commit.lsn == commit_lsn);
            let large = large.expect("a transaction");
            assert!(!self.fits(large), "it fits one txn");
            touched.extend(large.touched.iter().cloned());
            self.check_documents(now, &touched);
        } else {
            self.check_documents(now, &BTreeSet::new());
        }
        for key in changed {
            let written = !is_state(key) && self.store.keys.contains_key(key);
            assert!(
                !written || touched.contains(key) || self.is_excused(key),
                "{} was written again",
                key.escape_ascii()
            );
        }
    }

    /// Whether a transaction fits one txn, even if each row that is not known takes a note.
    fn fits(&self, transaction: &Transaction) -> bool {
        let operations = transaction.touched.len() + transaction.notes;
        let bytes = transaction.bytes.values().sum::<usize>() + 64 * operations;
        let limits = self.rules.limits;
        operations <= limits.operations && bytes <= limits.bytes && !transaction.truncates
    }

    /// That etcd has what the database had at `lsn`, but for these keys.
    fn check_documents(&self, lsn: Lsn, but: &BTreeSet<Vec<u8>>) {
        let none = Documents::new();
        let expected = self.database.documents_at(lsn).unwrap_or(&none);
        let check = |key: &Vec<u8>, wanted: Option<&Vec<u8>>, found: Option<&Stored>| {
            if wanted != found.map(|(found, _)| found)
                && !but.contains(key)
                && !self.is_excused(key)
            {
                let text = |document: &Vec<u8>| String::from_utf8_lossy(document).into_owned();
                let (wanted, found) = (wanted.map(text), found.map(|(found, _)| text(found)));
                assert_eq!(found, wanted, "{} at {lsn}", key.escape_ascii());
            }
        };
        let mut wanted = expected.iter().peekable();
        for (key, stored) in self.store.keys.iter().filter(|(key, _)| !is_state(key)) {
            while let Some((missing, document)) = wanted.next_if(|(next, _)| *next < key) {
                check(missing, Some(document), None);
            }
            let document = wanted.next_if(|(next, _)| *next == key).map(|(_, document)| document);
            if document.is_some() || !self.others.contains(key) {
                check(key, document, Some(stored));
            }
        }
        wanted.for_each(|(key, document)| check(key, Some(document), None));
        for key in &self.others {
            let found = self.store.keys.get(key).map(|(value, _)| &value[..]);
            assert_eq!(found, Some(OTHER), "{} is not the table's", key.escape_ascii());
        }
    }

    fn is_excused(&self, key: &[u8]) -> bool {
        let ahead = self.ahead.iter().filter(|(_, snapshot)| **snapshot > self.position);
        let mut tables = self.excused.keys().chain(ahead.map(|(table, _)| table));
        self.open.contains_key(key) || tables.any(|table| self.database.plan(*table).covers(key))
    }

    /// What must hold in the end.
    pub(super) fn check_all(mut self) {
        self.excused.clear();
        self.open.clear();
        assert_eq!(self.checkpoint().lsn, self.database.end);
        self.check_documents(self.database.end, &BTreeSet::new());
        let kept = [layout::checkpoint, layout::last_commit, layout::partial, layout::writer]
            .map(|key| key(STATE_PATH));
        for key in self.store.keys.keys().filter(|key| is_state(key)) {
            let is_kept = kept.iter().any(|kept| kept.as_bytes() == key);
            assert!(is_kept, "{} is left", key.escape_ascii());
        }
    }
}

/// Whether a key is the daemon's own.
fn is_state(key: &[u8]) -> bool {
    key.starts_with(b"/s/")
}

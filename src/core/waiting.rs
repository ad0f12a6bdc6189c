//! Rows of other tables that have no document to be in, while a transaction comes in.
//!
//! They belong to a key, not to the row that has it: when a row leaves its key, by a DELETE or an update
//! of the key, those that point there wait for the row that comes next. Children can come before their
//! parent too, where foreign keys are deferred. At the commit nothing waits, or the document is one
//! that etcd does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::change::Change;
use super::mutation::{Mutation, is};
use crate::document::{MissingColumn, element_of, emptied, member_of, splice_member};
use crate::mapping::{Keyspace, Nested};

/// The memory that may wait, in bytes.
const MOST_BYTES: usize = 4 << 20;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By the document's key.
    documents: BTreeMap<Vec<u8>, Members>,
    bytes: usize,
    /// Whether some had to be given up.
    lost: bool,
    /// The keys from under which a row has gone. Under the others among `documents` rows came before theirs;
    /// or theirs is there, and etcd lacks it.
    vacated: BTreeSet<Vec<u8>>,
    /// The document that was said last not to be known.
    noted: Vec<u8>,
    /// The keys of documents that became too large in the transaction: etcd lacks them.
    too_large: BTreeSet<Vec<u8>>,
    /// The keys that were emptied in the transaction.
    emptied: Emptied,
}

/// Which keys and members were emptied.
#[derive(Debug, Default)]
struct Emptied {
    keyspaces: Vec<Keyspace>,
    members: Vec<(Keyspace, Nested)>,
}

/// The members that are not empty, by their names.
pub(super) type Members = BTreeMap<Vec<u8>, Vec<u8>>;

/// Those of a document.
pub(super) fn members_of(document: &[u8], members: &[Arc<Nested>]) -> Members {
    let full = members.iter().filter_map(|nested| {
        let member = member_of(document, nested).filter(|member| *member != nested.empty())?;
        Some((nested.json_name.clone(), member.to_vec()))
    });
    full.collect()
}

impl Waiting {
    /// Takes note that the row under a key goes, with these members in its document.
    pub(super) fn vacate(&mut self, key: &[u8], members: Members) {
        self.set(key, if is(Mutation::NothingWaits) { Members::new() } else { members });
        self.vacated.insert(key.to_vec());
    }

    /// Takes note that a document is left out, since no request can hold it.
    pub(super) fn leave_out(&mut self, key: &[u8]) {
        self.too_large.insert(key.to_vec());
    }

    /// Takes note that a document is put, which may be too large again.
    pub(super) fn is_put(&mut self, key: &[u8]) {
        self.too_large.remove(key);
    }

    /// Whether the document of a row that is there is known to be missing, so that nothing waits for it.
    pub(super) fn is_left_out(&self, key: &[u8]) -> bool {
        self.too_large.contains(key)
    }

    /// A document of a table that is left out.
    pub(super) fn first_left_out(&self, keyspace: &Keyspace) -> Option<&[u8]> {
        let mut left_out = self.too_large.iter().filter(|key| keyspace.gives(key));
        left_out.next().map(Vec::as_slice)
    }

    /// Whether an element is not among those that wait though a row that was there before is not known to have
    /// gone: then the document is there, and etcd lacks it.
    pub(super) fn lacks(&self, key: &[u8], nested: &Nested, identity: &[u8]) -> bool {
        !self.is_vacated(key) && self.element(key, nested, identity).is_none()
    }

    /// Whether a row has gone from under this key, or rows wait there.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.documents.contains_key(key)
    }

    /// Takes note that a document is said not to be known; false if it was the last of which that was said.
    pub(super) fn note(&mut self, key: &[u8]) -> bool {
        let is_news = self.noted != key;
        if is_news {
            self.noted = key.to_vec();
        }
        is_news
    }

    /// Whether a row has gone from under this key, and none has come.
    pub(super) fn is_vacated(&self, key: &[u8]) -> bool {
        self.vacated.contains(key)
    }

    /// Whether what waits under a key is not known: it had to be given up.
    pub(super) fn is_unknown(&self, key: &[u8]) -> bool {
        self.lost && !self.has(key)
    }

    /// What waits under a key for one member.
    pub(super) fn member<'w>(&'w self, key: &[u8], nested: &Nested) -> &'w [u8] {
        let members = self.documents.get(key);
        let member = members.and_then(|members| members.get(&nested.json_name));
        member.map_or(nested.empty(), Vec::as_slice)
    }

    /// An element of what waits.
    pub(super) fn element(&self, key: &[u8], nested: &Nested, identity: &[u8]) -> Option<&[u8]> {
        element_of(self.member(key, nested), nested, identity)
    }

    /// Puts an element in its place among those that wait, or takes it out; neither where what waits is not known.
    pub(super) fn splice(
        &mut self,
        key: &[u8],
        nested: &Nested,
        identity: &[u8],
        element: Option<&[u8]>,
    ) -> Result<(), MissingColumn> {
        if self.is_unknown(key) {
            // What is known of it would pass for all that waits.
            return Ok(());
        }
        let mut member = Vec::new();
        splice_member(self.member(key, nested), nested, identity, element, &mut member)?;
        let mut members = self.take(key);
        match member == nested.empty() {
            true => drop(members.remove(&nested.json_name)),
            false => drop(members.insert(nested.json_name.clone(), member)),
        }
        self.set(key, members);
        Ok(())
    }

    /// Whether the transaction has taken the row from under this key, so far, and what etcd had there
    /// before is not to be asked for. If so much waits that this is not known, that is not, either.
    pub(super) fn has_gone(&self, key: &[u8]) -> bool {
        let was_emptied = self.emptied.keyspaces.iter().any(|keyspace| keyspace.gives(key));
        self.lost || self.has(key) || was_emptied && !is(Mutation::EmptiedForgotten)
    }

    /// A document as it was before the transaction, without what the transaction has emptied so far.
    pub(super) fn emptied(&self, key: &[u8], mut document: Vec<u8>) -> Vec<u8> {
        for (keyspace, nested) in &self.emptied.members {
            let mut without = Vec::new();
            if keyspace.gives(key) && emptied(&document, nested, &mut without).is_ok() {
                document = without;
            }
        }
        document
    }

    /// Takes note that a member is empty in all documents of a table.
    pub(super) fn hollow(&mut self, keyspace: &Keyspace, nested: &Nested) {
        let hollow = (keyspace.clone(), nested.clone());
        if !self.emptied.members.contains(&hollow) {
            self.emptied.members.push(hollow);
        }
        if is(Mutation::HollowStays) {
            return;
        }
        for (_, members) in self.documents.iter_mut().filter(|(key, _)| keyspace.gives(key)) {
            members.remove(&nested.json_name);
        }
    }

    /// Takes note of a change of the transaction: what waited for the row is in its document now, and of a
    /// table that was emptied nothing waits.
    pub(super) fn changed(&mut self, change: Change<'_>) {
        match change {
            Change::Put { key, .. } => self.remove(key),
            Change::Delete { key } => {
                self.too_large.remove(key);
            }
            Change::Truncate { prefix } => self.empty(&Keyspace::whole(prefix)),
            Change::Empty { keyspace } => self.empty(keyspace),
            _ => {}
        }
    }

    fn empty(&mut self, keyspace: &Keyspace) {
        self.remove_all(|key| keyspace.gives(key));
        if !self.emptied.keyspaces.contains(keyspace) {
            self.emptied.keyspaces.push(keyspace.clone());
        }
    }

    /// A key under which something waits still.
    pub(super) fn first_left(&self) -> Option<&[u8]> {
        let mut left = self.documents.iter().filter(|(_, members)| !members.is_empty());
        left.next().map(|(key, _)| &key[..])
    }

    /// Takes note that nothing waits under a key any longer.
    pub(super) fn remove(&mut self, key: &[u8]) {
        self.take(key);
        self.vacated.remove(key);
    }

    fn remove_all(&mut self, goes: impl Fn(&[u8]) -> bool) {
        self.vacated.retain(|key| !goes(key));
        self.too_large.retain(|key| !goes(key));
        let bytes = &mut self.bytes;
        self.documents.retain(|key, members| {
            let goes = goes(key);
            if goes {
                *bytes -= bytes_of(key, members);
            }
            !goes
        });
    }

    /// Begins another transaction.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes out what waits under a key.
    fn take(&mut self, key: &[u8]) -> Members {
        let members = self.documents.remove(key);
        self.bytes -= members.as_ref().map_or(0, |members| bytes_of(key, members));
        members.unwrap_or_default()
    }

    fn set(&mut self, key: &[u8], members: Members) {
        self.take(key);
        let bytes = bytes_of(key, &members);
        if self.bytes + bytes > MOST_BYTES {
            self.lost = true;
            return;
        }
        self.bytes += bytes;
        self.documents.insert(key.to_vec(), members);
    }
}

/// What waits under a key takes so much, roughly.
fn bytes_of(key: &[u8], members: &Members) -> usize {
    /// What a map takes for an entry beside its texts.
    const OVERHEAD: usize = 96;
    let members = members.iter().map(|(name, member)| name.len() + member.len() + OVERHEAD);
    OVERHEAD + key.len() + members.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Form;

    /// A row that comes back finds either all that waited for it, or that this is not known.
    #[test]
    fn what_was_too_much_to_wait_is_not_taken_for_what_came_since() {
        let nested = Nested { json_name: b"\"m\"".to_vec(), form: Form::Map };
        let members = || Members::from([(nested.json_name.clone(), vec![b'x'; MOST_BYTES / 2])]);
        let mut waiting = Waiting::default();
        waiting.vacate(b"t/1", members());
        waiting.vacate(b"t/2", members());
        for (key, is_unknown) in [(b"t/1", false), (b"t/2", true)] {
            assert_eq!(waiting.is_unknown(key), is_unknown);
        }
        assert_eq!(waiting.splice(b"t/2", &nested, b"\"a\"", Some(b"1")), Ok(()));
        assert!(waiting.is_unknown(b"t/2"));
    }

    #[test]
    fn a_document_of_before_the_transaction_is_without_what_that_has_emptied() {
        let nested = Nested { json_name: b"\"m\"".to_vec(), form: Form::Map };
        let mut waiting = Waiting::default();
        let (full, empty) = (br#"{"id":1,"m":{"a":1}}"#, br#"{"id":1,"m":{}}"#);
        assert_eq!(waiting.emptied(b"t/1", full.to_vec()), full);
        waiting.hollow(&Keyspace::whole(b"t/"), &nested);
        assert_eq!(waiting.emptied(b"t/1", full.to_vec()), empty);
        assert_eq!(waiting.emptied(b"u/1", full.to_vec()), full);
        waiting.clear();
        assert_eq!(waiting.emptied(b"t/1", full.to_vec()), full);
    }
}

//! Rows of other tables that have no document to be in, while a transaction comes in.
//!
//! They belong to a key, not to the row that has it: when a row leaves its key, by a DELETE or an update
//! of the key, those that point there wait for the row that comes next. Children can come before their
//! parent too, where foreign keys are deferred. At the commit nothing waits, or the document is one
//! that etcd does not have.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::change::Change;
use super::mutation::{Mutation, is};
use crate::document::{Body, MissingColumn, element_of, member_of, splice_member};
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
    }

    /// Whether a row has gone from under this key, or rows wait there.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.documents.contains_key(key)
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

    /// Puts an element in its place among those that wait, or takes it out.
    pub(super) fn splice(
        &mut self,
        key: &[u8],
        nested: &Nested,
        identity: &[u8],
        element: Option<&[u8]>,
    ) -> Result<(), MissingColumn> {
        let mut member = Vec::new();
        splice_member(self.member(key, nested), nested, identity, element, &mut member)?;
        let mut members = self.documents.get(key).cloned().unwrap_or_default();
        match member == nested.empty() {
            true => drop(members.remove(&nested.json_name)),
            false => drop(members.insert(nested.json_name.clone(), member)),
        }
        self.set(key, members);
        Ok(())
    }

    /// Takes note that a member is empty in all documents of a table.
    pub(super) fn hollow(&mut self, keyspace: &Keyspace, nested: &Nested) {
        for (_, members) in self.documents.iter_mut().filter(|(key, _)| keyspace.gives(key)) {
            members.remove(&nested.json_name);
        }
    }

    /// Takes note of a change of the transaction: what waited for the row is in its document now, and of a
    /// table that was emptied nothing waits.
    pub(super) fn changed(&mut self, change: Change<'_>) {
        match change {
            Change::Put { key, body: Body::Holed(document), .. } if document.wants_waiting() => {
                self.remove(key);
            }
            Change::Truncate { prefix } => self.documents.retain(|key, _| !key.starts_with(prefix)),
            Change::Empty { keyspace } => self.documents.retain(|key, _| !keyspace.gives(key)),
            _ => {}
        }
    }

    /// A key under which something waits still.
    pub(super) fn first_left(&self) -> Option<&[u8]> {
        let mut left = self.documents.iter().filter(|(_, members)| !members.is_empty());
        left.next().map(|(key, _)| &key[..])
    }

    /// Takes note that nothing waits under a key any longer.
    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some(members) = self.documents.remove(key) {
            self.bytes -= bytes_of(key, &members);
        }
    }

    /// Begins another transaction.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn set(&mut self, key: &[u8], members: Members) {
        self.remove(key);
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

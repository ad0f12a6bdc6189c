//! Rows in the documents of others: each change of one is a change of the newest version of its
//! document, in its place in the stream.

use std::sync::Arc;

use super::{Flow, Output, Packer};
use crate::core::change::{Change, Slot, Splice};
use crate::core::mutation::{Mutation, is};
use crate::core::view::Newest;
use crate::core::waiting::members_of;
use crate::document::{Body, MissingColumn, element_of, emptied, member_of, splice};
use crate::error::Result;
use crate::mapping::{Keyspace, Nested};

/// Why a document is not known, mostly.
const LACKING: &str = "etcd does not have its row";

impl Packer {
    /// Makes a change of a row in the documents that it is and was in.
    pub(super) fn splice(&mut self, change: Splice<'_>, out: &mut Vec<Output>) -> Result<Flow> {
        let Splice { nested, new, old } = change;
        if Change::Splice(change).bases().any(|key| self.newest_parent(key) == Newest::InEtcd) {
            return Ok(Flow::Wait);
        }
        if let Some((slot, body)) = new {
            let mut filled = Vec::new();
            let was = old.filter(|old| old.key == slot.key).map(|old| old.identity);
            let flow = match self.fill_element(nested, body, old, &mut filled) {
                Ok(element) => self.put_element(nested, slot, element, was, out)?,
                Err(missing) => self.document_unknown(slot.key, &missing.to_string(), out)?,
            };
            if flow == Flow::Wait {
                return Ok(Flow::Wait);
            }
        }
        // This comes last: a change that has to wait is made anew, and finds the old element still there.
        let left = old.filter(|old| new.is_none_or(|(slot, _)| slot.key != old.key));
        if let Some(old) = left.filter(|_| !is(Mutation::MovedStays))
            && self.take_element(nested, old, out)? == Flow::Wait
        {
            return Ok(Flow::Wait);
        }
        if !is(Mutation::SpliceUnnoted) {
            self.note(Change::Splice(change));
        }
        Ok(Flow::Done)
    }

    /// Has what is nested in the document of a row that leaves its key wait for another row.
    pub(super) fn vacate(
        &mut self,
        key: &[u8],
        members: &[Arc<Nested>],
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
        let members = match self.newest_parent(key) {
            Newest::InEtcd => return Ok(Flow::Wait),
            Newest::Document(document) => members_of(document, members),
            // It has gone already.
            Newest::Absent if self.waiting.is_vacated(key) => return Ok(Flow::Done),
            // It was too large for a request, for example: what was nested in it is not known, whatever
            // has come to it since.
            Newest::Absent => {
                if self.document_unknown(key, LACKING, out)? == Flow::Wait {
                    return Ok(Flow::Wait);
                }
                members_of(b"{}", members)
            }
        };
        self.waiting.vacate(key, members);
        Ok(Flow::Done)
    }

    /// Empties a member of all documents of a table: of those that etcd has now, and of those that are on
    /// their way.
    pub(super) fn hollow(
        &mut self,
        keyspace: &Keyspace,
        nested: &Nested,
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
        self.waiting.hollow(keyspace, nested);
        let flow = self.each_key(keyspace, out, |packer, listing, key, out| {
            let mut document = Vec::new();
            match packer.newest(key) {
                Newest::InEtcd => {
                    let wanted = listing
                        .keys()
                        .filter(|key| keyspace.gives(key) && packer.newest(key) == Newest::InEtcd);
                    let wanted = wanted.take(packer.reading.most()).map(Vec::clone).collect();
                    packer.read_documents(wanted, out);
                    Ok(Flow::Wait)
                }
                Newest::Absent => Ok(Flow::Done),
                Newest::Document(newest) => {
                    let made = emptied(newest, nested, &mut document);
                    let made = made.map(|()| Some(document).filter(|made| made != newest));
                    packer.replace_document(key, made, out)
                }
            }
        })?;
        // Those that were too large may fit now.
        while let Some(key) = self.waiting.first_left_out(keyspace).map(<[u8]>::to_vec) {
            if flow == Flow::Wait
                || self.document_unknown(&key, "it was too large", out)? == Flow::Wait
            {
                return Ok(Flow::Wait);
            }
            self.waiting.changed(Change::Delete { key: &key });
        }
        if flow == Flow::Done {
            self.view.forget_below(keyspace.prefix());
            self.note(Change::Hollow { keyspace, nested });
        }
        Ok(flow)
    }

    /// At the commit nothing waits for a row, unless etcd lacks a document that the database has: then
    /// its table has to be compared.
    pub(super) fn settle_waiting(&mut self, out: &mut Vec<Output>) -> Result<Flow> {
        while let Some(key) = self.waiting.first_left().map(<[u8]>::to_vec) {
            let reason = "rows point to it, and etcd does not have its row";
            if self.document_unknown(&key, reason, out)? == Flow::Wait {
                return Ok(Flow::Wait);
            }
            self.waiting.remove(&key);
        }
        self.waiting.clear();
        Ok(Flow::Done)
    }

    /// The newest version of a document.
    pub(super) fn newest(&self, key: &[u8]) -> Newest<'_> {
        self.view.newest(&self.filling(), key)
    }

    /// The same of one with rows of others in it: where such rows wait for their document there is none.
    pub(super) fn newest_parent(&self, key: &[u8]) -> Newest<'_> {
        if self.waiting.has(key) { Newest::Absent } else { self.newest(key) }
    }

    /// An element with its holes filled from where it was.
    fn fill_element<'b>(
        &self,
        nested: &Nested,
        body: Body<'b>,
        old: Option<Slot<'_>>,
        filled: &'b mut Vec<u8>,
    ) -> std::result::Result<&'b [u8], MissingColumn> {
        let element = match body {
            Body::Whole(element) => return Ok(element),
            Body::Holed(element) => element,
        };
        let stored = old.and_then(|Slot { key, identity }| match self.newest_parent(key) {
            Newest::Document(document) => {
                element_of(member_of(document, nested)?, nested, identity)
            }
            Newest::Absent | Newest::InEtcd => self.waiting.element(key, nested, identity),
        });
        element.fill(stored.unwrap_or_default(), Nested::empty, filled)?;
        Ok(filled)
    }

    /// Puts an element in its place; the one that was there, of this identity, makes room for it.
    fn put_element(
        &mut self,
        nested: &Nested,
        Slot { key, identity }: Slot<'_>,
        element: &[u8],
        was: Option<&[u8]>,
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
        let replaced = was.filter(|was| *was != identity);
        let Newest::Document(document) = self.newest_parent(key) else {
            if self.waiting.is_left_out(key) {
                return self.document_unknown(key, "it was too large", out);
            }
            if was.is_some_and(|was| self.waiting.lacks(key, nested, was)) {
                return self.document_unknown(key, LACKING, out);
            }
            let spliced =
                [replaced.map(|identity| (identity, None)), Some((identity, Some(element)))];
            let mut spliced = spliced.into_iter().flatten();
            let spliced = spliced.try_for_each(|(identity, element)| {
                self.waiting.splice(key, nested, identity, element)
            });
            return match spliced {
                Ok(()) if !self.waiting.is_unknown(key) => Ok(Flow::Done),
                Ok(()) => self.document_unknown(key, "too many rows wait for it", out),
                Err(missing) => self.document_unknown(key, &missing.to_string(), out),
            };
        };
        let mut room = Vec::new();
        let base = match replaced {
            None => Ok(document),
            Some(replaced) => {
                splice(document, nested, replaced, None, &mut room).map(|()| &room[..])
            }
        };
        let mut new = Vec::new();
        let made = base.and_then(|base| splice(base, nested, identity, Some(element), &mut new));
        let made = made.map(|()| Some(new).filter(|made| made != document));
        self.replace_document(key, made, out)
    }

    /// Takes an element out.
    fn take_element(
        &mut self,
        nested: &Nested,
        Slot { key, identity }: Slot<'_>,
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
        let Newest::Document(document) = self.newest_parent(key) else {
            // Its row has not gone in this transaction: it was not there to begin with.
            if self.waiting.is_left_out(key) || self.waiting.lacks(key, nested, identity) {
                return self.document_unknown(key, LACKING, out);
            }
            if self.waiting.is_unknown(key) {
                return Ok(Flow::Done);
            }
            return match self.waiting.splice(key, nested, identity, None) {
                Ok(()) => Ok(Flow::Done),
                Err(missing) => self.document_unknown(key, &missing.to_string(), out),
            };
        };
        let mut new = Vec::new();
        let made = splice(document, nested, identity, None, &mut new);
        let made = made.map(|()| Some(new).filter(|made| made != document));
        self.replace_document(key, made, out)
    }

    /// Puts what was made of a document; nothing if that is as it was.
    fn replace_document(
        &mut self,
        key: &[u8],
        made: std::result::Result<Option<Vec<u8>>, MissingColumn>,
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
        let document = match made {
            Ok(None) => return Ok(Flow::Done),
            Ok(Some(document)) => document,
            Err(missing) => return self.document_unknown(key, &missing.to_string(), out),
        };
        let change = Change::Put { key, body: Body::Whole(&document), old_key: None };
        self.waiting.is_put(key);
        let flow = self.add(change, out)?;
        if flow == Flow::Done {
            self.view.changed(change);
        }
        Ok(flow)
    }

    /// Leaves a document as it is, since it is not known what it was: its table has to be compared.
    fn document_unknown(
        &mut self,
        key: &[u8],
        problem: &str,
        out: &mut Vec<Output>,
    ) -> Result<Flow> {
        let text = String::from_utf8_lossy(key);
        let reason = format!("a row changed that belongs into the document {text}, and {problem}");
        self.unknown(key, reason, out)
    }
}

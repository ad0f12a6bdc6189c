//! A change on its way from PostgreSQL to etcd, and the chunk in which changes travel.

use std::ops::Range;
use std::sync::Arc;

use crate::document::{Body, Hole};
use crate::lsn::Lsn;
use crate::mapping::{Keyspace, Nested};
use crate::position::Commit;

/// What becomes of one key, or of all keys of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The row is there now.
    Put {
        /// Its key in etcd.
        key: &'a [u8],
        /// Its value, or what is known of it.
        body: Body<'a>,
        /// The key that the row had before, where the update changed it; that key goes.
        old_key: Option<&'a [u8]>,
    },
    /// The row is gone.
    Delete {
        /// Its key in etcd.
        key: &'a [u8],
    },
    /// Every row of the table is gone, and every key that begins as its keys do.
    Truncate {
        /// What the keys of the table begin with.
        prefix: &'a [u8],
    },
    /// Every row of the table is gone, whose keys can stand among those of others.
    Empty {
        /// What its keys are.
        keyspace: &'a Keyspace,
    },
    /// The row leaves its key, by the change that follows. The rows of others in its document wait for
    /// the row that may come there.
    Vacate {
        /// Its key in etcd.
        key: &'a [u8],
        /// The members of its document that have those rows.
        members: &'a [Arc<Nested>],
    },
    /// A row came into the document of another, changed there, or left it.
    Splice(Splice<'a>),
    /// Every row of a table left the documents of another.
    Hollow {
        /// The keys of the documents.
        keyspace: &'a Keyspace,
        /// The member that had the rows.
        nested: &'a Nested,
    },
}

impl<'a> Change<'a> {
    /// The keys of the documents whose newest versions it needs.
    pub(super) fn bases(self) -> impl Iterator<Item = &'a [u8]> {
        let keys = match self {
            Change::Put { key, body: Body::Holed(document), old_key } => {
                [document.wants_stored().then_some(old_key.unwrap_or(key)), None]
            }
            Change::Vacate { key, .. } => [Some(key), None],
            Change::Splice(Splice { new, old, .. }) => {
                [new.map(|(slot, _)| slot.key), old.map(|slot| slot.key)]
            }
            _ => [None, None],
        };
        keys.into_iter().flatten()
    }
}

/// Where a row is in the documents of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splice<'a> {
    /// The member of the documents that has such rows.
    pub nested: &'a Nested,
    /// Where it is now, and what it is there; `None` if it is in none. What is missing in the body is in
    /// the old element.
    pub new: Option<(Slot<'a>, Body<'a>)>,
    /// Where it was, if that is known; it may be the same slot.
    pub old: Option<Slot<'a>>,
}

/// The place of a row in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot<'a> {
    /// The document's key in etcd.
    pub key: &'a [u8],
    /// What tells the element from others, as [`crate::document::splice`] takes it.
    pub identity: &'a [u8],
}

/// A part of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A transaction begins.
    Begin(Commit),
    /// A change of that transaction.
    Change(Change<'a>),
    /// The transaction is complete.
    End {
        /// The LSN behind its commit record: once the transaction is in etcd, so is all before this.
        end_lsn: Lsn,
    },
    /// The server has nothing to send up to this LSN.
    Keepalive {
        /// The LSN.
        wal_end: Lsn,
        /// Whether the server waits for an answer, as it does before it shuts down.
        reply_requested: bool,
    },
}

/// Events in a row, with the bytes of all of them in one buffer.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    holes: Vec<Hole>,
    events: Vec<Packed>,
}

/// An [`Event`] with places in the buffer instead of references.
#[derive(Debug)]
enum Packed {
    Begin(Commit),
    Put {
        key: Range<usize>,
        document: Range<usize>,
        holes: Range<usize>,
        old_key: Option<Range<usize>>,
    },
    Delete {
        key: Range<usize>,
    },
    Truncate {
        prefix: Range<usize>,
    },
    Empty {
        keyspace: Box<Keyspace>,
    },
    Vacate {
        key: Range<usize>,
        members: Arc<[Arc<Nested>]>,
    },
    Splice(Box<PackedSplice>),
    Hollow {
        keyspace: Box<Keyspace>,
        nested: Arc<Nested>,
    },
    End {
        end_lsn: Lsn,
    },
    Keepalive {
        wal_end: Lsn,
        reply_requested: bool,
    },
}

/// A [`Splice`] with places in the buffer.
#[derive(Debug)]
struct PackedSplice {
    nested: Arc<Nested>,
    new: Option<PackedElement>,
    old: Option<PackedSlot>,
}

#[derive(Debug)]
struct PackedSlot {
    key: Range<usize>,
    identity: Range<usize>,
}

#[derive(Debug)]
struct PackedElement {
    slot: PackedSlot,
    document: Range<usize>,
    holes: Range<usize>,
}

impl Chunk {
    /// The memory that the chunk takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
            + self.holes.len() * size_of::<Hole>()
            + self.events.len() * size_of::<Packed>()
    }

    /// Whether it ends between two transactions, with something in it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.events.last(), Some(Packed::End { .. } | Packed::Keepalive { .. }))
    }

    /// How many events it has.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.events.iter().map(|packed| self.unpack(packed))
    }

    /// The event at this place, from 0 on; `None` behind the last.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Event<'_>> {
        self.events.get(index).map(|packed| self.unpack(packed))
    }

    /// Adds the begin of a transaction.
    pub fn begin(&mut self, commit: Commit) {
        self.events.push(Packed::Begin(commit));
    }

    /// Adds the end of a transaction.
    pub fn end(&mut self, end_lsn: Lsn) {
        self.events.push(Packed::End { end_lsn });
    }

    /// Adds a keepalive.
    pub fn keepalive(&mut self, wal_end: Lsn, reply_requested: bool) {
        self.events.push(Packed::Keepalive { wal_end, reply_requested });
    }

    /// Adds a row; the functions write its key, its document and the key that it had before
    /// straight into the buffer. The old key is dropped if it is the same.
    pub fn put(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>),
        document: impl FnOnce(&mut Vec<u8>, &mut Vec<Hole>),
        old_key: Option<impl FnOnce(&mut Vec<u8>)>,
    ) {
        let key = self.write(key);
        let old_key = old_key.map(|old_key| self.write(old_key));
        let old_key = old_key.filter(|old| self.bytes[old.clone()] != self.bytes[key.clone()]);
        let first_hole = self.holes.len();
        let start = self.bytes.len();
        document(&mut self.bytes, &mut self.holes);
        let (document, holes) = (start..self.bytes.len(), first_hole..self.holes.len());
        self.events.push(Packed::Put { key, document, holes, old_key });
    }

    /// Adds the end of a row.
    pub fn delete(&mut self, key: impl FnOnce(&mut Vec<u8>)) {
        let key = self.write(key);
        self.events.push(Packed::Delete { key });
    }

    /// Adds the end of all rows of a table.
    pub fn truncate(&mut self, prefix: &[u8]) {
        let prefix = self.write(|bytes| bytes.extend_from_slice(prefix));
        self.events.push(Packed::Truncate { prefix });
    }

    /// Adds the end of all rows that have keys in a keyspace.
    pub fn empty(&mut self, keyspace: &Keyspace) {
        match keyspace.is_whole() {
            true => self.truncate(keyspace.prefix()),
            false => self.events.push(Packed::Empty { keyspace: Box::new(keyspace.clone()) }),
        }
    }

    /// Adds that a row leaves its key.
    pub fn vacate(&mut self, key: impl FnOnce(&mut Vec<u8>), members: Arc<[Arc<Nested>]>) {
        let key = self.write(key);
        self.events.push(Packed::Vacate { key, members });
    }

    /// Adds a row in the documents of others: where it is now, if in any, with a function that writes what
    /// it is there, and where it was.
    pub fn splice(
        &mut self,
        nested: &Arc<Nested>,
        new: Option<(Slot<'_>, impl FnOnce(&mut Vec<u8>, &mut Vec<Hole>))>,
        old: Option<Slot<'_>>,
    ) {
        let old = old.map(|slot| self.write_slot(slot));
        let new = new.map(|(slot, element)| {
            let slot = self.write_slot(slot);
            let (start, first_hole) = (self.bytes.len(), self.holes.len());
            element(&mut self.bytes, &mut self.holes);
            let (document, holes) = (start..self.bytes.len(), first_hole..self.holes.len());
            PackedElement { slot, document, holes }
        });
        let nested = Arc::clone(nested);
        self.events.push(Packed::Splice(Box::new(PackedSplice { nested, new, old })));
    }

    /// Adds that all rows of a table left the documents of another.
    pub fn hollow(&mut self, keyspace: &Keyspace, nested: &Arc<Nested>) {
        let (keyspace, nested) = (Box::new(keyspace.clone()), Arc::clone(nested));
        self.events.push(Packed::Hollow { keyspace, nested });
    }

    fn write_slot(&mut self, Slot { key, identity }: Slot<'_>) -> PackedSlot {
        let key = self.write(|out| out.extend_from_slice(key));
        PackedSlot { key, identity: self.write(|out| out.extend_from_slice(identity)) }
    }

    fn write(&mut self, writer: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.bytes.len();
        writer(&mut self.bytes);
        start..self.bytes.len()
    }

    fn unpack<'c>(&'c self, packed: &'c Packed) -> Event<'c> {
        let bytes = |range: &Range<usize>| &self.bytes[range.clone()];
        let slot = |PackedSlot { key, identity }: &PackedSlot| Slot {
            key: bytes(key),
            identity: bytes(identity),
        };
        let element = |PackedElement { slot: place, document, holes }: &PackedElement| {
            (slot(place), Body::new(bytes(document), &self.holes[holes.clone()]))
        };
        match packed {
            Packed::Begin(commit) => Event::Begin(*commit),
            Packed::Put { key, document, holes, old_key } => Event::Change(Change::Put {
                key: bytes(key),
                body: Body::new(bytes(document), &self.holes[holes.clone()]),
                old_key: old_key.as_ref().map(bytes),
            }),
            Packed::Delete { key } => Event::Change(Change::Delete { key: bytes(key) }),
            Packed::Truncate { prefix } => {
                Event::Change(Change::Truncate { prefix: bytes(prefix) })
            }
            Packed::Empty { keyspace } => Event::Change(Change::Empty { keyspace }),
            Packed::Vacate { key, members } => {
                Event::Change(Change::Vacate { key: bytes(key), members })
            }
            Packed::Splice(splice) => Event::Change(Change::Splice(Splice {
                nested: &splice.nested,
                new: splice.new.as_ref().map(element),
                old: splice.old.as_ref().map(slot),
            })),
            Packed::Hollow { keyspace, nested } => {
                Event::Change(Change::Hollow { keyspace, nested })
            }
            Packed::End { end_lsn } => Event::End { end_lsn: *end_lsn },
            Packed::Keepalive { wal_end, reply_requested } => {
                Event::Keepalive { wal_end: *wal_end, reply_requested: *reply_requested }
            }
        }
    }
}

//! A change on its way from PostgreSQL to etcd, and the chunk in which changes travel.

use std::ops::Range;

use crate::document::{Body, Hole};
use crate::lsn::Lsn;
use crate::mapping::Keyspace;
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
    End {
        end_lsn: Lsn,
    },
    Keepalive {
        wal_end: Lsn,
        reply_requested: bool,
    },
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

    fn write(&mut self, writer: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.bytes.len();
        writer(&mut self.bytes);
        start..self.bytes.len()
    }

    fn unpack<'c>(&'c self, packed: &'c Packed) -> Event<'c> {
        let bytes = |range: &Range<usize>| &self.bytes[range.clone()];
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
            Packed::End { end_lsn } => Event::End { end_lsn: *end_lsn },
            Packed::Keepalive { wal_end, reply_requested } => {
                Event::Keepalive { wal_end: *wal_end, reply_requested: *reply_requested }
            }
        }
    }
}

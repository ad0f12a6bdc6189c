//! A change on its way from PostgreSQL to etcd, and the chunk in which changes travel.

use std::ops::Range;

use crate::lsn::Lsn;

/// A column's value in one row, as PostgreSQL's output function prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// The text.
    Text(&'a [u8]),
    /// A TOASTed value that an update left as it was, and that the server did not send.
    UnchangedToast,
}

/// What becomes of one key, or of all keys of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The row is there now.
    Put {
        /// Its key in etcd.
        key: &'a [u8],
        /// Its value, maybe with holes (see [`crate::document::fill`]).
        document: &'a [u8],
        /// The key that the row had before, where the update changed it; that key goes.
        old_key: Option<&'a [u8]>,
    },
    /// The row is gone.
    Delete {
        /// Its key in etcd.
        key: &'a [u8],
    },
    /// Every row of the table is gone.
    Truncate {
        /// What the keys of the table begin with.
        prefix: &'a [u8],
    },
}

/// A part of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A transaction begins.
    Begin {
        /// The LSN of its commit record.
        final_lsn: Lsn,
    },
    /// A change of that transaction.
    Change(Change<'a>),
    /// The transaction is complete.
    Commit(Position),
    /// The server has nothing to send up to this LSN.
    Keepalive {
        /// The LSN.
        wal_end: Lsn,
        /// Whether the server waits for an answer, as it does before it shuts down.
        reply_requested: bool,
    },
}

/// A place in the stream at which etcd can be consistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// All that committed up to here is in etcd.
    pub lsn: Lsn,
    /// When the last transaction up to here committed, in microseconds since 2000-01-01 UTC.
    pub committed_at: i64,
}

/// Events in a row, with the bytes of all of them in one buffer.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    events: Vec<Packed>,
}

/// An [`Event`] with places in the buffer instead of references.
#[derive(Debug)]
enum Packed {
    Begin { final_lsn: Lsn },
    Put { key: Range<usize>, document: Range<usize>, old_key: Option<Range<usize>> },
    Delete { key: Range<usize> },
    Truncate { prefix: Range<usize> },
    Commit(Position),
    Keepalive { wal_end: Lsn, reply_requested: bool },
}

impl Chunk {
    /// The memory that the chunk takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + self.events.len() * size_of::<Packed>()
    }

    /// Whether it ends between two transactions, with something in it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.events.last(), Some(Packed::Commit(_) | Packed::Keepalive { .. }))
    }

    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.events.iter().map(|packed| self.unpack(packed))
    }

    /// Adds the begin of a transaction.
    pub fn begin(&mut self, final_lsn: Lsn) {
        self.events.push(Packed::Begin { final_lsn });
    }

    /// Adds the end of a transaction.
    pub fn commit(&mut self, position: Position) {
        self.events.push(Packed::Commit(position));
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
        document: impl FnOnce(&mut Vec<u8>),
        old_key: Option<impl FnOnce(&mut Vec<u8>)>,
    ) {
        let key = self.write(key);
        let old_key = old_key.map(|old_key| self.write(old_key));
        let old_key = old_key.filter(|old| self.bytes[old.clone()] != self.bytes[key.clone()]);
        let document = self.write(document);
        self.events.push(Packed::Put { key, document, old_key });
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

    fn write(&mut self, writer: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.bytes.len();
        writer(&mut self.bytes);
        start..self.bytes.len()
    }

    fn unpack(&self, packed: &Packed) -> Event<'_> {
        let bytes = |range: &Range<usize>| &self.bytes[range.clone()];
        match packed {
            Packed::Begin { final_lsn } => Event::Begin { final_lsn: *final_lsn },
            Packed::Put { key, document, old_key } => Event::Change(Change::Put {
                key: bytes(key),
                document: bytes(document),
                old_key: old_key.as_ref().map(bytes),
            }),
            Packed::Delete { key } => Event::Change(Change::Delete { key: bytes(key) }),
            Packed::Truncate { prefix } => {
                Event::Change(Change::Truncate { prefix: bytes(prefix) })
            }
            Packed::Commit(position) => Event::Commit(*position),
            Packed::Keepalive { wal_end, reply_requested } => {
                Event::Keepalive { wal_end: *wal_end, reply_requested: *reply_requested }
            }
        }
    }
}

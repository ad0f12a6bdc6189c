//! From bytes to messages, with every length checked.

use std::fmt;

use super::message::{Message, OldTuple, Tuple};
use super::relation::{Column, Relation, ReplicaIdentity};
use crate::cell::Cell;
use crate::lsn::Lsn;
use crate::time::PgTime;

/// Decodes one message, which must be all of `bytes`.
///
/// # Errors
/// When the bytes are no message of protocol version 1; bytes left over are an error too.
pub(crate) fn decode(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut cursor = Cursor { bytes, at: 0 };
    let message = match cursor.u8("a message type")? {
        b'B' => Message::Begin {
            final_lsn: cursor.lsn("the final LSN")?,
            commit_time: PgTime(cursor.i64("the commit time")?),
            xid: cursor.u32("the transaction id")?,
        },
        b'C' => commit(&mut cursor)?,
        b'O' => Message::Origin {
            commit_lsn: cursor.lsn("the origin's LSN")?,
            name: cursor.text("the origin's name")?,
        },
        b'R' => Message::Relation(relation(&mut cursor)?),
        b'Y' => Message::Type {
            oid: cursor.u32("the type's OID")?,
            schema: cursor.name("the type's schema")?,
            name: cursor.name("the type's name")?,
        },
        b'I' => Message::Insert {
            relation: cursor.u32("the relation's OID")?,
            new: new_tuple(&mut cursor)?,
        },
        b'U' => update(&mut cursor)?,
        b'D' => Message::Delete {
            relation: cursor.u32("the relation's OID")?,
            old: old_tuple(&mut cursor)?.ok_or(cursor.wrong("an old tuple"))?,
        },
        b'T' => truncate(&mut cursor)?,
        b'M' => logical_message(&mut cursor)?,
        _ => return Err(DecodeError { at: 0, expected: "a known message type" }),
    };
    if cursor.at < bytes.len() {
        return Err(cursor.wrong("the end of the message"));
    }
    Ok(message)
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecodeError {
    /// The offset in the message.
    pub at: usize,
    /// What should stand there.
    pub expected: &'static str,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pgoutput message: expected {} at byte {}", self.expected, self.at)
    }
}

impl std::error::Error for DecodeError {}

fn commit<'a>(cursor: &mut Cursor<'a>) -> Result<Message<'a>, DecodeError> {
    // The flags are not in use.
    cursor.u8("the commit's flags")?;
    Ok(Message::Commit {
        commit_lsn: cursor.lsn("the commit's LSN")?,
        commit_end_lsn: cursor.lsn("the commit's end LSN")?,
        commit_time: PgTime(cursor.i64("the commit time")?),
    })
}

fn relation(cursor: &mut Cursor<'_>) -> Result<Relation, DecodeError> {
    let oid = cursor.u32("the relation's OID")?;
    let schema = cursor.name("the relation's schema")?;
    let name = cursor.name("the relation's name")?;
    let replica_identity = match cursor.u8("the replica identity")? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        _ => return Err(cursor.wrong_before("a replica identity")),
    };
    let count = cursor.u16("the number of columns")?;
    let columns = (0..count).map(|_| column(cursor)).collect::<Result<_, _>>()?;
    Ok(Relation { oid, schema, name, replica_identity, columns })
}

fn column(cursor: &mut Cursor<'_>) -> Result<Column, DecodeError> {
    Ok(Column {
        identity: cursor.u8("the column's flags")? & 1 != 0,
        name: cursor.name("the column's name")?,
        type_oid: cursor.u32("the column's type")?,
        type_modifier: cursor.u32("the column's type modifier")?.cast_signed(),
    })
}

fn update<'a>(cursor: &mut Cursor<'a>) -> Result<Message<'a>, DecodeError> {
    Ok(Message::Update {
        relation: cursor.u32("the relation's OID")?,
        old: old_tuple(cursor)?,
        new: new_tuple(cursor)?,
    })
}

fn new_tuple<'a>(cursor: &mut Cursor<'a>) -> Result<Tuple<'a>, DecodeError> {
    match cursor.u8("a new tuple")? {
        b'N' => tuple(cursor),
        _ => Err(cursor.wrong_before("a new tuple")),
    }
}

/// The old tuple, if one stands here.
fn old_tuple<'a>(cursor: &mut Cursor<'a>) -> Result<Option<OldTuple<'a>>, DecodeError> {
    let variant = match cursor.bytes.get(cursor.at) {
        Some(b'K') => OldTuple::Key,
        Some(b'O') => OldTuple::Full,
        _ => return Ok(None),
    };
    cursor.at += 1;
    tuple(cursor).map(variant).map(Some)
}

fn tuple<'a>(cursor: &mut Cursor<'a>) -> Result<Tuple<'a>, DecodeError> {
    let count = cursor.u16("the number of columns")?;
    let mut cells = Vec::with_capacity(count.into());
    for _ in 0..count {
        cells.push(match cursor.u8("a column")? {
            b'n' => Cell::Null,
            b'u' => Cell::UnchangedToast,
            b't' => Cell::Text(cursor.counted("a column's value")?),
            // Values come in binary only where a client asks for them, which this one does not.
            _ => return Err(cursor.wrong_before("a column kind")),
        });
    }
    Ok(cells)
}

fn truncate<'a>(cursor: &mut Cursor<'a>) -> Result<Message<'a>, DecodeError> {
    let count = cursor.u32("the number of relations")?;
    let options = cursor.u8("the truncate options")?;
    let relations = (0..count).map(|_| cursor.u32("a relation's OID")).collect::<Result<_, _>>()?;
    Ok(Message::Truncate {
        relations,
        cascade: options & 1 != 0,
        restart_identity: options & 2 != 0,
    })
}

fn logical_message<'a>(cursor: &mut Cursor<'a>) -> Result<Message<'a>, DecodeError> {
    Ok(Message::Logical {
        transactional: cursor.u8("the message's flags")? & 1 != 0,
        lsn: cursor.lsn("the message's LSN")?,
        prefix: cursor.text("the message's prefix")?,
        content: cursor.counted("the message's content")?,
    })
}

/// A place in the bytes; each step forward is checked.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(length).ok_or(self.wrong(expected))?;
        let taken = self.bytes.get(self.at..end).ok_or(self.wrong(expected))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], DecodeError> {
        let at = self.at;
        self.take(N, expected)?.try_into().map_err(|_| DecodeError { at, expected })
    }

    fn u8(&mut self, expected: &'static str) -> Result<u8, DecodeError> {
        self.array(expected).map(|[byte]| byte)
    }

    fn u16(&mut self, expected: &'static str) -> Result<u16, DecodeError> {
        self.array(expected).map(u16::from_be_bytes)
    }

    fn u32(&mut self, expected: &'static str) -> Result<u32, DecodeError> {
        self.array(expected).map(u32::from_be_bytes)
    }

    fn i64(&mut self, expected: &'static str) -> Result<i64, DecodeError> {
        self.array(expected).map(i64::from_be_bytes)
    }

    fn lsn(&mut self, expected: &'static str) -> Result<Lsn, DecodeError> {
        self.array(expected).map(u64::from_be_bytes).map(Lsn)
    }

    /// Bytes after their number.
    fn counted(&mut self, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.u32(expected)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX), expected)
    }

    /// A text that a zero byte ends.
    fn text(&mut self, expected: &'static str) -> Result<&'a str, DecodeError> {
        let at = self.at;
        let text = self.until_zero(expected)?;
        std::str::from_utf8(text).map_err(|_| DecodeError { at, expected })
    }

    /// A name, which in a SQL_ASCII database may be no UTF-8.
    fn name(&mut self, expected: &'static str) -> Result<String, DecodeError> {
        Ok(String::from_utf8_lossy(self.until_zero(expected)?).into_owned())
    }

    fn until_zero(&mut self, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        let length = memchr::memchr(0, rest).ok_or(self.wrong(expected))?;
        self.at += length + 1;
        Ok(&rest[..length])
    }

    fn wrong(&self, expected: &'static str) -> DecodeError {
        DecodeError { at: self.at, expected }
    }

    /// The byte just read is not what should stand there.
    fn wrong_before(&self, expected: &'static str) -> DecodeError {
        DecodeError { at: self.at.saturating_sub(1), expected }
    }
}

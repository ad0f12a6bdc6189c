//! From bytes to messages, with every length checked.

use std::fmt;

use super::message::{Message, OldTuple, Tuple};
use super::relation::{Column, Relation, ReplicaIdentity};
use crate::change::Cell;
use crate::lsn::Lsn;

/// Decodes one message, which must be all of `bytes`.
///
/// # Errors
/// When the bytes are no message of protocol version 1; bytes left over are an error too.
pub fn decode(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut cursor = Cursor { bytes, at: 0 };
    let message = match cursor.u8("a message type")? {
        b'B' => Message::Begin {
            final_lsn: cursor.lsn("the final LSN")?,
            commit_time: cursor.i64("the commit time")?,
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
            schema: cursor.text("the type's schema")?,
            name: cursor.text("the type's name")?,
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
pub struct DecodeError {
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
        commit_time: cursor.i64("the commit time")?,
    })
}

fn relation(cursor: &mut Cursor<'_>) -> Result<Relation, DecodeError> {
    let oid = cursor.u32("the relation's OID")?;
    let schema = cursor.text("the relation's schema")?.to_owned();
    let name = cursor.text("the relation's name")?.to_owned();
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
        name: cursor.text("the column's name")?.to_owned(),
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
    Ok(Message::Message {
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
        let rest = &self.bytes[self.at..];
        let length = memchr::memchr(0, rest).ok_or(self.wrong(expected))?;
        let text = std::str::from_utf8(&rest[..length]).map_err(|_| self.wrong(expected))?;
        self.at += length + 1;
        Ok(text)
    }

    fn wrong(&self, expected: &'static str) -> DecodeError {
        DecodeError { at: self.at, expected }
    }

    /// The byte just read is not what should stand there.
    fn wrong_before(&self, expected: &'static str) -> DecodeError {
        DecodeError { at: self.at.saturating_sub(1), expected }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Puts a message together the way the server does.
    #[derive(Default)]
    struct Bytes(Vec<u8>);

    impl Bytes {
        fn of(kind: u8) -> Self {
            Self(vec![kind])
        }
        fn u8(mut self, value: u8) -> Self {
            self.0.push(value);
            self
        }
        fn u16(mut self, value: u16) -> Self {
            self.0.extend(value.to_be_bytes());
            self
        }
        fn u32(mut self, value: u32) -> Self {
            self.0.extend(value.to_be_bytes());
            self
        }
        fn u64(mut self, value: u64) -> Self {
            self.0.extend(value.to_be_bytes());
            self
        }
        fn text(mut self, value: &str) -> Self {
            self.0.extend(value.bytes().chain([0]));
            self
        }
        fn tuple(mut self, cells: &[Cell<'_>]) -> Self {
            self = self.u16(u16::try_from(cells.len()).expect("few cells"));
            for cell in cells {
                self = match cell {
                    Cell::Null => self.u8(b'n'),
                    Cell::UnchangedToast => self.u8(b'u'),
                    Cell::Text(text) => {
                        let mut filled =
                            self.u8(b't').u32(u32::try_from(text.len()).expect("short"));
                        filled.0.extend_from_slice(text);
                        filled
                    }
                };
            }
            self
        }
    }

    const ROW: [Cell<'static>; 3] = [Cell::Text(b"1"), Cell::Null, Cell::UnchangedToast];

    fn every_message() -> Vec<(Bytes, Message<'static>)> {
        let column = |identity, name: &str, type_oid, type_modifier| Column {
            identity,
            name: name.to_owned(),
            type_oid,
            type_modifier,
        };
        vec![
            (
                Bytes::of(b'B').u64(0x10).u64(7).u32(9),
                Message::Begin { final_lsn: Lsn(0x10), commit_time: 7, xid: 9 },
            ),
            (
                Bytes::of(b'C').u8(0).u64(0x10).u64(0x20).u64(7),
                Message::Commit {
                    commit_lsn: Lsn(0x10),
                    commit_end_lsn: Lsn(0x20),
                    commit_time: 7,
                },
            ),
            (
                Bytes::of(b'O').u64(0x10).text("there"),
                Message::Origin { commit_lsn: Lsn(0x10), name: "there" },
            ),
            (
                Bytes::of(b'R')
                    .u32(5)
                    .text("s")
                    .text("t")
                    .u8(b'i')
                    .u16(2)
                    .u8(1)
                    .text("a")
                    .u32(23)
                    .u32(u32::MAX)
                    .u8(0)
                    .text("b")
                    .u32(1043)
                    .u32(14),
                Message::Relation(Relation {
                    oid: 5,
                    schema: "s".to_owned(),
                    name: "t".to_owned(),
                    replica_identity: ReplicaIdentity::Index,
                    columns: vec![column(true, "a", 23, -1), column(false, "b", 1043, 14)],
                }),
            ),
            (
                Bytes::of(b'Y').u32(5).text("").text("mood"),
                Message::Type { oid: 5, schema: "", name: "mood" },
            ),
            (
                Bytes::of(b'I').u32(5).u8(b'N').tuple(&ROW),
                Message::Insert { relation: 5, new: ROW.to_vec() },
            ),
            (
                Bytes::of(b'U').u32(5).u8(b'N').tuple(&ROW),
                Message::Update { relation: 5, old: None, new: ROW.to_vec() },
            ),
            (
                Bytes::of(b'U').u32(5).u8(b'K').tuple(&ROW).u8(b'N').tuple(&ROW),
                Message::Update {
                    relation: 5,
                    old: Some(OldTuple::Key(ROW.to_vec())),
                    new: ROW.to_vec(),
                },
            ),
            (
                Bytes::of(b'D').u32(5).u8(b'O').tuple(&ROW),
                Message::Delete { relation: 5, old: OldTuple::Full(ROW.to_vec()) },
            ),
            (
                Bytes::of(b'T').u32(2).u8(3).u32(5).u32(6),
                Message::Truncate { relations: vec![5, 6], cascade: true, restart_identity: true },
            ),
            (
                Bytes::of(b'M').u8(1).u64(0x10).text("p").u32(2).u8(8).u8(9),
                Message::Message {
                    transactional: true,
                    lsn: Lsn(0x10),
                    prefix: "p",
                    content: &[8, 9],
                },
            ),
        ]
    }

    #[test]
    fn every_message_is_read() {
        for (bytes, message) in every_message() {
            assert_eq!(decode(&bytes.0), Ok(message));
        }
    }

    #[test]
    fn a_message_cut_short_or_with_bytes_left_over_is_an_error() {
        for (bytes, message) in every_message() {
            for length in 0..bytes.0.len() {
                assert!(decode(&bytes.0[..length]).is_err(), "{message:?} cut to {length}");
            }
            let error = DecodeError { at: bytes.0.len(), expected: "the end of the message" };
            assert_eq!(decode(&bytes.u8(0).0), Err(error), "{message:?}");
        }
    }

    #[test]
    fn what_the_protocol_does_not_have_is_named() {
        for (bytes, expected) in [
            (Bytes::of(b'X'), "a known message type"),
            (Bytes::of(b'I').u32(5).u8(b'K').u16(0), "a new tuple"),
            (Bytes::of(b'D').u32(5).u8(b'N').u16(0), "an old tuple"),
            (Bytes::of(b'I').u32(5).u8(b'N').u16(1).u8(b'b').u32(0), "a column kind"),
            (Bytes::of(b'I').u32(5).u8(b'N').u16(1).u8(b't').u32(u32::MAX), "a column's value"),
            (Bytes::of(b'T').u32(u32::MAX).u8(0), "a relation's OID"),
        ] {
            assert_eq!(decode(&bytes.0).map_err(|error| error.expected), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            kind in prop::sample::select(b"BCORYIUDTM".as_slice()),
            rest in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut bytes = vec![kind];
            bytes.extend(rest);
            let _ = decode(&bytes);
        }

        #[test]
        fn a_byte_changed_in_a_message_does_not_panic(
            which in any::<prop::sample::Index>(),
            place in any::<prop::sample::Index>(),
            byte: u8,
        ) {
            let mut bytes = which.get(&every_message()).0.0.clone();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let _ = decode(&bytes);
        }
    }
}

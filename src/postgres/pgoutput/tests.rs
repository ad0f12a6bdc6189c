//! Every message kind, put together as the server does, and bytes that are none.

use proptest::prelude::*;

use super::decode::{DecodeError, decode};
use super::message::{Message, OldTuple};
use super::relation::{Column, Relation, ReplicaIdentity};
use crate::cell::Cell;
use crate::lsn::Lsn;
use crate::time::PgTime;

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
                    let mut filled = self.u8(b't').u32(u32::try_from(text.len()).expect("short"));
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
            Message::Begin { final_lsn: Lsn(0x10), commit_time: PgTime(7), xid: 9 },
        ),
        (
            Bytes::of(b'C').u8(0).u64(0x10).u64(0x20).u64(7),
            Message::Commit {
                commit_lsn: Lsn(0x10),
                commit_end_lsn: Lsn(0x20),
                commit_time: PgTime(7),
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
            Message::Type { oid: 5, schema: String::new(), name: "mood".to_owned() },
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
            Message::Logical { transactional: true, lsn: Lsn(0x10), prefix: "p", content: &[8, 9] },
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

//! From pgoutput's messages to keys and documents, as far as it goes without a server.

use std::collections::HashMap;

use super::assert_json;
use crate::cell::Cell;
use crate::core::change::{Change, Chunk, Event};
use crate::document::{Body, Kind, Table, TableColumn};
use crate::position::Commit;
use crate::postgres::pgoutput::{Message, OldTuple, Relation, Tuple, decode};

/// Messages one after the other, each behind its length in two bytes: what comes out are keys
/// below their table, and documents that are JSON once their holes are filled.
pub fn pgoutput(input: &[u8]) {
    let mut tables = HashMap::new();
    let mut chunk = Chunk::default();
    let mut rest = input;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (message, next) = after.split_at(length);
        rest = next;
        match decode(message) {
            Ok(message) => translate(message, &mut tables, &mut chunk),
            Err(error) => assert!(error.at <= message.len(), "{error}"),
        }
    }
    let mut stored: Vec<u8> = b"{}".to_vec();
    for event in chunk.events() {
        if let Event::Change(Change::Put { key, body, old_key }) = event {
            assert!(
                key.starts_with(b"/fuzz/") && old_key.is_none_or(|old| old.starts_with(b"/fuzz/"))
            );
            let mut whole = Vec::new();
            let filled = match body {
                Body::Whole(document) => {
                    whole.extend_from_slice(document);
                    true
                }
                Body::Holed(document) => document.fill(&stored, &mut whole).is_ok(),
            };
            if filled {
                assert_json(&whole);
                stored = whole;
            }
        }
    }
}

fn translate(message: Message<'_>, tables: &mut HashMap<u32, Table>, chunk: &mut Chunk) {
    match message {
        Message::Begin { final_lsn, commit_time, xid } => {
            chunk.begin(Commit { lsn: final_lsn, xid, time: commit_time });
        }
        Message::Commit { commit_end_lsn, .. } => chunk.end(commit_end_lsn),
        Message::Relation(relation) => {
            let oid = relation.oid;
            tables.extend(described(relation).map(|table| (oid, table)));
        }
        Message::Insert { relation, new } => put(tables.get(&relation), None, &new, chunk),
        Message::Update { relation, old, new } => {
            put(tables.get(&relation), old.as_ref(), &new, chunk);
        }
        Message::Delete { relation, old } => {
            if let Some(table) = tables.get(&relation) {
                chunk.delete(|out| table.write_key(old.cells(), None, out));
            }
        }
        Message::Truncate { relations, .. } => {
            for table in relations.iter().filter_map(|relation| tables.get(relation)) {
                chunk.truncate(&table.prefix);
            }
        }
        Message::Type { .. } | Message::Origin { .. } | Message::Logical { .. } => {}
    }
}

/// The table as the catalog would describe it, were each type that is not built in an array.
fn described(relation: Relation) -> Option<Table> {
    let key = relation.columns.iter().filter(|column| column.identity);
    let key: Vec<_> = key.map(|column| column.name.clone()).collect();
    let columns = relation.columns.into_iter().map(|column| {
        let kind = match Kind::of_builtin(column.type_oid) {
            // The server's own JSON is passed on as it is.
            Some(Kind::Json) => Kind::Text,
            Some(kind) => kind,
            None => Kind::Array { element: Box::new(Kind::Text), delimiter: b',' },
        };
        TableColumn { name: column.name, kind }
    });
    Table::new("fuzz", &relation.schema, &relation.name, columns.collect(), &key)
}

fn put(table: Option<&Table>, old: Option<&OldTuple<'_>>, new: &Tuple<'_>, chunk: &mut Chunk) {
    let Some(table) = table.filter(|table| table.width() == new.len()) else { return };
    let whole: Option<&[Cell<'_>]> = match old {
        Some(OldTuple::Full(cells)) => Some(cells),
        _ => None,
    };
    let old = old.map(OldTuple::cells);
    chunk.put(
        |out| table.write_key(new, old, out),
        |out, holes| table.write_document(new, whole, out, holes),
        old.map(|old| move |out: &mut Vec<u8>| table.write_key(old, None, out)),
    );
}

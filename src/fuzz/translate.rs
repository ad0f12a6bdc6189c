//! From pgoutput's messages to keys and documents, as far as it goes without a server.

use std::collections::BTreeMap;

use super::assert_json;
use crate::core::change::{Change, Chunk, Event};
use crate::document::{Body, Casts};
use crate::kind::Kind;
use crate::mapping::{Nested, Shapes};
use crate::postgres::TableFacts;
use crate::postgres::pgoutput::{Message, decode};
use crate::translate::{Need, Tables, translate};

/// Messages one after the other, each behind its length in two bytes: what comes out are keys
/// below their table, and documents that are JSON once their holes are filled.
pub fn pgoutput(input: &[u8]) {
    let (mut tables, mut casts) =
        (Tables::new(Shapes::new("fuzz", BTreeMap::new())), Casts::default());
    let mut chunk = Chunk::default();
    let mut rest = input;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (message, next) = after.split_at(length);
        rest = next;
        match decode(message) {
            Ok(message) => add(&message, &mut tables, &mut casts, &mut chunk),
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
                Body::Holed(document) => document.fill(&stored, Nested::empty, &mut whole).is_ok(),
            };
            if filled {
                assert_json(&whole);
                stored = whole;
            }
        }
    }
}

/// As the thread that receives does, with a catalog that knows each type that is not built in as an
/// array of a type that needs casts.
fn add(message: &Message<'_>, tables: &mut Tables, casts: &mut Casts, chunk: &mut Chunk) {
    loop {
        let Ok(need) = translate(message, tables, casts, chunk) else { return };
        match need {
            Need::Nothing | Need::Compare(_) => return,
            Need::Description(oid) => {
                let kinds = tables.column_types(oid).into_iter().map(|oid| (oid, kind(oid)));
                let kinds = kinds.collect();
                // The key is what the stream says it is.
                let facts = TableFacts { kinds, ..TableFacts::default() };
                drop(tables.describe(oid, &facts));
            }
            Need::Casts => {
                for (type_oid, texts) in casts.take_wanted() {
                    for text in texts {
                        let json = text.is_ascii().then(|| b"{}".to_vec());
                        casts.learn(type_oid, text, json);
                    }
                }
            }
        }
    }
}

fn kind(oid: u32) -> Kind {
    match Kind::of_builtin(oid) {
        // The server's own JSON is passed on as it is.
        Some(Kind::Json) => Kind::Text,
        Some(kind) => kind,
        None => Kind::Array { element: Box::new(Kind::Cast { type_oid: oid }), delimiter: b',' },
    }
}

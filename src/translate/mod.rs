//! From the stream's messages to changes, without a server: what has to be asked of one comes back
//! as a [`Need`].

mod nesting;
mod tables;

use self::nesting::Clarity;
use self::tables::Described;
pub(crate) use self::tables::{Description, Tables};
use crate::cell::Cell;
use crate::core::change::Chunk;
use crate::document::{
    Body, Casts, KeyOf, Presence, Row, RowKey, left_out, want_casts, write_document,
    write_unchanged,
};
use crate::error::Result;
use crate::mapping::{Output, Plan};
use crate::position::Commit;
use crate::postgres::pgoutput::{Message, OldTuple};
use crate::table_name::TableName;
use crate::valid_text::{repaired, with_repaired};

/// What is needed before the stream can go on, or beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: the message is translated.
    Nothing,
    /// What the catalog says of this table, for [`Tables::describe`]. Nothing is translated: the
    /// message has to come again.
    Description(u32),
    /// The values that the casts want. Nothing is translated: the message has to come again, behind
    /// those that came before it.
    Casts,
    /// A compare of this table. The message is translated, but for what it leaves open: which row
    /// changed, or what the row's key was.
    Compare(u32),
}

/// Adds what a message says to a chunk.
///
/// A message that needs a cast notes it in `casts`. As long as values are wanted there, messages
/// come back, and note what they want in turn: so one question to the server serves many of them.
///
/// # Errors
/// [`Error::PostgresProtocol`] for a message that cannot follow those before it.
pub(crate) fn translate(
    message: &Message<'_>,
    tables: &mut Tables,
    casts: &mut Casts,
    chunk: &mut Chunk,
) -> Result<Need> {
    match message {
        Message::Insert { relation, new } => {
            put(*relation, Before::Nothing, new, tables, casts, chunk)
        }
        Message::Update { relation, old, new } => {
            let before = old.as_ref().map_or(Before::SameIdentity, Before::Known);
            put(*relation, before, new, tables, casts, chunk)
        }
        // These are behind rows that wait.
        _ if casts.are_wanted() => Ok(Need::Casts),
        &Message::Begin { final_lsn, commit_time, xid } => {
            tables.begin();
            chunk.begin(Commit { lsn: final_lsn, xid, time: commit_time });
            Ok(Need::Nothing)
        }
        &Message::Commit { commit_end_lsn, .. } => {
            chunk.end(commit_end_lsn);
            Ok(Need::Nothing)
        }
        Message::Relation(relation) => {
            tables.learn(relation.clone());
            Ok(Need::Nothing)
        }
        Message::Delete { relation, old } => delete(*relation, old, tables, casts, chunk),
        Message::Truncate { relations, .. } => truncate(relations, tables, chunk),
        // Types are asked of the catalog; origins and logical messages change no row.
        Message::Type { .. } | Message::Origin { .. } | Message::Logical { .. } => {
            Ok(Need::Nothing)
        }
    }
}

/// The texts of a row's message that are no UTF-8, made so: those of the old tuple, then the new.
pub(crate) fn repaired_texts(message: &Message<'_>) -> Vec<String> {
    let (old, new) = match message {
        Message::Insert { new, .. } => (None, &new[..]),
        Message::Update { old, new, .. } => (old.as_ref(), &new[..]),
        Message::Delete { old, .. } => (Some(old), &[][..]),
        _ => return Vec::new(),
    };
    repaired(old.map_or(&[][..], OldTuple::cells).iter().chain(new))
}

/// The message with those texts in their places.
pub(crate) fn with_repaired_texts<'m>(message: Message<'m>, texts: &'m [String]) -> Message<'m> {
    if texts.is_empty() {
        return message;
    }
    let texts = &mut texts.iter();
    let mut repaired_old = |old| match old {
        OldTuple::Key(cells) => OldTuple::Key(with_repaired(&cells, texts)),
        OldTuple::Full(cells) => OldTuple::Full(with_repaired(&cells, texts)),
    };
    match message {
        Message::Delete { relation, old } => Message::Delete { relation, old: repaired_old(old) },
        Message::Update { relation, old, new } => {
            let old = old.map(repaired_old);
            Message::Update { relation, old, new: with_repaired(&new, texts) }
        }
        Message::Insert { relation, new } => {
            Message::Insert { relation, new: with_repaired(&new, texts) }
        }
        other => other,
    }
}

/// What a row was before.
#[derive(Clone, Copy, Debug)]
enum Before<'m> {
    /// It was not there.
    Nothing,
    /// It had the same columns of the identity.
    SameIdentity,
    /// This.
    Known(&'m OldTuple<'m>),
}

fn put(
    relation: u32,
    before: Before<'_>,
    new: &[Cell<'_>],
    tables: &Tables,
    casts: &mut Casts,
    chunk: &mut Chunk,
) -> Result<Need> {
    let plan = match tables.of_row(relation, new.len()) {
        Ok(Described::Plan(plan)) => plan,
        // The table's `Relation` message may be among those that wait.
        _ if casts.are_wanted() => return Ok(Need::Casts),
        Ok(Described::LeftOut) => return Ok(Need::Nothing),
        Ok(Described::Unknown) => return Ok(Need::Description(relation)),
        Err(error) => return Err(error),
    };
    let old = match before {
        Before::Known(old) => Some(old),
        Before::Nothing | Before::SameIdentity => None,
    };
    // Of an old key only the key's columns are known.
    let whole = match old {
        Some(OldTuple::Full(cells)) => Some(&cells[..]),
        Some(OldTuple::Key(_)) | None => None,
    };
    let (row, old) = (Row::new(new, whole), old.map(old_row));
    want_casts(plan, &row, casts);
    if casts.are_wanted() {
        return Ok(Need::Casts);
    }
    // Of the key, what an update left out is in an old key too.
    let of_key = Row { old: old.map(|old| old.cells), ..row };
    let is_parent = plan.nested().next().is_some();
    let mut need = Need::Nothing;
    let old_mark = old.and_then(|old| old.mark(plan));
    match (of_key.mark(plan), old_mark) {
        (Some(mark), old_mark) => chunk.put(
            |out| mark.write(out),
            |out, holes| write_document(plan, mark.value(), &row, casts, out, holes),
            old_mark.map(|mark| move |out: &mut Vec<u8>| mark.write(out)),
        ),
        (None, Some(old_mark)) => chunk.delete(|out| old_mark.write(out)),
        (None, None) => {}
    }
    for output in plan.outputs() {
        let old_key = old.map(|old| old.key(output));
        if let Some(KeyOf::Unknown) = old_key {
            // The row's key may have been another one.
            need = Need::Compare(relation);
        }
        let had_no_key = matches!(old_key, Some(KeyOf::None));
        let old_key = match old_key {
            Some(KeyOf::Known(key)) => Some(key),
            Some(KeyOf::None | KeyOf::Unknown) | None => None,
        };
        let new_key = of_key.key(output);
        let moved = old_key.filter(|old_key| match &new_key {
            KeyOf::Known(key) => is_parent && !old_key.is_same(key),
            KeyOf::None | KeyOf::Unknown => is_parent,
        });
        if let Some(moved) = moved {
            vacate(plan, &moved, chunk);
        }
        let is_fresh = moved.is_some() || had_no_key || matches!(before, Before::Nothing);
        let row = Row { fresh: is_fresh, ..row };
        let delete_old = |chunk: &mut Chunk| {
            if let Some(old_key) = old_key {
                chunk.delete(|out| old_key.write(out));
            }
        };
        match new_key {
            KeyOf::Unknown => need = Need::Compare(relation),
            KeyOf::None => {
                delete_old(chunk);
                let name = tables.name(relation);
                let name = name.map(|name| name.to_string()).unwrap_or_default();
                log::warn!("{}", left_out(&name, plan, output, &of_key));
            }
            KeyOf::Known(key) => match row.presence(output) {
                // What was not sent is not in etcd: what may be there is another row's, from before.
                Presence::There if had_no_key && has_holes(plan, output, &row, casts) => {
                    need = Need::Compare(relation);
                }
                Presence::There => chunk.put(
                    |out| key.write(out),
                    |out, holes| write_document(plan, &output.value, &row, casts, out, holes),
                    old_key.map(|key| move |out: &mut Vec<u8>| key.write(out)),
                ),
                Presence::Absent => {
                    delete_old(chunk);
                    chunk.delete(|out| key.write(out));
                }
                Presence::Open => {
                    // The key keeps what it has, or takes it along.
                    if let Some(old_key) = old_key.filter(|old_key| !old_key.is_same(&key)) {
                        chunk.put(
                            |out| key.write(out),
                            |out, holes| write_unchanged(out, holes),
                            Some(|out: &mut Vec<u8>| old_key.write(out)),
                        );
                    }
                    need = Need::Compare(relation);
                }
            },
        }
    }
    let old = match before {
        Before::Nothing => None,
        Before::SameIdentity => Some(of_key),
        Before::Known(_) => old,
    };
    match nesting::splice(plan, Some((&row, &of_key)), old.as_ref(), casts, chunk) {
        Clarity::Open => Ok(Need::Compare(relation)),
        Clarity::Clear => Ok(need),
    }
}

/// Whether something of a row's document was not sent.
fn has_holes(plan: &Plan, output: &Output, row: &Row<'_>, casts: &mut Casts) -> bool {
    let (mut document, mut holes) = (Vec::new(), Vec::new());
    write_document(plan, &output.value, row, casts, &mut document, &mut holes);
    match Body::new(&document, &holes) {
        Body::Whole(_) => false,
        Body::Holed(holed) => holed.wants_stored(),
    }
}

/// The row as it was. Of an old key only the identity's columns are there.
fn old_row<'m>(old: &'m OldTuple<'m>) -> Row<'m> {
    let whole = matches!(old, OldTuple::Full(_));
    Row { whole, ..Row::new(old.cells(), None) }
}

/// Adds that a row leaves its key, whose document has rows of other tables.
fn vacate(plan: &Plan, key: &RowKey<'_>, chunk: &mut Chunk) {
    chunk.vacate(|out| key.write(out), plan.nested().cloned().collect());
}

fn delete(
    relation: u32,
    old: &OldTuple<'_>,
    tables: &Tables,
    casts: &mut Casts,
    chunk: &mut Chunk,
) -> Result<Need> {
    let plan = match tables.of_row(relation, old.cells().len())? {
        Described::LeftOut => return Ok(Need::Nothing),
        Described::Unknown => return Ok(Need::Description(relation)),
        Described::Plan(plan) => plan,
    };
    let is_parent = plan.nested().next().is_some();
    let mut need = Need::Nothing;
    let old = old_row(old);
    if let Some(mark) = old.mark(plan) {
        chunk.delete(|out| mark.write(out));
    }
    for output in plan.outputs() {
        match old.key(output) {
            KeyOf::Unknown => need = Need::Compare(relation),
            KeyOf::None => {}
            KeyOf::Known(key) => {
                if is_parent {
                    vacate(plan, &key, chunk);
                }
                chunk.delete(|out| key.write(out));
            }
        }
    }
    match nesting::splice(plan, None, Some(&old), casts, chunk) {
        Clarity::Open => Ok(Need::Compare(relation)),
        Clarity::Clear => Ok(need),
    }
}

fn truncate(relations: &[u32], tables: &Tables, chunk: &mut Chunk) -> Result<Need> {
    let mut plans = Vec::new();
    for &relation in relations {
        match tables.described(relation)? {
            Described::Plan(plan) => plans.push(plan),
            Described::LeftOut => {}
            Described::Unknown => return Ok(Need::Description(relation)),
        }
    }
    let with_marks = plans.iter().flat_map(|plan| [Some(*plan), plan.without_key()]).flatten();
    with_marks.flat_map(Plan::keyspaces).for_each(|keyspace| chunk.empty(keyspace));
    let is_truncated =
        |table: &TableName| relations.iter().any(|oid| tables.name(*oid).as_ref() == Some(table));
    // The documents of a table that is emptied too are gone.
    let nests = plans.iter().flat_map(|plan| plan.nests());
    for nest in nests.filter(|nest| !is_truncated(&nest.parent)) {
        chunk.hollow(&nest.keyspace, &nest.nested);
    }
    Ok(Need::Nothing)
}

#[cfg(test)]
mod tests;

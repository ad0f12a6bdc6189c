//! What becomes of a row in the documents of others.

use crate::core::change::{Chunk, Slot};
use crate::document::{
    Casts, KeyOf, Presence, Row, write_document, write_identity, write_unchanged,
};
use crate::mapping::{Nest, Plan};

/// Whether all that became of a row is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clarity {
    /// It is.
    Clear,
    /// It is not: the documents have to be compared.
    Open,
}

/// Where a row is in the documents that it can be in.
enum Whereabouts {
    /// In this one, as this element.
    In { key: Vec<u8>, identity: Vec<u8> },
    /// In none: it points nowhere.
    Nowhere,
    /// That is not known.
    Unknown,
}

/// Adds what becomes of a row in the documents of others. `new` is the row, and the same with the columns of
/// its key that an update left out; `old` is what it was.
pub(super) fn splice(
    plan: &Plan,
    new: Option<(&Row<'_>, &Row<'_>)>,
    old: Option<&Row<'_>>,
    casts: &mut Casts,
    chunk: &mut Chunk,
) -> Clarity {
    let mut clarity = Clarity::Clear;
    for nest in plan.nests() {
        let is_at = |row| whereabouts(plan, nest, row, casts);
        let (was_at, is_at) = (old.map(is_at), new.map(|(_, of_key)| of_key));
        let is_at = is_at.map(|row| whereabouts(plan, nest, row, casts));
        if [&was_at, &is_at].into_iter().any(|at| matches!(at, Some(Whereabouts::Unknown))) {
            clarity = Clarity::Open;
        }
        let (was_at, is_at) = (slot(was_at.as_ref()), slot(is_at.as_ref()));
        let Some((row, _)) = new else {
            if was_at.is_some() {
                chunk.splice(&nest.nested, None::<(Slot<'_>, fn(&mut _, &mut _))>, was_at);
            }
            continue;
        };
        // A text of several parts that were not all sent stays as it is.
        let is_open = is_at.is_some() && row.presence(&nest.element) == Presence::Open;
        if is_open {
            clarity = Clarity::Open;
        }
        let new = is_at.map(|slot| {
            let element = |out: &mut Vec<u8>, holes: &mut Vec<_>| match is_open {
                true => write_unchanged(out, holes),
                false => write_document(plan, &nest.element.value, row, casts, out, holes),
            };
            (slot, element)
        });
        if new.is_some() || was_at.is_some() {
            chunk.splice(&nest.nested, new, was_at);
        }
    }
    clarity
}

fn whereabouts(plan: &Plan, nest: &Nest, row: &Row<'_>, casts: &mut Casts) -> Whereabouts {
    let mut key = Vec::new();
    match row.key(&nest.element) {
        KeyOf::Known(found) => found.write(&mut key),
        KeyOf::None => return Whereabouts::Nowhere,
        KeyOf::Unknown => return Whereabouts::Unknown,
    }
    let mut identity = Vec::new();
    match write_identity(plan, nest, row, casts, &mut identity) {
        true => Whereabouts::In { key, identity },
        false => Whereabouts::Unknown,
    }
}

fn slot(whereabouts: Option<&Whereabouts>) -> Option<Slot<'_>> {
    match whereabouts {
        Some(Whereabouts::In { key, identity }) => Some(Slot { key, identity }),
        _ => None,
    }
}

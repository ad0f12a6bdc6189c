//! How the rows of a table and what etcd has of it differ: both are read in the order of the
//! keys' bytes, side by side, and neither is ever held as a whole.

mod copy_text;
mod rows;
mod stored;

use std::cmp::Ordering;

pub(crate) use self::rows::{Rows, sql_key};
pub(crate) use self::stored::{StoredRow, StoredRows};
use crate::error::Result;

/// What was found under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding<'a> {
    /// Row and value are the same.
    Same,
    /// There is a row, and etcd has nothing.
    Missing {
        /// The row's key.
        key: &'a [u8],
        /// Its document.
        document: &'a [u8],
    },
    /// There is a row, and etcd has another value.
    Differs {
        /// The row's key.
        key: &'a [u8],
        /// Its document.
        document: &'a [u8],
    },
    /// etcd has a value, and there is no row.
    Stale {
        /// The key.
        key: &'a [u8],
    },
}

/// Compares the rows, in the order of their keys, with what is stored, of which `first` was read
/// already, and tells `sink` of each key.
pub(crate) fn compare(
    mut rows: Rows<'_>,
    first: Option<StoredRow>,
    mut stored: StoredRows<'_>,
    mut sink: impl FnMut(Finding<'_>) -> Result<()>,
) -> Result<()> {
    let mut found = first;
    let mut row = rows.advance()?;
    loop {
        let order = match &found {
            Some(found) if row => rows.key().cmp(&found.key),
            Some(_) => Ordering::Greater,
            None if row => Ordering::Less,
            None => return Ok(()),
        };
        let (key, document) = (rows.key(), rows.document());
        sink(match &found {
            Some(found) if order.is_gt() => Finding::Stale { key: &found.key },
            Some(found) if order.is_eq() && found.value == document => Finding::Same,
            Some(_) if order.is_eq() => Finding::Differs { key, document },
            _ => Finding::Missing { key, document },
        })?;
        if order.is_le() {
            row = rows.advance()?;
        }
        if order.is_ge() {
            found = stored.next()?;
        }
    }
}

//! What the rows of a table become: the keys that it owns, and the members of its documents.
//!
//! The catalog says what a table is, the settings where its rows go. A [`Plan`] is both together,
//! and whoever needs a key, or a part of one, asks it: the stream, the dump, compares, `verify`.

mod copied;
mod departure;
mod key;
mod plan;

pub(crate) use copied::{CopiedTable, PublishedTables};
pub(crate) use departure::{Departure, Whereabouts};
pub use key::{
    keyspace, keyspace_in_key, keyspace_of, name_in_keys, table_named, table_of_key,
    write_key_column,
};
pub use plan::{Member, Plan};

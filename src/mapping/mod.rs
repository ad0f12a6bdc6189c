//! What the rows of a table become: the keys that it owns, and the members of its documents.
//!
//! The catalog says what a table is, the settings where its rows go and as what. A [`Plan`] is both
//! together, and whoever needs a key, or a part of one, asks it: the stream, the dump, compares,
//! `verify`.

mod copied;
mod departure;
mod key;
mod keyspace;
mod pieces;
mod plan;
mod refusals;
mod shape;
mod sql;
mod template;
mod value;
mod without_key;

pub(crate) use copied::{CopiedTable, PublishedTables};
pub(crate) use departure::{Departure, Whereabouts};
pub use key::{keyspace_in_key, keyspace_of, name_in_keys, table_named, table_of_key};
pub use keyspace::Keyspace;
pub use plan::{Output, Plan};
pub use shape::{Columns, Node, Shapes, TableShape, TextPart, ValueShape, Word, text_parts};
pub use template::KeyTemplate;
pub use value::{Content, Member, Step, Value};

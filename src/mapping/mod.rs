//! What the rows of a table become: the keys that it owns, and the members of its documents.
//!
//! The catalog says what a table is, the settings where its rows go and as what. A [`Plan`] is both
//! together, and whoever needs a key, or a part of one, asks it: the stream, the dump, compares,
//! `verify`.

mod copied;
mod departure;
mod family;
mod key;
mod keyspace;
mod nest;
mod nested;
mod nesting;
mod output;
mod pieces;
mod plan;
mod refusals;
mod shape;
mod sql;
mod table;
mod template;
mod value;
mod way;
mod without_key;

pub(crate) use copied::{CopiedTable, NestedRows, PublishedTables};
pub(crate) use departure::{Departure, Whereabouts};
pub(crate) use family::Family;
pub use key::{keyspace_in_key, keyspace_of, name_in_keys, table_named, table_of_key};
pub use keyspace::Keyspace;
pub use nest::Nest;
pub use nested::{Form, Nested, Rank};
pub use output::Output;
pub use plan::Plan;
pub use shape::{
    Columns, FormShape, NestShape, Node, Shapes, TableShape, TextPart, ValueShape, Word, text_parts,
};
pub(crate) use table::Table;
pub use template::KeyTemplate;
pub use value::{Content, Member, Value};
pub use way::Step;

//! Rows of a table in the documents of the rows that they point to by a foreign key.

use std::sync::Arc;

use super::keyspace::Keyspace;
use super::nested::Nested;
use super::output::Output;
use super::shape::TextPart;
use crate::table_name::TableName;

/// What a table's rows become in the documents of another table, or of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nest {
    /// The table that has the documents.
    pub parent: TableName,
    /// The keys that it owns.
    pub keyspace: Keyspace,
    /// The key of the document that a row belongs to, by the columns of its foreign key, and what the
    /// row is there.
    pub element: Output,
    /// The columns of the table's key that are not the foreign key's: by them an element of an array is
    /// found again.
    pub key: Vec<usize>,
    /// The name of the member that a row is in a map; empty for an array.
    pub name: Vec<TextPart<usize>>,
    /// The member of the document that has the rows.
    pub nested: Arc<Nested>,
}

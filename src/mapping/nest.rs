//! Rows of a table in the documents of the rows that they point to by a foreign key.

use std::sync::Arc;

use super::keyspace::Keyspace;
use super::plan::Output;
use super::shape::TextPart;
use super::value::Step;
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

/// A member of a document that has rows of another table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nested {
    /// Its name as JSON, quotes included.
    pub json_name: Vec<u8>,
    /// What it is.
    pub form: Form,
}

/// How rows stand in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// In an array.
    Array {
        /// The ways, in an element, to the columns of [`Nest::key`]: together they tell the elements
        /// apart.
        key: Vec<Arc<[Step]>>,
        /// What the elements are ordered by: the columns that the settings name, then those of the key.
        order: Vec<Rank>,
    },
    /// In an object, in the order of the names' bytes.
    Map,
}

/// A column that elements are ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rank {
    /// The way to it in an element.
    pub way: Arc<[Step]>,
    /// Whether its values are integers, which are ordered as numbers; others are by their bytes.
    pub is_integer: bool,
}

impl Nested {
    /// What the member is as long as there are no rows.
    #[must_use]
    pub fn empty(&self) -> &'static [u8] {
        match self.form {
            Form::Array { .. } => b"[]",
            Form::Map => b"{}",
        }
    }
}

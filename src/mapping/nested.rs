//! Members of documents that have rows of other tables.

use std::sync::Arc;

use super::way::Step;

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
        /// The ways, in an element, to the columns of [`Nest::key`](super::nest::Nest::key): together they tell the elements
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

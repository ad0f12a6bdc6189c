//! What a row becomes under one of its keys.

use super::template::KeyTemplate;
use super::value::Value;

/// A key that each row has, and what is under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The key's template.
    pub template: KeyTemplate,
    /// The places of the columns in it, in the order of its placeholders.
    pub placeholders: Vec<usize>,
    /// Those of the table's key: a row in which one of them is NULL is not known.
    pub key: Vec<usize>,
    /// What is under the key.
    pub value: Value,
    /// Whether that is there, and can be written, whatever the row is.
    pub certain: bool,
}

//! Ways to values in documents.

/// A step on the way to a value in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the member of this name, which is JSON with its quotes.
    Member(Vec<u8>),
    /// To the element at this place, from 0 on.
    Element(usize),
}

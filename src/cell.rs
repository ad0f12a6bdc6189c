//! A column's value on its way from PostgreSQL to a document.

/// A column's value in one row, as PostgreSQL's output function prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// The text.
    Text(&'a [u8]),
    /// A TOASTed value that an update left as it was, and that the server did not send.
    UnchangedToast,
}

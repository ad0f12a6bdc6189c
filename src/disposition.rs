//! What follows from a failure. It stands apart from the errors, so that etcd's client, whose errors
//! are among them, can say it too.

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Try again after a pause.
    Retry,
    /// Try again with a new slot and a dump.
    Redump,
    /// A login that was refused: trying again cures it only if it was accepted before.
    Refused,
    /// Trying again cannot cure it.
    Fatal,
}

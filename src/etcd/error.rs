//! What can go wrong between pg2etcd and etcd.

use std::fmt;

use crate::error::Disposition;

/// A request to etcd that failed.
#[derive(Debug)]
pub struct Error {
    /// What was being done.
    pub doing: &'static str,
    /// The endpoint asked.
    pub endpoint: String,
    /// What happened.
    pub kind: ErrorKind,
}

/// What happened to a request.
#[derive(Debug)]
pub enum ErrorKind {
    /// No answer came: whether etcd carried the request out is open.
    Transport(String),
}

impl Error {
    /// What follows from it.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self.kind {
            ErrorKind::Transport(_) => Disposition::Retry,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Transport(cause) => {
                write!(f, "{}: {}: {cause}", self.endpoint, self.doing)
            }
        }
    }
}

//! A wait for the server, which a stop or a deadline ends.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::Instant;

use super::tls_options;
use crate::error::{Error, Result, ServerAnswer};
use crate::stop::{Stop, poll_readable};
use crate::tls;

/// What a read is for, and what ends it when no bytes come.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    /// Completes the phrase "while", in errors.
    pub(super) doing: &'a str,
    /// Ends the wait with [`Error::Stopped`].
    pub(super) stop: Option<&'a Stop>,
    /// Ends the wait with [`ErrorKind::TimedOut`]; `None` waits for ever.
    pub(super) deadline: Option<Instant>,
}

impl Wait<'_> {
    /// Waits until `source` can be read.
    pub(super) fn until_readable(&self, source: impl AsFd) -> Result<()> {
        let source = source.as_fd();
        loop {
            let left = match self.deadline.map(|end| end.checked_duration_since(Instant::now())) {
                Some(None) => return Err(self.io_error(ErrorKind::TimedOut.into())),
                Some(left) => left,
                None => None,
            };
            let ready = match self.stop {
                Some(stop) => poll_readable([source, stop.as_fd()], left),
                None => poll_readable([source], left).map(|[ready]| [ready, false]),
            };
            match ready {
                Ok([_, true]) => return Err(Error::Stopped),
                Ok([true, _]) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io_error(error)),
            }
        }
    }

    /// What became of a read or a write.
    pub(super) fn io_error(&self, source: io::Error) -> Error {
        let doing = self.doing;
        match tls::refusal(&source, &tls_options::NAMES) {
            Some(reason) => Error::Credentials(format!("PostgreSQL: {doing}: {reason}")),
            None => Error::PostgresIo { doing: doing.to_owned(), source },
        }
    }

    pub(super) fn protocol_error(&self, problem: impl Into<String>) -> Error {
        Error::PostgresProtocol { doing: self.doing.to_owned(), problem: problem.into() }
    }

    pub(super) fn unexpected(&self, tag: u8) -> Error {
        self.protocol_error(format!("an unexpected message '{}'", tag.escape_ascii()))
    }

    pub(super) fn server_error(&self, answer: ServerAnswer) -> Error {
        Error::PostgresServer { doing: self.doing.to_owned(), answer: Box::new(answer) }
    }
}

//! What a command says: its result on standard output, all else on standard error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::error::{Error, Result};

/// Prints text to standard output, and says whether anybody reads it. A reader that has seen
/// enough, as head(1), is no error.
///
/// # Errors
/// [`Error::System`] if standard output takes nothing.
pub fn print(text: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(source) => Err(Error::System { doing: "standard output".to_owned(), source }),
    }
}

/// Says something beside the result.
pub fn note(text: impl Display) {
    // When nobody reads standard error there is nobody to tell.
    _ = writeln!(io::stderr(), "pg2etcd: {text}");
}

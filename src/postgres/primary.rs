//! Which of the servers is the primary.

use super::options::{HostPort, Options};
use super::session::Session;
use crate::disposition::Disposition;
use crate::error::{Error, Result};
use crate::sqlstate;

/// What `connect` made of the first of the servers that is not in recovery; of one that is, it
/// makes `None`.
///
/// # Errors
/// [`Error::InRecovery`] if a server is in recovery and none is a primary; else that of the last
/// server that cannot be reached; at once, one that trying again does not cure.
pub fn find_primary<T>(
    hosts: &[HostPort],
    mut connect: impl FnMut(&HostPort) -> Result<Option<T>>,
) -> Result<T> {
    let mut in_recovery = Vec::new();
    let mut failure = None;
    for address in hosts {
        match connect(address) {
            Ok(Some(primary)) => return Ok(primary),
            Ok(None) => in_recovery.push(address.to_string()),
            Err(Error::PostgresServer { answer, .. })
                if answer.code == sqlstate::CANNOT_CONNECT_NOW =>
            {
                in_recovery.push(address.to_string());
            }
            Err(error) if error.disposition() == Disposition::Retry => failure = Some(error),
            // Another server may have another certificate.
            Err(error @ Error::Credentials(_)) => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    match failure {
        Some(error) if in_recovery.is_empty() => Err(error),
        _ => Err(Error::InRecovery { servers: in_recovery.join(", ") }),
    }
}

impl Session {
    /// A session on the primary, and where that is.
    ///
    /// # Errors
    /// As [`find_primary`].
    pub fn connect_to_primary(options: &Options, hosts: &[HostPort]) -> Result<(Self, HostPort)> {
        find_primary(hosts, |address| {
            let mut session = Self::connect(options, address)?;
            Ok((!session.is_in_recovery()?).then(|| (session, address.clone())))
        })
    }
}

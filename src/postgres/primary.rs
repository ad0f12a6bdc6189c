//! Which of the servers is the primary.

use super::options::{HostPort, Options};
use super::session::Session;
use crate::disposition::Disposition;
use crate::error::{Error, Result};
use crate::sqlstate;
use crate::stop::Stop;

/// Connects to one server after the other, and keeps the session on the first one that is not in
/// recovery, with what else `connect` made there.
///
/// # Errors
/// [`Error::InRecovery`] if a server is in recovery and none is a primary; else that of the last
/// server that cannot be reached; at once, one that trying again does not cure.
pub fn find_primary<T>(
    hosts: &[HostPort],
    mut connect: impl FnMut(&HostPort) -> Result<(Session, T)>,
) -> Result<(Session, T)> {
    let mut in_recovery = Vec::new();
    let mut failure = None;
    for address in hosts {
        let connected = connect(address);
        let asked = connected
            .and_then(|(mut session, more)| Ok((session.is_in_recovery()?, session, more)));
        match asked {
            Ok((false, session, more)) => return Ok((session, more)),
            Ok((true, ..)) => in_recovery.push(address.to_string()),
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
    pub fn connect_to_primary(
        options: &Options,
        hosts: &[HostPort],
        stop: &Stop,
    ) -> Result<(Self, HostPort)> {
        find_primary(hosts, |address| Ok((Self::connect(options, address, stop)?, address.clone())))
    }
}

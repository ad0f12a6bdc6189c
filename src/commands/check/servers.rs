//! Which of the servers of `database.host` answers, and which is the primary.

use super::report::{Report, unmet};
use crate::config::DatabaseSettings;
use crate::error::{Error, Result, Unmet};
use crate::postgres::{Connection, HostPort, Options, Session};
use crate::sqlstate;
use crate::stop::Stop;

const UNREACHABLE: &str = "start the server, or correct database.host and database.port";

/// The sessions on the primary.
pub(super) struct Primary<'a> {
    /// The walsender, or why there is none.
    pub(super) replication: Result<Connection<'a>>,
    pub(super) session: Session,
}

/// What a server is.
enum Server<'a> {
    Primary(Box<Primary<'a>>),
    Standby,
    /// It takes no connections yet, or, as a standby, none at all.
    NotYet,
}

/// Asks each server, since each may be the next primary.
pub(super) fn primary<'a>(
    settings: &DatabaseSettings,
    stop: &'a Stop,
    report: &mut Report,
) -> Option<Primary<'a>> {
    let options = settings.connect_options();
    let found: Vec<_> = settings
        .hosts()
        .into_iter()
        .map(|address| (probe(&options, &address, stop), address))
        .collect();
    let any = found.iter().any(|(server, _)| matches!(server, Ok(Server::Primary(_))));
    let mut primary: Option<(Primary<'_>, HostPort)> = None;
    for (server, address) in found {
        match server {
            Ok(Server::Primary(_)) if primary.is_some() => report.warn(
                "server",
                Unmet::new(
                    format!("{address} is a primary too: only the first one is copied"),
                    "leave it out of database.host, unless it is about to become a standby",
                ),
            ),
            Ok(Server::Primary(found)) => {
                report.ok("server", format!("{address} answers"));
                primary = Some((*found, address));
            }
            Ok(Server::Standby) => report.ok("server", format!("{address} is in recovery")),
            Ok(Server::NotYet) => {
                report.ok("server", format!("{address} takes no connections yet"))
            }
            // The copy goes on without it.
            Err(error) if any => report.warn("server", unmet(&error, UNREACHABLE)),
            Err(error) => report.fail("server", unmet(&error, UNREACHABLE)),
        }
    }
    match &primary {
        Some((_, address)) => report.ok("primary", address.to_string()),
        None => report.fail(
            "primary",
            Unmet::new(
                "none of the servers is a primary that lets the role in",
                "name the primary in database.host, or promote a standby",
            ),
        ),
    }
    primary.map(|(primary, _)| primary)
}

/// Asks a server that answers, with a walsender or without one.
fn probe<'a>(options: &Options, address: &HostPort, stop: &'a Stop) -> Result<Server<'a>> {
    let replication = match Connection::connect(options, address, stop) {
        Err(Error::PostgresServer { answer, .. })
            if answer.code == sqlstate::CANNOT_CONNECT_NOW =>
        {
            return Ok(Server::NotYet);
        }
        // The server is there, and may let the role in for SQL.
        Err(error @ Error::PostgresServer { .. }) => Err(error),
        connected => Ok(connected?),
    };
    let session = Session::connect(options, address, stop)
        .and_then(|mut session| session.limit_queries(options.connect_timeout).map(|()| session));
    let (mut session, replication) = match (session, replication) {
        (Ok(session), replication) => (session, replication),
        (Err(_), Err(error)) | (Err(error), Ok(_)) => return Err(error),
    };
    Ok(match session.is_in_recovery()? {
        true => Server::Standby,
        false => Server::Primary(Box::new(Primary { replication, session })),
    })
}

//! Whether a daemon streams.

use super::no_stop;
use crate::config::Settings;
use crate::error::Result;
use crate::postgres::Session;

/// What the slot says of a daemon.
pub(super) enum Stream {
    /// This server process streams to one.
    Process(i32),
    /// Nobody streams, in words.
    None(String),
}

/// Asks the server of this session.
pub(super) fn stream(settings: &Settings, session: &mut Session) -> Result<Stream> {
    let slot = &settings.sync.slot;
    let active_pid = session.slot(slot)?.and_then(|slot| slot.active_pid);
    let none = || Stream::None(format!("no daemon streams from slot {slot}"));
    Ok(active_pid.map_or_else(none, Stream::Process))
}

/// Connects to the primary and asks it; in words, whatever comes of it.
pub(super) fn described(settings: &Settings) -> String {
    let asked = connect(settings).and_then(|mut session| stream(settings, &mut session));
    match asked {
        Ok(Stream::Process(pid)) => format!("a daemon streams, by server process {pid}"),
        Ok(Stream::None(reason)) => reason,
        Err(error) => format!("whether a daemon streams is unknown: {error}"),
    }
}

/// A session on the primary.
pub(super) fn connect(settings: &Settings) -> Result<Session> {
    let database = &settings.database;
    let (options, hosts) = (database.connect_options(), database.hosts());
    let connected = Session::connect_to_primary(&options, &hosts, &no_stop()?);
    connected.map(|(session, _)| session)
}

//! `wait`: returns when etcd holds all that committed up to an LSN.

use std::time::Duration;

use super::follower::Follower;
use super::output::note;
use super::stream;
use crate::config::{DatabaseSettings, EtcdSettings, Settings, parse_duration, print_duration};
use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::state::checkpoint::{Checkpoint, Phase};

/// How long it waits unless told.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long PostgreSQL may take to say whether a daemon streams.
const LAST_QUESTION: Duration = Duration::from_secs(2);

/// Waits for the LSN, for at most `timeout`, a duration as in the settings; false if the time is
/// over.
///
/// # Errors
/// [`Error::Setting`] for a text that is no LSN or no duration; those of etcd that waiting does
/// not cure.
pub fn run(settings: &Settings, arguments: &[String], timeout: Option<&str>) -> Result<bool> {
    let [lsn] = arguments else {
        return Err(Error::Setting("wait takes one argument, an LSN".to_owned()));
    };
    let lsn: Lsn =
        lsn.parse().map_err(|error| Error::Setting(format!("wait: {lsn:?}: {error}")))?;
    let timeout = timeout.map_or(Ok(TIMEOUT), parse_duration);
    let timeout = timeout.map_err(|problem| Error::Setting(format!("wait: -t: {problem}")))?;
    // An etcd that does not answer must not keep it longer.
    let etcd = EtcdSettings {
        dial_timeout: settings.etcd.dial_timeout.min(timeout),
        request_timeout: settings.etcd.request_timeout.min(timeout),
        ..settings.etcd.clone()
    };
    let mut follower = Follower::new(&etcd);
    let reached = follower.reach(lsn, timeout)?;
    if !reached {
        let timeout = print_duration(timeout);
        let at = described(follower.last.as_ref());
        // Nobody waits much longer to hear why.
        let connect_timeout = settings.database.connect_timeout.min(LAST_QUESTION);
        let database = DatabaseSettings { connect_timeout, ..settings.database.clone() };
        let daemon = stream::described(&Settings { database, ..settings.clone() });
        note(format!("not at {lsn} within {timeout}: {at}; {daemon}"));
    }
    Ok(reached)
}

/// Where etcd is, in words.
fn described(checkpoint: Option<&Checkpoint>) -> String {
    match checkpoint {
        None => "no position was seen in etcd".to_owned(),
        Some(Checkpoint { phase: Phase::Dump, .. }) => "the tables are being loaded".to_owned(),
        Some(Checkpoint { lsn, .. }) => format!("etcd is at {lsn}"),
    }
}

//! The facts that a start decides upon, as both ends have them.

use super::decision::{Decision, Facts, Reason, decide};
use crate::config::Settings;
use crate::error::Result;
use crate::postgres::{Connection, Session, SystemIdentity};
use crate::state::checkpoint::Checkpoint;

/// What to do at a start between this server and the position in etcd, which was read before the
/// server was asked for its identity; `redump` is why the stream
/// before this start cannot be gone on with.
pub(crate) fn decision(
    settings: &Settings,
    (connection, session): (&mut Connection<'_>, &mut Session),
    identity: &SystemIdentity,
    checkpoint: Option<&Checkpoint>,
    resync_all: bool,
    redump: Option<&Reason>,
) -> Result<Decision> {
    let Settings { sync, database, etcd, .. } = settings;
    let history = match checkpoint {
        Some(checkpoint) if checkpoint.timeline != identity.timeline => {
            connection.timeline_history(identity.timeline)?
        }
        _ => Vec::new(),
    };
    Ok(decide(&Facts {
        checkpoint,
        system_identifier: &identity.system_identifier,
        timeline: identity.timeline,
        flushed: identity.flushed,
        history: &history,
        slot: session.slot(&sync.slot)?.as_ref(),
        has_publication: session.has_publication(&sync.publication)?,
        database: &database.name,
        path: &etcd.path,
        slot_name: &sync.slot,
        publication: &sync.publication,
        dump: sync.dump,
        resync_all,
        redump,
    }))
}

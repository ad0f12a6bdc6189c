//! The publication: made if it is missing, and what it keeps from the copy.

use crate::config::SyncSettings;
use crate::error::Result;
use crate::logging::warn_once;
use crate::postgres::Session;
use crate::state::checkpoint::Checkpoint;

/// Makes the publication if it is missing, before the slot: decoding looks it up as of each change.
/// Says whether pg2etcd made it, now or earlier.
pub(super) fn ensure(
    SyncSettings { publication, tables, .. }: &SyncSettings,
    session: &mut Session,
    checkpoint: Option<&Checkpoint>,
) -> Result<bool> {
    if session.has_publication(publication)? {
        return Ok(checkpoint.is_some_and(|checkpoint| {
            checkpoint.made_publication && checkpoint.publication == *publication
        }));
    }
    session.create_publication(publication, tables)?;
    log::info!("Made publication {publication}");
    Ok(true)
}

/// Warns of what the publication leaves out.
pub(super) fn warn_of(session: &mut Session, publication: &str) -> Result<()> {
    let Some(published) = session.published(publication)? else { return Ok(()) };
    let left_out = published.left_out();
    if !left_out.is_empty() {
        let left_out = left_out.join(", ");
        warn_once(format!("Publication {publication} leaves {left_out} out: etcd never sees them"));
    }
    let tables = session.published_tables(publication)?;
    if tables.is_empty() {
        warn_once(format!("Publication {publication} has no table: there is nothing to copy"));
    }
    for warning in session.partition_warnings(&tables)? {
        warn_once(warning.to_string());
    }
    Ok(())
}

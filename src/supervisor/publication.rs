//! What a publication keeps from the copy.

use crate::error::Result;
use crate::logging::warn_once;
use crate::postgres::Session;

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

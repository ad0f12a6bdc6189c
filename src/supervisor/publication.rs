//! The publication: made if it is missing, what it keeps from the copy, and whether it is what the
//! settings say.

use std::collections::BTreeSet;

use crate::config::{Settings, SyncSettings};
use crate::error::Result;
use crate::etcd::Client;
use crate::logging::warn_once;
use crate::postgres::{PublishedTable, Session};
use crate::state::checkpoint::Checkpoint;
use crate::state::own_publication;
use crate::table_name::TableName;

/// How many tables a line of the log names.
const MOST_NAMED: usize = 10;

/// Makes the publication if it is missing, before the slot: decoding looks it up as of each change.
/// One that is there follows `sync.tables`. Says whether pg2etcd made it, now or earlier.
pub(super) fn ensure(
    (session, client): (&mut Session, &mut Client),
    settings: &Settings,
    found: Option<&Checkpoint>,
) -> Result<bool> {
    let SyncSettings { publication, tables, .. } = &settings.sync;
    let state_path = &settings.etcd.state_path;
    let noted = own_publication::noted(client, state_path, publication)?;
    let mut note = |oid| own_publication::note(client, state_path, publication, oid);
    let made = match session.publication_oid(publication)? {
        Some(oid) => {
            let is_it =
                |found: &Checkpoint| found.made_publication && found.publication == *publication;
            let said = found.is_some_and(is_it);
            let made = said && own_publication::is_it(noted, oid);
            if said && !made {
                warn_once(format!(
                    "Publication {publication} is not the one that pg2etcd made, which was dropped: \
                     it is used as it is, and does not follow sync.tables"
                ));
            }
            follow(session, &settings.sync, made, || note(None))?;
            made
        }
        None => {
            note(None)?;
            session.create_publication(publication, tables)?;
            log::info!("Made publication {publication}");
            true
        }
    };
    if made {
        // It may have been made just now.
        let oid = session.publication_oid(publication)?;
        if oid != noted {
            note(oid)?;
        }
    }
    Ok(made)
}

/// Has the publication be of the tables of `sync.tables`, if pg2etcd has `made` it; of one that
/// others made it warns where that is another set. Before it is made anew, `forget` is called.
///
/// A table that is named and does not exist is waited for: it may have been dropped, and a start is
/// not to fail for that.
fn follow(
    session: &mut Session,
    sync: &SyncSettings,
    made: bool,
    forget: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let SyncSettings { publication, tables, .. } = sync;
    let listed = session.listed_tables(publication)?;
    if tables.is_empty() && (listed.is_none() || !made) {
        return Ok(());
    }
    let wanted = session.existing(tables)?;
    let missing: Vec<_> = tables.iter().filter(|table| !wanted.contains(table)).collect();
    if !missing.is_empty() {
        let missing = named(missing);
        warn_once(format!("sync.tables names {missing}, and there is no such table"));
    }
    if wanted.is_empty() && !tables.is_empty() {
        return Ok(());
    }
    let wanted: BTreeSet<_> = wanted.into_iter().collect();
    let is_for_all = listed.is_none();
    let listed: BTreeSet<_> = listed.into_iter().flatten().collect();
    let mut covered = listed.clone();
    if !made || is_for_all {
        covered.extend(session.published_tables(publication)?.into_iter().map(|table| table.name));
    }
    // Partitions of a table that is listed are published by names of their own, or not.
    let published = if listed.is_empty() { &covered } else { &listed };
    let is_same = match made {
        true => !is_for_all && listed == wanted,
        false => wanted.is_subset(&covered) && published.is_subset(&wanted),
    };
    if is_same && !tables.is_empty() {
        return Ok(());
    }
    let (more, less) = match tables.is_empty() {
        true => ("all tables".to_owned(), "none".to_owned()),
        false => (named(wanted.difference(&covered)), named(published.difference(&wanted))),
    };
    if made {
        let wanted: Vec<_> = wanted.into_iter().collect();
        forget()?;
        session.remake_publication(publication, &wanted)?;
        log::info!("Publication {publication} follows sync.tables: added: {more}; removed: {less}");
    } else {
        warn_once(format!(
            "Publication {publication}, which pg2etcd did not make, is not of the tables of \
             sync.tables: not published: {more}; published, and copied: {less}; ALTER PUBLICATION \
             changes it"
        ));
    }
    Ok(())
}

fn named<'t>(tables: impl IntoIterator<Item = &'t TableName>) -> String {
    let names: Vec<_> = tables.into_iter().map(ToString::to_string).collect();
    match names.len().checked_sub(MOST_NAMED) {
        _ if names.is_empty() => "none".to_owned(),
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..MOST_NAMED].join(", ")),
    }
}
/// The tables of the publication, with a warning of what it leaves out.
pub(super) fn tables(session: &mut Session, publication: &str) -> Result<Vec<PublishedTable>> {
    let Some(published) = session.published(publication)? else { return Ok(Vec::new()) };
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
    Ok(tables)
}

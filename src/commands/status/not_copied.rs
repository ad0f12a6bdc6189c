//! The published tables that etcd lacks, or may not have as they are, and why: from what both ends
//! say, whether a daemon runs or not.

use serde::Serialize;

use super::ends::{Database, Store};
use crate::error::Result;
use crate::mapping::CopiedTable;
use crate::postgres::Session;
use crate::state::checkpoint::Phase;
use crate::state::records::Records;

/// A table that is not copied, or not as a whole.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NotCopied {
    /// The table, if the reason does not name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) table: Option<String>,
    /// Why it is not, and what to do.
    pub(super) reason: String,
}

/// The tables that are not copied. While a dump goes on, and before there was one, those are meant
/// that it leaves out.
pub(super) fn not_copied(
    database: &Database,
    session: &mut Session,
    store: &Store,
    dumps: bool,
) -> Result<Vec<NotCopied>> {
    let left_out = database.tables.left_out.iter();
    let mut all: Vec<_> = left_out
        .map(|(table, why)| NotCopied {
            table: Some(table.name.to_string()),
            reason: why.to_string(),
        })
        .collect();
    let in_sync = store.checkpoint.as_ref().is_some_and(|found| found.phase == Phase::Sync);
    // Without a dump nobody says what etcd has.
    if in_sync && dumps {
        for table in &database.tables.copied {
            let CopiedTable { published, .. } = table;
            let Some(lack) = store.lack(published) else { continue };
            let grants = session.missing_grants(&table.sources())?;
            let reason = grants.first().map_or(lack, ToString::to_string);
            all.push(NotCopied { table: Some(published.name.to_string()), reason });
        }
    }
    all.extend(
        store
            .without_key
            .iter()
            .map(|rows| NotCopied { table: Some(rows.table()), reason: rows.to_string() }),
    );
    Ok(all)
}

impl Store {
    /// What etcd lacks of a table, by its record.
    fn lack(&self, table: &crate::postgres::PublishedTable) -> Option<String> {
        let name = Records::name(table);
        let Some(stored) = self.records.iter().find(|stored| stored.name == name) else {
            return Some("its rows are not in etcd yet: a running daemon copies it".to_owned());
        };
        if self.noted.contains(&name) {
            return Some("a row of it is not known: a running daemon compares it".to_owned());
        }
        let change = self.names.change(&stored.record, table)?;
        Some(format!("{change}: a running daemon compares it"))
    }
}

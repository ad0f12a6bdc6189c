//! The request to compare tables with the database: a key beside the position, which the command
//! puts and the daemon takes.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::etcd::{Client, Txn};
use crate::postgres::PublishedTable;
use crate::state::layout;
use crate::table_name::TableName;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct ResyncRequest {
    key: String,
    mod_revision: i64,
    tables: Tables,
}

/// The request as it stands in etcd.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tables {
    /// The tables, `schema.table`; all of them if none is named.
    tables: Vec<String>,
}

/// Asks for a compare of these tables, of all if none is named. A request that was not taken yet
/// is widened.
///
/// # Errors
/// Those of etcd.
pub fn request(client: &mut Client, state_path: &str, tables: &[TableName]) -> Result<()> {
    loop {
        let earlier = read(client, state_path)?;
        let mut wanted: Vec<_> = tables.iter().map(ToString::to_string).collect();
        let mod_revision = earlier.as_ref().map_or(0, |earlier| earlier.mod_revision);
        match earlier {
            Some(earlier) if earlier.is_for_all() => wanted.clear(),
            Some(earlier) if !wanted.is_empty() => wanted.extend(earlier.tables.tables),
            _ => {}
        }
        // Texts always have a JSON form.
        let json = serde_json::to_vec(&Tables { tables: wanted }).unwrap_or_default();
        let mut txn = Txn::new();
        txn.put(layout::resync(state_path).as_bytes(), &json);
        txn.compare_mod_revision(layout::resync(state_path).as_bytes(), mod_revision);
        if client.txn(&mut txn)?.succeeded {
            return Ok(());
        }
    }
}

/// The request, if there is one. One that cannot be read asks for all tables.
pub(crate) fn read(client: &mut Client, state_path: &str) -> Result<Option<ResyncRequest>> {
    let key = layout::resync(state_path);
    let found = client.get(key.as_bytes()).map_err(Error::from)?;
    Ok(found.map(|found| ResyncRequest {
        key,
        mod_revision: found.mod_revision,
        tables: serde_json::from_slice(&found.value).unwrap_or_default(),
    }))
}

impl ResyncRequest {
    /// Whether it asks for this table.
    pub(crate) fn names(&self, table: &PublishedTable) -> bool {
        self.is_for_all() || self.tables.tables.contains(&table.name.to_string())
    }

    /// Whether it asks for all tables.
    pub(crate) fn is_for_all(&self) -> bool {
        self.tables.tables.is_empty()
    }

    /// Takes the request back, unless it was widened meanwhile.
    pub(crate) fn done(self, client: &mut Client) -> Result<()> {
        let mut txn = Txn::new();
        txn.delete(self.key.as_bytes());
        txn.compare_mod_revision(self.key.as_bytes(), self.mod_revision);
        client.txn(&mut txn)?;
        Ok(())
    }
}

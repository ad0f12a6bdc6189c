//! What etcd remembers of the tables whose rows it holds: the shape that each had when its rows
//! were last known to be right. A table that changed, came or went while no daemon was running is
//! found by it at the next start.

use std::collections::BTreeMap;

use crate::document::table_name;
use crate::error::{Error, Result};
use crate::etcd::{Client, KeyValue, prefix_end};
use crate::postgres::{PublishedTable, Shape};
use crate::state::layout;

/// Where the records are: a key a table.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    /// What the records' keys begin with.
    prefix: Vec<u8>,
    /// What the rows' keys begin with.
    path: Vec<u8>,
}

/// A table's name as it stands in keys.
pub(crate) type Name = Vec<u8>;

impl Records {
    /// The records below `state_path` of the tables below `path`.
    pub(crate) fn new(state_path: &str, path: &str) -> Self {
        let prefix = layout::records(state_path);
        Self { prefix, path: format!("/{path}/").into_bytes() }
    }

    /// The name of a table.
    pub(crate) fn name(published: &PublishedTable) -> Name {
        table_name(&published.name.schema, &published.name.name)
    }

    /// The key of a table's record.
    pub(crate) fn key(&self, name: &[u8]) -> Vec<u8> {
        [&self.prefix, name].concat()
    }

    /// What the keys of a table's rows begin with.
    pub(crate) fn rows_prefix(&self, name: &[u8]) -> Vec<u8> {
        [&self.path, name, b"/"].concat()
    }

    /// The name of the table that has a row of this key.
    pub(crate) fn name_of_row<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(&self.path[..])?.split(|&byte| byte == b'/').next()
    }

    /// The record of a table of this shape.
    pub(crate) fn value(shape: &Shape) -> Vec<u8> {
        // Texts always have a JSON form.
        serde_json::to_vec(shape).unwrap_or_default()
    }

    /// All records. One that cannot be read is that of a table that has no known shape.
    pub(crate) fn read(&self, client: &mut Client) -> Result<BTreeMap<Name, Shape>> {
        let mut records = BTreeMap::new();
        self.each(client, |record| {
            records.insert(record.name, record.shape);
        })?;
        Ok(records)
    }

    /// Reads the records, in the order of their names.
    pub(crate) fn each(&self, client: &mut Client, mut sink: impl FnMut(Record)) -> Result<()> {
        let mut pages = client.pages(&self.prefix, &prefix_end(&self.prefix), false);
        while let Some(page) = pages.next_page().map_err(Error::from)? {
            for KeyValue { key, value, mod_revision, .. } in page {
                if let Some(name) = key.strip_prefix(&self.prefix[..]) {
                    let shape = serde_json::from_slice(&value).unwrap_or_default();
                    sink(Record { name: name.to_vec(), shape, mod_revision });
                }
            }
        }
        Ok(())
    }

    /// What the records' keys begin with.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }
}

/// A record.
#[derive(Debug)]
pub(crate) struct Record {
    /// The table.
    pub(crate) name: Name,
    /// The shape that it had.
    pub(crate) shape: Shape,
    /// The revision that put the record.
    pub(crate) mod_revision: i64,
}

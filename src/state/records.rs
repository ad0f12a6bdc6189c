//! What etcd remembers of the tables whose rows it holds: the shape that each had when its rows
//! were last known to be right. A table that changed, came or went while no daemon was running is
//! found by it at the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::etcd::{Client, KeyValue, prefix_end};
use crate::mapping::{keyspace, name_in_keys, table_of_key};
use crate::postgres::{PublishedTable, Shape};
use crate::state::layout;

/// Where the records are: a key a table.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    /// What the records' keys begin with.
    prefix: Vec<u8>,
    /// Where the rows' keys are.
    path: String,
}

/// A table's name as it stands in keys.
pub(crate) type Name = Vec<u8>;

/// What is remembered of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableRecord {
    /// What the keys of its rows begin with.
    pub(crate) keyspace: String,
    /// Its OID; 0 where the record does not say.
    pub(crate) oid: u32,
    /// The shape that it had; a shape that no table has where the record does not say.
    #[serde(flatten)]
    pub(crate) shape: Shape,
    /// When its rows were compared with the database last, or copied, in seconds since 1970; absent
    /// where an earlier version has put the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compared_at: Option<u64>,
}

/// A record as it is found in etcd.
#[derive(Debug)]
pub(crate) struct StoredRecord {
    /// The table.
    pub(crate) name: Name,
    /// What is remembered of it.
    pub(crate) record: TableRecord,
    /// The revision that put the record.
    pub(crate) mod_revision: i64,
}

impl Records {
    /// The records below `state_path` of the tables below `path`.
    pub(crate) fn new(state_path: &str, path: &str) -> Self {
        Self { prefix: layout::records(state_path), path: path.to_owned() }
    }

    /// The name of a table.
    pub(crate) fn name(published: &PublishedTable) -> Name {
        name_in_keys(&published.name)
    }

    /// The key of a table's record.
    pub(crate) fn key(&self, name: &[u8]) -> Vec<u8> {
        [&self.prefix, name].concat()
    }

    /// What the keys of a table's rows begin with.
    pub(crate) fn keyspace(&self, name: &[u8]) -> Vec<u8> {
        keyspace(&self.path, name)
    }

    /// The name of the table that has a row of this key.
    pub(crate) fn name_of_row<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        table_of_key(&self.path, key)
    }

    /// What is to be remembered of a table that was compared, or copied, now, when it had this shape.
    pub(crate) fn record(&self, published: &PublishedTable) -> TableRecord {
        let keyspace = self.keyspace(&Self::name(published));
        TableRecord {
            // It is made of texts.
            keyspace: String::from_utf8_lossy(&keyspace).into_owned(),
            oid: published.oid,
            shape: published.shape.clone(),
            compared_at: Some(seconds_since_1970()),
        }
    }

    /// All records, by the tables' names.
    pub(crate) fn read(&self, client: &mut Client) -> Result<BTreeMap<Name, TableRecord>> {
        let mut records = BTreeMap::new();
        self.each(client, |stored| {
            records.insert(stored.name, stored.record);
        })?;
        Ok(records)
    }

    /// Reads the records, in the order of their names.
    pub(crate) fn each(
        &self,
        client: &mut Client,
        mut sink: impl FnMut(StoredRecord),
    ) -> Result<()> {
        let mut pages = client.pages(&self.prefix, &prefix_end(&self.prefix), false);
        while let Some(page) = pages.next_page().map_err(Error::from)? {
            for KeyValue { key, value, mod_revision, .. } in page {
                if let Some(name) = key.strip_prefix(&self.prefix[..]) {
                    let record = self.parse(name, &value);
                    sink(StoredRecord { name: name.to_vec(), record, mod_revision });
                }
            }
        }
        Ok(())
    }

    /// The tables of which a row is not known: those with notes, which begin with `notes`.
    pub(crate) fn noted(&self, client: &mut Client, notes: &[u8]) -> Result<BTreeSet<Name>> {
        let mut names = BTreeSet::new();
        let mut pages = client.pages(notes, &prefix_end(notes), true);
        while let Some(page) = pages.next_page().map_err(Error::from)? {
            let keys = page.iter().filter_map(|note| note.key.strip_prefix(notes));
            names.extend(keys.filter_map(|key| self.name_of_row(key)).map(<[u8]>::to_vec));
        }
        Ok(names)
    }

    /// What the records' keys begin with.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// A record of this table. One of an earlier version has a shape alone, with digests of other
    /// facts: its table, as one whose record cannot be read, has no known shape, and is compared
    /// once.
    fn parse(&self, name: &[u8], json: &[u8]) -> TableRecord {
        serde_json::from_slice(json).unwrap_or_else(|_| TableRecord {
            keyspace: String::from_utf8_lossy(&self.keyspace(name)).into_owned(),
            oid: 0,
            shape: Shape::default(),
            compared_at: None,
        })
    }
}

impl TableRecord {
    /// What is not as it was when the record was put, in words; `None` if all is.
    pub(crate) fn change(&self, table: &PublishedTable) -> Option<String> {
        match self.shape.change(&table.shape) {
            Some(_) if self.oid == 0 => Some("an earlier version has copied it".to_owned()),
            Some(_) if self.oid != table.oid => Some("it is another table of that name".to_owned()),
            what => what.map(|what| format!("its {what} changed")),
        }
    }

    /// The record as it stands in etcd.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Texts and numbers always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The time, as records have it.
pub(crate) fn seconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_and_those_of_earlier_versions_have_no_shape() {
        let records = Records::new("state", "copy");
        let json = br#"{"keyspace":"/copy/s.t/","oid":16385,"columns":"1","types":"2","key":"3","filter":"4","storage":"5","publication":"6"}"#;
        let record = records.parse(b"s.t", json);
        assert_eq!((record.keyspace.as_str(), record.oid), ("/copy/s.t/", 16385));
        assert_eq!(record.to_json(), json);
        let json = [&json[..json.len() - 1], br#","compared_at":1700000000}"#].concat();
        let record = records.parse(b"s.t", &json);
        assert_eq!((record.compared_at, record.to_json()), (Some(1_700_000_000), json));
        let earlier = br#"{"columns":"1","types":"2","key":"3","filter":"4","storage":"5"}"#;
        for json in [&earlier[..], b"", b"{"] {
            let record_of_earlier = records.parse(b"s.t", json);
            assert_eq!(
                (record_of_earlier.keyspace.as_str(), record_of_earlier.oid),
                ("/copy/s.t/", 0)
            );
            assert_eq!(record_of_earlier.shape.change(&record.shape), Some("columns"));
        }
    }
}

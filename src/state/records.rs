//! What etcd remembers of the tables whose rows it holds: the shape that each had when its rows
//! were last known to be right. A table that changed, came or went while no daemon was running is
//! found by it at the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Unmet};
use crate::etcd::{Client, KeyValue, Txn, prefix_end};
use crate::mapping::{KeyTemplate, Keyspace, Plan, Shapes, TableShape, name_in_keys, table_named};
use crate::postgres::{PublishedTable, Session, Shape};
use crate::state::layout;
use crate::table_name::TableName;

/// Where the records are: a key a table.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    /// What the records' keys begin with.
    prefix: Vec<u8>,
    /// What the rows become.
    shapes: Shapes,
}

/// A table's name as it stands in keys.
pub(crate) type Name = Vec<u8>;

/// What is remembered of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableRecord {
    /// What the keys of its rows begin with, unless it has only those of templates.
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
    /// The fingerprint of what the settings said of it; none if they said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
    /// The templates of its keys, as they are written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) templates: Vec<String>,
    /// Whether none of its keys are below `keyspace`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) templates_only: bool,
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
    /// The records below `state_path` of tables whose rows become what `shapes` says.
    pub(crate) fn new(state_path: &str, shapes: Shapes) -> Self {
        Self { prefix: layout::records(state_path), shapes }
    }

    /// The name of a table.
    pub(crate) fn name(published: &PublishedTable) -> Name {
        name_in_keys(&published.name)
    }

    /// The key of a table's record.
    pub(crate) fn key(&self, name: &[u8]) -> Vec<u8> {
        [&self.prefix, name].concat()
    }

    /// What the keys begin with that say which rows of a table have no key.
    pub(crate) fn marks(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.shapes.marks_of(name)
    }

    /// The name of the table that has a row of this key.
    pub(crate) fn name_of_row(&self, key: &[u8]) -> Option<Name> {
        self.shapes.table_of_key(key)
    }

    /// What is to be remembered of a table that was compared, or copied, now, when it had this shape.
    pub(crate) fn record(&self, published: &PublishedTable) -> TableRecord {
        self.record_of(&published.name, published.oid, published.shape.clone())
    }

    fn record_of(&self, name: &TableName, oid: u32, shape: Shape) -> TableRecord {
        let shaped = self.shapes.of(name);
        let templates = shaped.map(TableShape::templates).unwrap_or_default();
        TableRecord {
            // It is made of texts.
            keyspace: text(&self.shapes.own_keyspace(name)),
            oid,
            shape,
            compared_at: Some(seconds_since_1970()),
            fingerprint: shaped.map(TableShape::fingerprint),
            templates_only: !templates.is_empty() || shaped.is_some_and(|shape| shape.only_nested),
            templates,
        }
    }

    /// What is to be remembered, before anything is written, of a table whose keys or values become
    /// others than `before` says: whatever happens, its old keys and its new ones are known. `None`
    /// where its keys stay where they are.
    pub(crate) fn under_way(
        &self,
        before: Option<&TableRecord>,
        table: &TableName,
        oid: u32,
    ) -> Option<TableRecord> {
        let after = self.record_of(table, oid, Shape::default());
        let (fingerprint, templates, only) = match before {
            Some(before) => {
                (before.fingerprint.as_ref(), &before.templates[..], before.templates_only)
            }
            None => (None, &[][..], true),
        };
        if fingerprint == after.fingerprint.as_ref() {
            return None;
        }
        let mut all = after.templates;
        all.extend(templates.iter().filter(|old| !all.contains(old)).cloned().collect::<Vec<_>>());
        Some(TableRecord {
            // That of no block.
            fingerprint: Some(String::new()),
            templates: all,
            templates_only: after.templates_only && only,
            ..after
        })
    }

    /// Puts [these records](Self::under_way) before the stream goes on, as long as the position is as it was
    /// found. The stream writes what the settings say now, and may end before the watch has put them.
    ///
    /// # Errors
    /// [`Error::Fenced`] if the position has moved; those of etcd.
    pub(crate) fn begin(
        &self,
        client: &mut Client,
        position: &str,
        mod_revision: i64,
    ) -> Result<()> {
        for (name, before) in self.read(client)? {
            let table = table_named(&name);
            let record = table.and_then(|table| self.under_way(Some(&before), &table, before.oid));
            let Some(record) = record.filter(|record| *record != before) else { continue };
            let mut txn = Txn::new();
            txn.put(&self.key(&name), &record.to_json());
            txn.compare_mod_revision(position.as_bytes(), mod_revision);
            if !client.txn(&mut txn)?.succeeded {
                return Err(Error::Fenced { key: position.to_owned() });
            }
        }
        Ok(())
    }

    /// What is not as it was when the record was put, in words; `None` if all is.
    pub(crate) fn change(&self, record: &TableRecord, table: &PublishedTable) -> Option<String> {
        let fingerprint = self.shapes.of(&table.name).map(TableShape::fingerprint);
        match record.shape.change(&table.shape) {
            _ if record.fingerprint != fingerprint => {
                Some("its block in the settings changed".to_owned())
            }
            Some(_) if record.oid == 0 => Some("an earlier version has copied it".to_owned()),
            Some(_) if record.oid != table.oid => {
                Some("it is another table of that name".to_owned())
            }
            what => what.map(|what| format!("its {what} changed")),
        }
    }

    /// The keys that a claim is of which no record names: those that a template of the settings gives, or all.
    pub(crate) fn keys_of_claim(&self, keyspace: &[u8]) -> Keyspace {
        let templates = self.shapes.each().flat_map(|(_, shape)| &shape.keys);
        let own = Keyspace::of_templates(templates.map(|(template, _)| template));
        let own = own.into_iter().find(|own| own.prefix() == keyspace);
        own.unwrap_or_else(|| Keyspace::whole(keyspace))
    }

    /// Whether a claimed keyspace is one that the settings give to the table of this name.
    pub(crate) fn keeps_claim(&self, name: &[u8], keyspace: &[u8]) -> bool {
        self.shapes.each().any(|(table, _)| {
            name_in_keys(table) == name
                && self.shapes.keyspaces(table).iter().any(|own| own == keyspace)
        })
    }

    /// Whether the settings say what becomes of the table of this name. If it cannot be copied so, its
    /// keys are left as they are.
    pub(crate) fn keeps(&self, name: &[u8]) -> bool {
        self.shapes.each().any(|(table, _)| name_in_keys(table) == name)
    }

    /// What the database lacks of what the settings say, but of the tables that had their shapes when
    /// their records were put.
    ///
    /// # Errors
    /// Those of both servers.
    pub(crate) fn refusals(
        &self,
        client: &mut Client,
        session: &mut Session,
        publication: &str,
        tables: &[TableName],
    ) -> Result<Vec<Unmet>> {
        let records = match self.shapes.each().next() {
            Some(_) => self.read(client)?,
            None => BTreeMap::new(),
        };
        self.shapes.refusals(session, publication, tables, |name, shape| {
            let record = records.get(&name_in_keys(name));
            record.is_some_and(|record| record.fingerprint.as_ref() == Some(&shape.fingerprint()))
        })
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
            names.extend(keys.filter_map(|key| self.name_of_row(key)));
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
            keyspace: text(&self.shapes.keyspace_of(name)),
            oid: 0,
            shape: Shape::default(),
            compared_at: None,
            fingerprint: None,
            templates: Vec::new(),
            templates_only: false,
        })
    }
}

fn text(keyspace: &[u8]) -> String {
    String::from_utf8_lossy(keyspace).into_owned()
}

/// As serde wants it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl TableRecord {
    /// The keys that its rows may have.
    pub(crate) fn keyspaces(&self) -> Vec<Keyspace> {
        let templates = self.templates.iter().filter_map(|text| KeyTemplate::parse(text).ok());
        let templates: Vec<_> = templates.collect();
        let own = (!self.templates_only).then(|| Keyspace::whole(self.keyspace.as_bytes()));
        own.into_iter().chain(Keyspace::of_templates(&templates)).collect()
    }

    /// Those of them that hold keys which none of these tables has now.
    pub(crate) fn left_behind(&self, now: &Plan) -> Vec<Keyspace> {
        let mut keyspaces = self.keyspaces();
        keyspaces.retain(|keyspace| !now.keyspaces().contains(keyspace));
        keyspaces
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
        let records = Records::new("state", Shapes::new("copy", BTreeMap::new()));
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

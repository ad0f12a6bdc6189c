//! What both ends have of some keys, at this moment.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::document::{Table, decoded_key_column};
use crate::error::{Error, Result};
use crate::etcd::Client;
use crate::postgres::{PublishedTable, Session, quoted};
use crate::reconcile::{Rows, sql_key};

/// Whose keys they are.
#[derive(Clone, Copy)]
pub(super) enum Scope<'t> {
    /// A published table's.
    Table {
        /// The table.
        published: &'t PublishedTable,
        /// Its keys and documents.
        table: &'t Table,
    },
    /// Nobody's: there are no rows.
    NoTable,
}

/// A row, or what etcd has of it: a version, and a digest of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// The transaction that made the row, or the revision that put the key.
    pub(super) number: i64,
    /// The same number for the same document.
    pub(super) digest: u64,
}

/// Looks keys up.
pub(super) struct Lookup {
    pub(super) session: Session,
    client: Client,
    /// The most keys in one request to etcd.
    request_keys: usize,
    hasher: RandomState,
}

impl Lookup {
    pub(super) fn new(session: Session, client: Client, request_keys: usize) -> Self {
        Self { session, client, request_keys, hasher: RandomState::new() }
    }

    /// The rows that have these keys.
    pub(super) fn rows(
        &mut self,
        scope: Scope<'_>,
        keys: &[&[u8]],
    ) -> Result<HashMap<Vec<u8>, Version>> {
        let Scope::Table { published, table } = scope else { return Ok(HashMap::new()) };
        let by_columns = match by_columns(table, keys) {
            None => return Ok(HashMap::new()),
            Some(condition) => self.rows_where(published, table, &condition),
        };
        match by_columns {
            // A key that is none of this table's may have values that its columns do not take,
            // and a type may have no operator. Then all rows are looked at.
            Err(Error::PostgresServer { .. }) => {
                self.rows_where(published, table, &by_text(table, keys))
            }
            rows => rows,
        }
    }

    fn rows_where(
        &mut self,
        published: &PublishedTable,
        table: &Table,
        condition: &str,
    ) -> Result<HashMap<Vec<u8>, Version>> {
        let mut found = HashMap::new();
        let mut rows = Rows::versions(&mut self.session, published, table, condition)?;
        while rows.advance()? {
            let number = i64::from(rows.version());
            let digest = self.hasher.hash_one(rows.document());
            found.insert(rows.key().to_vec(), Version { number, digest });
        }
        Ok(found)
    }

    /// What etcd has under these keys, in their order.
    pub(super) fn stored(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<Version>>> {
        let mut versions = Vec::with_capacity(keys.len());
        for keys in keys.chunks(self.request_keys) {
            for found in self.client.get_many(keys)? {
                versions.push(found.map(|found| Version {
                    number: found.mod_revision,
                    digest: self.hasher.hash_one(&found.value[..]),
                }));
            }
        }
        Ok(versions)
    }
}

/// The rows with these keys, as a condition that an index can serve; `None` if none of the keys
/// can be a row's.
fn by_columns(table: &Table, keys: &[&[u8]]) -> Option<String> {
    let columns: Vec<_> = table.key_names().map(quoted).collect();
    let mut tuples = Vec::new();
    for key in keys.iter().filter_map(|key| key.strip_prefix(&table.prefix[..])) {
        let parts: Option<Vec<_>> = key
            .split(|&byte| byte == b'/')
            .map(|part| decoded_key_column(part).map(|text| literal(&text)))
            .collect();
        if let Some(parts) = parts.filter(|parts| parts.len() == columns.len()) {
            tuples.push(format!("({})", parts.join(", ")));
        }
    }
    let columns = columns.join(", ");
    (!tuples.is_empty()).then(|| format!("({columns}) IN ({})", tuples.join(", ")))
}

/// The same as a condition that compares texts.
fn by_text(table: &Table, keys: &[&[u8]]) -> String {
    let texts = keys.iter().filter_map(|key| {
        let text = str::from_utf8(key.strip_prefix(&table.prefix[..])?).ok()?;
        (!text.contains('\0')).then(|| literal(text))
    });
    format!("{} IN ({})", sql_key(table), texts.collect::<Vec<_>>().join(", "))
}

/// A text as SQL, whatever `standard_conforming_strings` is.
fn literal(text: &str) -> String {
    let mut sql = String::from("E'");
    for character in text.chars() {
        match character {
            '\'' | '\\' => sql.extend([character; 2]),
            _ => sql.push(character),
        }
    }
    sql + "'"
}

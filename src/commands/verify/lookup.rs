//! What both ends have of some keys, at this moment.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::error::{Error, Result};
use crate::etcd::Client;
use crate::mapping::CopiedTable;
use crate::postgres::Session;
use crate::reconcile::{Rows, Which};

/// Whose keys they are.
#[derive(Clone, Copy)]
pub(super) enum Scope<'t> {
    /// A copied table's.
    Table(&'t CopiedTable),
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
        let Scope::Table(table) = scope else { return Ok(HashMap::new()) };
        match self.rows_of(table, Which::Keys(keys)) {
            // A key that is none of this table's may have values that its columns do not take,
            // and a type may have no operator. Then all rows are looked at.
            Err(Error::PostgresServer { .. }) => self.rows_of(table, Which::KeyTexts(keys)),
            rows => rows,
        }
    }

    fn rows_of(
        &mut self,
        table: &CopiedTable,
        which: Which<'_>,
    ) -> Result<HashMap<Vec<u8>, Version>> {
        let mut found = HashMap::new();
        let mut rows = Rows::versions(&mut self.session, table, which)?;
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

//! What of a table its plan is made of.

use super::plan::Plan;
use super::shape::Shapes;
use crate::error::Unmet;
use crate::postgres::{NamedTable, PublishedTable, TableColumn, quoted_name};
use crate::table_name::TableName;

/// A table as the catalog has it, or as the stream has described it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'t> {
    pub(crate) oid: u32,
    pub(crate) name: &'t TableName,
    /// The columns that are published.
    pub(crate) columns: &'t [TableColumn],
    /// The names of the key's columns, as in [`PublishedTable::key`].
    pub(crate) key: Option<&'t [String]>,
    /// Whether all columns are sent of a row that is deleted.
    pub(crate) full_identity: bool,
    /// Whether only some of its rows are published.
    pub(crate) is_filtered: bool,
}

impl<'t> Table<'t> {
    /// A table that is published.
    pub(crate) fn published(table: &'t PublishedTable) -> Self {
        let PublishedTable { oid, name, columns, key, full_identity, row_filter, .. } = table;
        Self {
            oid: *oid,
            name,
            columns,
            key: key.as_deref(),
            full_identity: *full_identity,
            is_filtered: row_filter.is_some(),
        }
    }

    /// A table that will be.
    pub(crate) fn named(name: &'t TableName, table: &'t NamedTable) -> Self {
        let NamedTable { oid, columns, key, full_identity } = table;
        Self {
            oid: *oid,
            name,
            columns,
            key: key.as_deref(),
            full_identity: *full_identity,
            is_filtered: false,
        }
    }

    /// Its plan, with nothing nested.
    pub(super) fn plan(&self, shapes: &Shapes) -> Result<Plan, Unmet> {
        Plan::new(shapes, self.name, self.columns, self.key, self.full_identity)
    }

    /// The place of a column.
    pub(super) fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|known| known.name == column)
    }

    /// The names of the key's columns; none if it has no key.
    pub(super) fn key(&self) -> &'t [String] {
        self.key.unwrap_or_default()
    }

    /// Whether PostgreSQL sends this column of a row that is deleted.
    pub(super) fn sends(&self, column: &str) -> bool {
        self.full_identity || self.key().iter().any(|sent| sent == column)
    }

    /// What to do so that PostgreSQL sends these columns of a row that is deleted.
    pub(super) fn cure_of_identity(&self, columns: &str) -> String {
        let table = quoted_name(self.name);
        format!(
            "ALTER TABLE {table} REPLICA IDENTITY FULL, or, with a unique index of columns that are NOT \
             NULL, {columns} among them, ALTER TABLE {table} REPLICA IDENTITY USING INDEX ..."
        )
    }
}

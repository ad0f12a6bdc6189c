//! Tables as the catalog has them.

use super::shape::Shape;
use crate::kind::Kind;
use crate::postgres::quoting::quoted_name;
use crate::table_name::TableName;

/// A table as its publication publishes it.
#[derive(Clone, Debug)]
pub struct PublishedTable {
    /// Its OID.
    pub oid: u32,
    /// Its schema and name.
    pub name: TableName,
    /// The published columns, in order.
    pub columns: Vec<TableColumn>,
    /// The names of the columns of its key, in key order, published or not: those of the identity
    /// index, else of the primary key. `None` if it has neither. A deferrable primary key is none:
    /// it can be violated for a while, and PostgreSQL does not take it for an identity either.
    pub key: Option<Vec<String>>,
    /// Whether all columns are sent of a row that is deleted (`REPLICA IDENTITY FULL`).
    pub full_identity: bool,
    /// What a row must be for it to be published, as SQL; `None` for every row.
    pub row_filter: Option<String>,
    /// Whether its rows are those of its partitions.
    pub partitioned: bool,
    /// Those of its partitions that are unlogged: their rows never come in the stream.
    pub unlogged_partitions: Vec<(u32, String)>,
    /// The planner's estimate of its rows, 0 if it has none.
    pub estimated_rows: u64,
    /// What the documents of its rows depend on.
    pub shape: Shape,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// The OID of its type, of a domain that of the type below it.
    pub type_oid: u32,
    /// How its values become JSON.
    pub kind: Kind,
}

impl PublishedTable {
    /// Its name as SQL.
    #[must_use]
    pub fn sql_name(&self) -> String {
        quoted_name(&self.name)
    }
}

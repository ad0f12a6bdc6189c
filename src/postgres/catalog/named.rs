//! What the catalog says of tables that the settings name, published or not.

use super::key_sql;
use super::table::TableColumn;
use crate::error::Result;
use crate::postgres::client::failed;
use crate::postgres::quoting::quoted_name;
use crate::postgres::session::{LossyText, Session, texts};
use crate::table_name::TableName;

/// A table as it is, whether or not it is published.
#[derive(Clone, Debug)]
pub struct NamedTable {
    /// Its OID.
    pub oid: u32,
    /// Its columns, published or not.
    pub columns: Vec<TableColumn>,
    /// The names of the columns of its key: see [`PublishedTable::key`](super::PublishedTable::key).
    pub key: Option<Vec<String>>,
    /// Whether all columns are sent of a row that is deleted.
    pub full_identity: bool,
}

impl Session {
    /// The table of this name; `None` if there is none.
    ///
    /// # Errors
    /// As for every query.
    pub fn named_table(&mut self, table: &TableName) -> Result<Option<NamedTable>> {
        let sql = format!(
            "SELECT c.oid, coalesce(l.names, '{{}}') AS names, coalesce(l.types, '{{}}') AS types, \
                    k.columns AS key, c.relreplident = 'f' AS full_identity \
               FROM pg_class c {} \
              CROSS JOIN LATERAL (\
                 SELECT array_agg(a.attname::text ORDER BY a.attnum) AS names, \
                        array_agg(a.atttypid ORDER BY a.attnum) AS types FROM pg_attribute a \
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) l \
              WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p')",
            key_sql(self.version)
        );
        let rows = self.client.query(&sql, &[&quoted_name(table)]);
        let rows = rows.map_err(|error| failed("looking for the tables of the settings", error))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let oids: Vec<u32> = row.get("types");
        let types = self.types(oids.iter().copied())?;
        Ok(Some(NamedTable {
            oid: row.get("oid"),
            columns: types.columns(texts(row.get("names")), oids),
            key: row.get::<_, Option<_>>("key").map(texts),
            full_identity: row.get("full_identity"),
        }))
    }

    /// The names of all tables that can be published.
    ///
    /// # Errors
    /// As for every query.
    pub fn publishable_tables(&mut self) -> Result<Vec<TableName>> {
        let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c \
                     JOIN pg_namespace n ON n.oid = c.relnamespace \
                    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384 \
                      AND n.nspname <> 'information_schema' ORDER BY 1, 2";
        let rows = self.client.query(sql, &[]);
        let rows = rows.map_err(|error| failed("looking for the tables of the settings", error))?;
        let text = |row: &::postgres::Row, column| row.get::<_, LossyText>(column).0;
        Ok(rows.iter().map(|row| TableName { schema: text(row, 0), name: text(row, 1) }).collect())
    }
}

//! The tables of a publication that is there, and how it gets others.

use super::client::failed;
use super::quoting::quoted;
use super::session::Session;
use crate::error::{Result, Unmet};
use crate::table_name::TableName;

impl Session {
    /// The tables that a publication lists; `None` if it is for all tables, or is not there.
    ///
    /// # Errors
    /// As for every query.
    pub fn listed_tables(&mut self, publication: &str) -> Result<Option<Vec<TableName>>> {
        let sql = "SELECT n.nspname::text, c.relname::text \
                     FROM pg_publication p LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid \
                     LEFT JOIN pg_class c ON c.oid = r.prrelid \
                     LEFT JOIN pg_namespace n ON n.oid = c.relnamespace \
                    WHERE p.pubname = $1::text AND NOT p.puballtables ORDER BY 1, 2";
        let rows = self.client.query(sql, &[&publication]);
        let rows =
            rows.map_err(|error| failed("looking at the tables of the publication", error))?;
        let name = |row: &::postgres::Row| {
            let (schema, name): (Option<String>, Option<String>) = (row.get(0), row.get(1));
            schema.zip(name).map(|(schema, name)| TableName { schema, name })
        };
        Ok((!rows.is_empty()).then(|| rows.iter().filter_map(name).collect()))
    }

    /// Makes a publication anew, of these tables, of all if none is named, in one transaction: each
    /// change that is decoded finds the publication as it was when the change was made.
    ///
    /// # Errors
    /// As for [`Session::create_publication`].
    pub fn remake_publication(&mut self, publication: &str, tables: &[TableName]) -> Result<()> {
        Unmet::none(&self.publication_obstacles(publication, tables)?)?;
        let create = self.create_publication_sql(publication, tables)?;
        let sql = format!("BEGIN; DROP PUBLICATION {}; {create}; COMMIT", quoted(publication));
        self.execute(&format!("making the publication anew ({create})"), &sql)
    }
}

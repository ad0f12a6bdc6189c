//! What the catalog says of tables and types: facts alone, and for any number of tables with the
//! same few statements.

mod foreign_keys;
mod named;
mod shape;
mod table;
mod types;

use std::collections::{BTreeMap, HashMap};

pub use self::foreign_keys::{ForeignKey, Relatives};
pub use self::named::NamedTable;
use self::shape::Digest;
pub use self::shape::Shape;
pub use self::table::{PublishedTable, TableColumn};
use self::types::Types;
use super::client::failed;
use super::quoting::quoted_name;
use super::session::{LossyText, Session, texts};
use crate::error::Result;
use crate::kind::Kind;
use crate::table_name::TableName;

/// What the catalog says of a table that the stream has described.
#[derive(Clone, Debug, Default)]
pub struct TableFacts {
    /// The key, as in [`PublishedTable::key`].
    pub key: Option<Vec<String>>,
    /// The kinds of the types that were asked for; one that the catalog does not know is missing.
    pub kinds: HashMap<u32, Kind>,
    /// The types below those that are domains.
    pub bases: HashMap<u32, u32>,
    /// The tables that it is nested in, or that are nested in it, and those that belong to them.
    pub relatives: Relatives,
}

impl Session {
    /// The tables of a publication, by schema and name.
    ///
    /// # Errors
    /// As for every query.
    pub fn published_tables(&mut self, publication: &str) -> Result<Vec<PublishedTable>> {
        self.published_of(publication, None)
    }

    /// Those of a publication's tables that have one of these names, or all of them.
    ///
    /// # Errors
    /// As for every query.
    pub fn published_of(
        &mut self,
        publication: &str,
        names: Option<&[TableName]>,
    ) -> Result<Vec<PublishedTable>> {
        let names: Option<Vec<_>> = names.map(|names| names.iter().map(quoted_name).collect());
        let sql = published_tables_sql(self.version);
        let rows = self.client.query(&sql, &[&publication, &names]);
        let rows = rows.map_err(|error| failed("looking at the published tables", error))?;
        let column_types = rows.iter().flat_map(|row| row.get::<_, Vec<u32>>("types"));
        let types = self.types(column_types)?;
        Ok(rows.iter().map(|row| published_table(row, &types)).collect())
    }

    /// What the catalog says now of a table that the stream has described with columns of these
    /// types.
    ///
    /// # Errors
    /// As for every query.
    pub fn table_facts(&mut self, oid: u32, column_types: &[u32]) -> Result<TableFacts> {
        let sql =
            format!("SELECT k.columns FROM pg_class c {} WHERE c.oid = $1", key_sql(self.version));
        let rows = self.client.query(&sql, &[&oid]);
        let rows = rows.map_err(|error| failed("looking for a table's key", error))?;
        let types = self.types(column_types.iter().copied())?;
        let kinds = column_types.iter().filter_map(|&oid| Some((oid, types.kind(oid)?)));
        let key = rows.first().and_then(|row| row.get::<_, Option<_>>(0)).map(texts);
        let bases = column_types.iter().map(|&oid| (oid, types.base(oid)));
        let bases = bases.filter(|(oid, base)| oid != base).collect();
        Ok(TableFacts { key, kinds: kinds.collect(), bases, relatives: Relatives::default() })
    }

    /// The names of these tables, by their OIDs; those that are gone have none.
    ///
    /// # Errors
    /// As for every query.
    pub fn names_of_tables(&mut self, oids: &[u32]) -> Result<BTreeMap<u32, TableName>> {
        let sql = "SELECT c.oid, n.nspname::text, c.relname::text FROM pg_class c \
                     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1)";
        let rows = self.client.query(sql, &[&oids]);
        let rows = rows.map_err(|error| failed("looking for tables", error))?;
        let text = |row: &::postgres::Row, column: usize| row.get::<_, LossyText>(column).0;
        let name = |row| TableName { schema: text(row, 1), name: text(row, 2) };
        Ok(rows.iter().map(|row| (row.get(0), name(row))).collect())
    }

    /// What `to_json` makes of values of one type, which are given as text, in their order.
    ///
    /// # Errors
    /// As for every query; [`PostgresServer`](crate::error::Error::PostgresServer) too if the type
    /// does not take one of the texts.
    pub fn to_json(&mut self, type_oid: u32, texts: &[&str]) -> Result<Vec<Option<String>>> {
        let doing = "casting values to json";
        let row = self.client.query_one("SELECT format_type($1, NULL)", &[&type_oid]);
        let LossyText(name) = row.map_err(|error| failed(doing, error))?.get(0);
        let sql = format!(
            "SELECT to_json(CAST(v.text AS {name}))::text \
               FROM unnest($1::text[]) WITH ORDINALITY v (text, place) ORDER BY v.place"
        );
        let rows = self.client.query(&sql, &[&texts]).map_err(|error| failed(doing, error))?;
        let json = |row: &::postgres::Row| row.get::<_, Option<LossyText>>(0).map(|text| text.0);
        Ok(rows.iter().map(json).collect())
    }

    /// The tables, of these and what inherits from them, or of all if there is none, that
    /// PostgreSQL would refuse to update once they are published.
    pub(super) fn tables_without_identity(&mut self, oids: &[u32]) -> Result<Vec<String>> {
        let doing = "looking for tables without a replica identity";
        let sql = "WITH RECURSIVE wanted AS (\
                 SELECT oid FROM unnest($1::oid[]) oid \
                 UNION SELECT i.inhrelid FROM pg_inherits i JOIN wanted w ON w.oid = i.inhparent) \
             SELECT c.oid::regclass::text FROM pg_class c \
              WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 \
                AND c.relnamespace <> 'information_schema'::regnamespace \
                AND (cardinality($1::oid[]) = 0 OR c.oid IN (SELECT oid FROM wanted)) \
                AND c.relreplident <> 'f' \
                AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid \
                        AND CASE c.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate \
                            WHEN 'i' THEN i.indisreplident ELSE false END) \
              ORDER BY 1";
        let rows = self.client.query(sql, &[&oids]).map_err(|error| failed(doing, error))?;
        Ok(rows.iter().map(|row| row.get::<_, LossyText>(0).0).collect())
    }
}

/// The key of table `c`, as SQL to be joined: `k.columns`.
fn key_sql(version: u32) -> String {
    let key_columns = if version >= 110_000 { "i.indnkeyatts" } else { "i.indnatts" };
    format!(
        "LEFT JOIN LATERAL (\
            SELECT array_agg(a.attname::text ORDER BY u.place) AS columns \
              FROM pg_index i \
             CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY u (number, place) \
              JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.number \
             WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate \
               AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END \
               AND u.place <= {key_columns}) k ON true"
    )
}

fn published_tables_sql(version: u32) -> String {
    // From 15 on a publication can have columns and rows left out, but only from 18 on what the
    // server says of generated columns is true.
    let listed = "(p.attrs IS NULL OR a.attnum = ANY (p.attrs::int2[]))";
    let is_published = match version {
        180_000.. => listed.to_owned(),
        150_000.. => format!("{listed} AND a.attgenerated = ''"),
        120_000.. => "a.attgenerated = ''".to_owned(),
        _ => "true".to_owned(),
    };
    let filter = if version >= 150_000 { "pg_get_expr(p.qual, c.oid)" } else { "NULL::text" };
    format!(
        "SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, \
                c.relkind = 'p' AS partitioned, c.relreplident = 'f' AS full_identity, \
                {filter} AS row_filter, \
                greatest(c.reltuples, 0)::bigint AS estimated_rows, \
                coalesce(l.names, '{{}}') AS names, coalesce(l.types, '{{}}') AS types, \
                k.columns AS key, coalesce(u.oids, '{{}}') AS unlogged, \
                coalesce(u.names, '{{}}') AS unlogged_names, {facts} \
           FROM pg_publication b \
          CROSS JOIN LATERAL pg_get_publication_tables(b.pubname::text) p \
           JOIN pg_class c ON c.oid = p.relid \
           JOIN pg_namespace n ON n.oid = c.relnamespace \
          CROSS JOIN LATERAL (\
             SELECT array_agg(a.attname::text ORDER BY a.attnum) AS names, \
                    array_agg(a.atttypid ORDER BY a.attnum) AS types, \
                    {columns} AS facts \
               FROM pg_attribute a \
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                AND {is_published}) l \
           {key} \
          CROSS JOIN LATERAL (\
             WITH RECURSIVE part (oid) AS (\
                 SELECT i.inhrelid FROM pg_inherits i \
                  WHERE i.inhparent = c.oid AND c.relkind = 'p' \
                 UNION SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid) \
             SELECT array_agg(s.oid) AS oids, array_agg(s.oid::regclass::text) AS names \
               FROM part JOIN pg_class s ON s.oid = part.oid \
              WHERE s.relpersistence = 'u') u \
          WHERE b.pubname = $1::text \
            AND ($2::text[] IS NULL OR c.oid IN (SELECT to_regclass(w.name) FROM unnest($2::text[]) w (name))) \
          ORDER BY schema, name",
        facts = shape::facts_sql(version),
        columns = shape::COLUMN_FACTS,
        key = key_sql(version),
    )
}

fn published_table(row: &::postgres::Row, types: &Types) -> PublishedTable {
    let (names, oids): (_, Vec<u32>) = (texts(row.get("names")), row.get("types"));
    let estimated_rows: i64 = row.get("estimated_rows");
    let optional = |column: &str| row.get::<_, Option<LossyText>>(column).map(|text| text.0);
    let text = |column: &str| row.get::<_, LossyText>(column).0;
    let row_filter = optional("row_filter");
    let digest = |facts: &str| Digest::of(optional(facts));
    let shape = Shape {
        columns: digest("column_facts"),
        types: Digest::of(Some(types.facts(&oids))),
        key: digest("key_facts"),
        filter: Digest::of(row_filter.clone()),
        storage: digest("storage_facts"),
        publication: digest("publication_facts"),
        nested: Digest::default(),
    };
    PublishedTable {
        oid: row.get("oid"),
        name: TableName { schema: text("schema"), name: text("name") },
        columns: types.columns(names, oids),
        key: row.get::<_, Option<_>>("key").map(texts),
        full_identity: row.get("full_identity"),
        row_filter,
        unlogged_partitions: row
            .get::<_, Vec<u32>>("unlogged")
            .into_iter()
            .zip(texts(row.get("unlogged_names")))
            .collect(),
        partitioned: row.get("partitioned"),
        estimated_rows: u64::try_from(estimated_rows).unwrap_or(0),
        shape,
    }
}

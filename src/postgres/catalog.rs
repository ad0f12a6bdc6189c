//! What the catalog says of tables and types.

use serde::{Deserialize, Serialize};

use super::client::failed;
use super::quoting::{quoted, quoted_name};
use super::session::Session;
use crate::document::{Kind, Table, TableColumn, json_string};
use crate::error::{Result, Unmet};
use crate::table_name::TableName;

/// A table as its publication publishes it.
#[derive(Clone, Debug)]
pub struct PublishedTable {
    /// Its OID.
    pub oid: u32,
    /// Its schema and name.
    pub name: TableName,
    /// The published columns, in order: name and type's OID.
    pub columns: Vec<(String, u32)>,
    /// What a row must be for it to be published, as SQL; `None` for every row.
    pub row_filter: Option<String>,
    /// Whether its rows are those of its partitions.
    pub partitioned: bool,
    /// The planner's estimate of its rows, 0 if it has none.
    pub estimated_rows: u64,
    /// What the documents of its rows depend on.
    pub shape: Shape,
}

/// What the documents of a table's rows depend on beside the rows' own changes, a digest each.
/// Where one of them has changed, rows may have changed that the stream says nothing of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The published columns: names and types.
    columns: String,
    /// The columns' own types: labels of enums, attributes of composites.
    types: String,
    /// The identity and its columns.
    key: String,
    /// The row filter.
    filter: String,
    /// The files that hold the rows: another one where they were rewritten, or where a partition
    /// came, went or was truncated.
    storage: String,
}

impl Shape {
    /// What differs between two shapes, in a word; `None` if nothing does. A change of the columns
    /// brings others with it: the first is the cause.
    #[must_use]
    pub fn change(&self, other: &Self) -> Option<&'static str> {
        let parts = [
            ("columns", &self.columns, &other.columns),
            ("types", &self.types, &other.types),
            ("key", &self.key, &other.key),
            ("row filter", &self.filter, &other.filter),
            ("storage", &self.storage, &other.storage),
        ];
        parts.into_iter().find(|(_, one, other)| one != other).map(|(name, ..)| name)
    }
}

impl PublishedTable {
    /// Its name as SQL.
    #[must_use]
    pub fn sql_name(&self) -> String {
        quoted_name(&self.name)
    }

    /// The published columns as SQL, those with a cast to `json` as what the cast gives; and after
    /// them those of [`Table::key_casts`] as they are.
    #[must_use]
    pub fn sql_columns(&self, table: &Table) -> String {
        let mut columns: Vec<_> = self.columns.iter().map(|(name, _)| quoted(name)).collect();
        for (position, _) in table.casts() {
            columns[position] = format!("to_json({})", columns[position]);
        }
        columns.extend(table.key_casts().map(|column| quoted(&self.columns[column].0)));
        columns.join(", ")
    }
}

/// The parts of the type of column `a` that can change under its name, as SQL.
const TYPE_PARTS: &str = "(\
    WITH RECURSIVE part (oid) AS (\
        SELECT a.atttypid \
        UNION SELECT next.oid FROM part JOIN pg_type t ON t.oid = part.oid \
        CROSS JOIN LATERAL (SELECT t.typelem UNION SELECT t.typbasetype \
            UNION SELECT f.atttypid FROM pg_attribute f \
             WHERE f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped) next (oid) \
        WHERE next.oid <> 0) \
    SELECT coalesce(string_agg(concat_ws(' ', \
               (SELECT string_agg(e.enumlabel, ' ' ORDER BY e.oid) \
                  FROM pg_enum e WHERE e.enumtypid = part.oid), \
               (SELECT string_agg(f.attname || ' ' || f.atttypid, ' ' ORDER BY f.attnum) \
                  FROM pg_attribute f JOIN pg_type t ON f.attrelid = t.typrelid \
                 WHERE t.oid = part.oid AND t.typtype = 'c' AND f.attnum > 0 \
                   AND NOT f.attisdropped)), ', ' ORDER BY part.oid), '') FROM part)";

/// The identity of table `c` and the columns of the indexes that can be its key, as SQL.
const KEY_PARTS: &str = "c.relreplident::text || coalesce((\
    SELECT string_agg(concat_ws(' ', i.indisprimary, i.indisreplident, i.indimmediate, \
                                i.indisvalid, i.indkey), ', ' ORDER BY i.indexrelid) \
      FROM pg_index i \
     WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident)), '')";

/// The files of table `c` and of its partitions, as SQL.
const STORAGE_PARTS: &str = "(\
    WITH RECURSIVE part (oid) AS (\
        SELECT c.oid UNION SELECT i.inhrelid FROM part JOIN pg_inherits i \
            ON i.inhparent = part.oid AND c.relkind = 'p') \
    SELECT string_agg(part.oid || ' ' || s.relfilenode, ', ' ORDER BY part.oid) \
      FROM part JOIN pg_class s ON s.oid = part.oid)";

impl Session {
    /// The tables of a publication, by schema and name.
    ///
    /// # Errors
    /// As for every query.
    pub fn published_tables(&mut self, publication: &str) -> Result<Vec<PublishedTable>> {
        // From 15 on the view knows the columns and the rows that are published, but only from 18
        // on what it says of generated columns is true.
        let (is_published, row_filter) = match self.version {
            180_000.. => ("a.attname = ANY (p.attnames)", "p.rowfilter"),
            150_000.. => ("a.attname = ANY (p.attnames) AND a.attgenerated = ''", "p.rowfilter"),
            120_000.. => ("a.attgenerated = ''", "NULL"),
            _ => ("true", "NULL"),
        };
        let sql = format!(
            "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p', {row_filter}::text, \
                    greatest(c.reltuples, 0)::bigint, \
                    array_agg(a.attname::text ORDER BY a.attnum), \
                    array_agg(a.atttypid ORDER BY a.attnum), \
                    md5(string_agg(a.attname || ' ' || a.atttypid, ', ' ORDER BY a.attnum)), \
                    md5(string_agg({TYPE_PARTS}, ', ' ORDER BY a.attnum)), \
                    md5({KEY_PARTS}), md5(coalesce({row_filter}::text, '')), md5({STORAGE_PARTS}) \
               FROM pg_publication_tables p \
               JOIN pg_namespace n ON n.nspname = p.schemaname \
               JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 \
                                  AND NOT a.attisdropped AND {is_published} \
              WHERE p.pubname = $1::text \
              GROUP BY c.oid, n.nspname, c.relname, c.relkind, {row_filter}::text, c.reltuples, \
                       c.relreplident, c.relfilenode ORDER BY 2, 3"
        );
        let rows = self.client.query(&sql, &[&publication]);
        let rows = rows.map_err(|error| failed("looking at the published tables", error))?;
        let table = |row: &::postgres::Row| {
            let (names, types): (Vec<String>, Vec<u32>) = (row.get(6), row.get(7));
            let estimated_rows: i64 = row.get(5);
            PublishedTable {
                oid: row.get(0),
                name: TableName { schema: row.get(1), name: row.get(2) },
                partitioned: row.get(3),
                row_filter: row.get(4),
                estimated_rows: u64::try_from(estimated_rows).unwrap_or(0),
                columns: names.into_iter().zip(types).collect(),
                shape: Shape {
                    columns: row.get(8),
                    types: row.get(9),
                    key: row.get(10),
                    filter: row.get(11),
                    storage: row.get(12),
                },
            }
        };
        Ok(rows.iter().map(table).collect())
    }

    /// How the rows of a table with these columns, names and types' OIDs, become keys and
    /// documents; or, for a table that is left out, why.
    ///
    /// # Errors
    /// As for every query.
    pub fn table(
        &mut self,
        path: &str,
        oid: u32,
        name: &TableName,
        columns: &[(String, u32)],
    ) -> Result<std::result::Result<Table, Unmet>> {
        let Some(key) = self.key(oid)? else {
            return Ok(Err(Unmet::new(
                "it has neither a primary key nor an identity index",
                "give it a primary key that is not deferrable, or name a unique index with ALTER \
                 TABLE ... REPLICA IDENTITY USING INDEX",
            )));
        };
        let columns = columns
            .iter()
            .map(|(name, oid)| {
                Ok(TableColumn { name: name.clone(), kind: self.column_kind(*oid)? })
            })
            .collect::<Result<Vec<_>>>()?;
        let table = Table::new(path, &name.schema, &name.name, columns, &key);
        Ok(table.ok_or_else(|| {
            Unmet::new(
                format!("not all columns of its key ({}) are published", key.join(", ")),
                "add them to its column list in the publication",
            )
        }))
    }

    /// The names of the columns of a table's key, in key order: those of the identity index, else
    /// of the primary key. A deferrable primary key is none: it can be violated for a while, and
    /// PostgreSQL does not take it for an identity either.
    pub(super) fn key(&mut self, oid: u32) -> Result<Option<Vec<String>>> {
        let key_columns = if self.version >= 110_000 { "i.indnkeyatts" } else { "i.indnatts" };
        let sql = format!(
            "SELECT array_agg(a.attname::text ORDER BY k.place) \
               FROM pg_class c \
               JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid AND i.indimmediate \
                    AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END \
              CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place) \
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number \
              WHERE c.oid = $1 AND k.place <= {key_columns}"
        );
        let row = self.client.query_one(&sql, &[&oid]);
        Ok(row.map_err(|error| failed("looking for a table's key", error))?.get(0))
    }

    fn column_kind(&mut self, type_oid: u32) -> Result<Kind> {
        let kind = self.kind(type_oid)?;
        Ok(if kind.needs_cast() { Kind::Cast { type_oid } } else { kind })
    }

    /// What `to_json` makes of a value of this type, which is given as text.
    ///
    /// # Errors
    /// As for every query; [`PostgresServer`](crate::error::Error::PostgresServer) too if the type
    /// no longer takes the text.
    pub fn to_json(&mut self, type_oid: u32, text: &str) -> Result<String> {
        let doing = "casting a value to json";
        let name: String = self
            .client
            .query_one("SELECT format_type($1, NULL)", &[&type_oid])
            .map_err(|error| failed(doing, error))?
            .get(0);
        let sql = format!("SELECT to_json(CAST($1::text AS {name}))::text");
        let row = self.client.query_one(&sql, &[&text]).map_err(|error| failed(doing, error))?;
        Ok(row.get(0))
    }

    /// What `to_json` makes of a type (PostgreSQL, `json_categorize_type`): what counts is the
    /// type below its domains.
    fn kind(&mut self, oid: u32) -> Result<Kind> {
        if let Some(kind) = Kind::of_builtin(oid) {
            return Ok(kind);
        }
        let doing = "looking at a type";
        let sql = "SELECT t.typtype::text, t.typbasetype, t.typrelid, t.typelem, \
                          t.typlen = -1 AND t.typelem <> 0, e.typdelim::text, \
                          t.oid >= 16384 AND EXISTS (SELECT FROM pg_cast \
                             WHERE castsource = t.oid AND casttarget = 'json'::regtype \
                               AND castmethod = 'f') \
                     FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem WHERE t.oid = $1";
        let rows = self.client.query(sql, &[&oid]).map_err(|error| failed(doing, error))?;
        // A type that is gone has no values any more that would matter.
        let Some(row) = rows.first() else { return Ok(Kind::Text) };
        let typtype: String = row.get(0);
        match (typtype.as_str(), row.get(4)) {
            ("d", _) => self.kind(row.get(1)),
            ("c", _) => self.composite(row.get(2)),
            (_, true) => {
                let delimiter: String = row.get(5);
                let delimiter = delimiter.bytes().next().unwrap_or(b',');
                Ok(Kind::Array { element: Box::new(self.kind(row.get(3))?), delimiter })
            }
            _ if row.get(6) => Ok(Kind::Cast { type_oid: oid }),
            _ => Ok(Kind::Text),
        }
    }

    fn composite(&mut self, relation: u32) -> Result<Kind> {
        let sql = "SELECT attname::text, atttypid FROM pg_attribute \
                    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
        let rows = self.client.query(sql, &[&relation]);
        let rows = rows.map_err(|error| failed("looking at a composite type", error))?;
        let attributes = rows.iter().map(|row| {
            let (name, oid): (String, u32) = (row.get(0), row.get(1));
            Ok((json_string(&name), self.kind(oid)?))
        });
        attributes.collect::<Result<_>>().map(Kind::Composite)
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
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

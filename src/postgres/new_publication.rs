//! The publication that pg2etcd makes where there is none.

use super::client::failed;
use super::quoting::{quoted, quoted_name};
use super::session::Session;
use crate::error::{Result, Unmet};
use crate::table_name::TableName;

/// What a publication is to be made of, and how.
pub(super) struct NewPublication<'t> {
    /// The tables; all if there is none.
    tables: &'t [TableName],
    /// Whether rows of partitions come under the name of the root.
    via_root: bool,
    /// Whether generated columns are published, where they are stored.
    stored_generated_columns: bool,
    /// Tables that could not be updated any more, whatever is published of them.
    refused: Vec<String>,
}

impl NewPublication<'_> {
    /// The statement that makes it.
    pub(super) fn sql(&self, publication: &str) -> String {
        let names: Vec<_> = self.tables.iter().map(quoted_name).collect();
        let what = match names.is_empty() {
            true => "ALL TABLES".to_owned(),
            false => format!("TABLE {}", names.join(", ")),
        };
        let options = [
            (self.via_root, "publish_via_partition_root = true"),
            (self.stored_generated_columns, "publish_generated_columns = stored"),
        ];
        let options: Vec<_> =
            options.into_iter().filter_map(|(wanted, option)| wanted.then_some(option)).collect();
        let with = match options.is_empty() {
            true => String::new(),
            false => format!(" WITH ({})", options.join(", ")),
        };
        format!("CREATE PUBLICATION {} FOR {what}{with}", quoted(publication))
    }

    /// Why it must not be made, if it must not.
    pub(super) fn obstacle(&self) -> Option<Unmet> {
        (!self.refused.is_empty()).then(|| {
            Unmet::new(
                format!(
                    "cannot publish {}: a virtual generated column is part of the replica identity, \
                     and PostgreSQL would refuse every UPDATE and DELETE on it",
                    self.refused.join(", ")
                ),
                "give it a primary key and REPLICA IDENTITY DEFAULT instead of FULL; or list the \
                 tables to publish, without it, in sync.tables",
            )
        })
    }
}

impl Session {
    /// What a publication of these tables, with these OIDs, is to be.
    pub(super) fn new_publication<'t>(
        &mut self,
        tables: &'t [TableName],
        oids: &[u32],
    ) -> Result<NewPublication<'t>> {
        let (stored, refused) = self.generated_identities(oids)?;
        Ok(NewPublication {
            tables,
            via_root: self.roots_have_keys(oids)?,
            stored_generated_columns: stored,
            refused,
        })
    }

    /// Whether there are partitioned tables among these, or among all if there is none, and each of
    /// them has a key: then their rows keep their keys whichever partition they are in.
    fn roots_have_keys(&mut self, oids: &[u32]) -> Result<bool> {
        if self.version < 130_000 {
            return Ok(false);
        }
        let sql = "SELECT coalesce(bool_and(EXISTS (\
                       SELECT FROM pg_index i \
                        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate \
                          AND CASE c.relreplident WHEN 'i' THEN i.indisreplident \
                                                  ELSE i.indisprimary END)), false) \
                     FROM pg_class c \
                    WHERE c.relkind = 'p' AND NOT c.relispartition \
                      AND (cardinality($1::oid[]) = 0 OR c.oid = ANY ($1))";
        let row = self.client.query_one(sql, &[&oids]);
        Ok(row.map_err(|error| failed("looking at partitioned tables", error))?.get(0))
    }

    /// Whether stored generated columns are part of an identity of these tables, or of all if there
    /// is none; and the tables with virtual ones in theirs. PostgreSQL refuses to update a table
    /// whose identity is not published as a whole, from 18 on, and never publishes virtual ones.
    fn generated_identities(&mut self, oids: &[u32]) -> Result<(bool, Vec<String>)> {
        if self.version < 180_000 {
            return Ok((false, Vec::new()));
        }
        let sql = "WITH RECURSIVE wanted AS (\
                 SELECT oid FROM unnest($1::oid[]) oid \
                 UNION SELECT i.inhrelid FROM pg_inherits i JOIN wanted w ON w.oid = i.inhparent) \
             SELECT c.oid::regclass::text, bool_or(a.attgenerated = 'v'), \
                    bool_or(a.attgenerated = 's') \
               FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 \
                                                  AND NOT a.attisdropped AND a.attgenerated <> '' \
              WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384 \
                AND (cardinality($1::oid[]) = 0 OR c.oid IN (SELECT oid FROM wanted)) \
                AND (c.relreplident = 'f' OR EXISTS (\
                     SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid \
                        AND a.attnum = ANY (i.indkey::int2[]) \
                        AND CASE c.relreplident WHEN 'd' THEN i.indisprimary \
                                 WHEN 'i' THEN i.indisreplident ELSE false END)) \
              GROUP BY c.oid ORDER BY 1";
        let rows = self.client.query(sql, &[&oids]);
        let rows = rows.map_err(|error| failed("looking at generated columns", error))?;
        let refused = rows.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect();
        Ok((rows.iter().any(|row| row.get(2)), refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_the_server_reads_them() {
        let tables = [r#"Sales.a"b"#, "public.t"].map(|name| {
            let (schema, name) = name.split_once('.').expect("a schema");
            TableName { schema: schema.to_owned(), name: name.to_owned() }
        });
        let mut new = NewPublication {
            tables: &tables,
            via_root: false,
            stored_generated_columns: false,
            refused: Vec::new(),
        };
        let sql = r#"CREATE PUBLICATION "p p" FOR TABLE "Sales"."a""b", "public"."t""#;
        assert_eq!(new.sql("p p"), sql);
        new.tables = &[];
        assert_eq!(new.sql("p"), r#"CREATE PUBLICATION "p" FOR ALL TABLES"#);
        (new.via_root, new.stored_generated_columns) = (true, true);
        assert_eq!(
            new.sql("p"),
            "CREATE PUBLICATION \"p\" FOR ALL TABLES WITH (publish_via_partition_root = true, \
             publish_generated_columns = stored)"
        );
    }
}

//! Foreign keys: which columns of a table point to which of another.

use super::table::PublishedTable;
use super::types::Types;
use crate::error::Result;
use crate::postgres::client::failed;
use crate::postgres::session::{LossyText, Session, texts};
use crate::table_name::TableName;

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// The table that has it, by its OID.
    pub table: u32,
    /// The table that it references, by its OID.
    pub parent: u32,
    /// Its columns, each with the one of the other table that it references.
    pub columns: Vec<(String, String)>,
    /// Whether PostgreSQL has seen it hold for all rows.
    pub validated: bool,
    /// Those of its columns that may have a value which is printed otherwise than the equal one that it
    /// references.
    pub unlike: Vec<String>,
    /// What changes whenever it does.
    pub facts: String,
}

/// Tables of a publication with their foreign keys.
#[derive(Clone, Debug, Default)]
pub struct Relatives {
    /// The tables.
    pub tables: Vec<PublishedTable>,
    /// The foreign keys of those tables.
    pub foreign_keys: Vec<ForeignKey>,
}

impl Session {
    /// Those of a publication's tables that have one of these names, and the foreign keys that they and
    /// the table of this OID have.
    ///
    /// # Errors
    /// As for every query.
    pub fn relatives(
        &mut self,
        publication: &str,
        names: &[TableName],
        oid: u32,
    ) -> Result<Relatives> {
        if names.is_empty() {
            return Ok(Relatives::default());
        }
        let tables = self.published_of(publication, Some(names))?;
        let oids: Vec<_> = tables.iter().map(|table| table.oid).chain([oid]).collect();
        Ok(Relatives { tables, foreign_keys: self.foreign_keys(&oids)? })
    }

    /// The foreign keys of these tables, in the order of their names. Those that PostgreSQL has made for
    /// the partitions of a table that is referenced are not among them.
    ///
    /// # Errors
    /// As for every query.
    pub fn foreign_keys(&mut self, tables: &[u32]) -> Result<Vec<ForeignKey>> {
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let is_own = match self.version {
            110_000.. => {
                "NOT EXISTS (SELECT FROM pg_constraint above \
                             WHERE above.oid = f.conparentid AND above.conrelid = f.conrelid)"
            }
            _ => "true",
        };
        let deterministic = match self.version {
            120_000.. => {
                "NOT EXISTS (SELECT FROM pg_collation l WHERE NOT l.collisdeterministic \
                              AND l.oid IN (a.attcollation, p.attcollation))"
            }
            _ => "true",
        };
        let sql = format!(
            "SELECT f.conname::text AS name, f.conrelid AS oid, f.confrelid AS parent, \
                    f.convalidated AS validated, concat_ws(' ', f.oid, f.xmin) AS facts, c.* \
               FROM pg_constraint f \
              CROSS JOIN LATERAL (\
                 SELECT array_agg(a.attname::text ORDER BY u.place) AS columns, \
                        array_agg(a.atttypid ORDER BY u.place) AS types, \
                        array_agg(p.attname::text ORDER BY u.place) AS parent_columns, \
                        array_agg(p.atttypid ORDER BY u.place) AS parent_types, \
                        array_agg({deterministic} ORDER BY u.place) AS deterministic \
                   FROM unnest(f.conkey, f.confkey) WITH ORDINALITY u (number, parent, place) \
                   JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = u.number \
                   JOIN pg_attribute p ON p.attrelid = f.confrelid AND p.attnum = u.parent) c \
              WHERE f.contype = 'f' AND f.conrelid = ANY ($1) AND {is_own} ORDER BY name, f.oid"
        );
        let rows = self.client.query(&sql, &[&tables]);
        let rows = rows.map_err(|error| failed("looking at foreign keys", error))?;
        let oids = |row: &::postgres::Row, column| row.get::<_, Vec<u32>>(column);
        let all = rows.iter().flat_map(|row| [oids(row, "types"), oids(row, "parent_types")]);
        let types = self.types(all.flatten())?;
        Ok(rows.iter().map(|row| foreign_key(row, &types)).collect())
    }
}

fn foreign_key(row: &::postgres::Row, types: &Types) -> ForeignKey {
    let (own, parents): (Vec<u32>, Vec<u32>) = (row.get("types"), row.get("parent_types"));
    let deterministic: Vec<bool> = row.get("deterministic");
    let columns: Vec<_> =
        texts(row.get("columns")).into_iter().zip(texts(row.get("parent_columns"))).collect();
    let alike = own.into_iter().zip(parents).zip(deterministic);
    let alike = alike.map(|((own, parent), deterministic)| {
        are_printed_alike(types.base(own), types.base(parent), deterministic)
            || (types.base(own) == types.base(parent) && types.is_enum(types.base(own)))
    });
    let unlike = columns.iter().zip(alike).filter(|(_, alike)| !alike);
    ForeignKey {
        name: row.get::<_, LossyText>("name").0,
        table: row.get("oid"),
        parent: row.get("parent"),
        validated: row.get("validated"),
        facts: row.get::<_, LossyText>("facts").0,
        unlike: unlike.map(|((own, _), _)| own.clone()).collect(),
        columns,
    }
}

/// Whether equal values of two built-in types are always the same text.
fn are_printed_alike(one: u32, other: u32, deterministic: bool) -> bool {
    match (one, other) {
        // int8, int2, int4
        (20 | 21 | 23, 20 | 21 | 23) => true,
        // text, varchar
        (25 | 1043, 25 | 1043) => deterministic,
        // bool, bytea, oid, date, timestamp, timestamptz, uuid
        (16 | 17 | 26 | 1082 | 1114 | 1184 | 2950, _) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_with_equal_values_that_are_the_same_text() {
        for (one, other, deterministic, alike) in [
            (20, 21, true, true),
            (23, 26, true, false),
            (25, 1043, true, true),
            (25, 25, false, false),
            (1042, 1042, true, false),
            (1700, 1700, true, false),
            (1114, 1114, true, true),
            (1114, 1184, true, false),
            (2950, 2950, true, true),
            (701, 701, true, false),
        ] {
            assert_eq!(are_printed_alike(one, other, deterministic), alike, "{one} {other}");
        }
    }
}

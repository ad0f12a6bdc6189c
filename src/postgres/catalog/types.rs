//! Types: what `to_json` makes of their values, and what that depends on.

use std::collections::{BTreeSet, HashMap};

use super::super::client::failed;
use super::super::session::{LossyText, Session, texts};
use super::table::TableColumn;
use crate::error::Result;
use crate::json_text::json_string;
use crate::kind::Kind;

/// Some types, with all that they are made of.
#[derive(Debug, Default)]
pub(super) struct Types(HashMap<u32, TypeFacts>);

/// What the catalog says of a type.
#[derive(Debug)]
struct TypeFacts {
    /// `pg_type.typtype`.
    typtype: String,
    /// What a domain is over; 0 for other types.
    base: u32,
    /// The type of the elements, where it is a true array; else 0.
    element: u32,
    /// What stands between the elements.
    delimiter: u8,
    /// Whether it has a cast to `json` of its own.
    casts: bool,
    /// A composite's attributes: names and types.
    attributes: Vec<(String, u32)>,
    /// What a range is of; 0 for other types.
    bound: u32,
    /// What changes whenever the type does.
    facts: String,
}

impl Session {
    /// These types and what they are made of, built-in scalars left out.
    pub(super) fn types(&mut self, oids: impl Iterator<Item = u32>) -> Result<Types> {
        let oids: BTreeSet<u32> = oids.filter(|&oid| Kind::of_builtin(oid).is_none()).collect();
        if oids.is_empty() {
            return Ok(Types::default());
        }
        let oids: Vec<u32> = oids.into_iter().collect();
        // A multirange, from 14 on, is of the bounds of its range.
        let ranges = match self.version {
            140_000.. => "t.oid IN (r.rngtypid, r.rngmultitypid)",
            _ => "t.oid = r.rngtypid",
        };
        let sql = format!(
            "WITH RECURSIVE part (oid) AS (\
                SELECT unnest($1::oid[]) \
                UNION SELECT next.oid FROM part JOIN pg_type t ON t.oid = part.oid \
                CROSS JOIN LATERAL (SELECT t.typelem UNION ALL SELECT t.typbasetype \
                    UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE {ranges} \
                    UNION ALL SELECT f.atttypid FROM pg_attribute f \
                     WHERE f.attrelid = t.typrelid AND t.typtype = 'c' AND f.attnum > 0 \
                       AND NOT f.attisdropped) next (oid) \
                WHERE next.oid <> 0) \
             SELECT t.oid, t.typtype::text, t.typbasetype AS base, \
                    CASE WHEN t.typlen = -1 THEN t.typelem ELSE 0 END AS element, \
                    coalesce(e.typdelim::text, ',') AS delimiter, \
                    t.oid >= 16384 AND j.facts IS NOT NULL AS casts, \
                    coalesce(f.names, '{{}}') AS names, coalesce(f.types, '{{}}') AS types, \
                    coalesce((SELECT r.rngsubtype FROM pg_range r WHERE {ranges}), 0) AS bound, \
                    concat_ws(' ', t.oid, t.xmin, f.facts, j.facts, \
                        (SELECT string_agg(concat_ws(' ', l.enumlabel, l.xmin), ' ' ORDER BY l.oid) \
                           FROM pg_enum l WHERE l.enumtypid = t.oid)) AS facts \
               FROM part JOIN pg_type t ON t.oid = part.oid \
               LEFT JOIN pg_type e ON e.oid = t.typelem \
               LEFT JOIN LATERAL (SELECT concat_ws(' ', s.oid, s.xmin, p.oid, p.xmin) AS facts \
                    FROM pg_cast s JOIN pg_proc p ON p.oid = s.castfunc \
                   WHERE s.castsource = t.oid AND s.casttarget = 'json'::regtype \
                     AND s.castmethod = 'f') j ON true \
              CROSS JOIN LATERAL (\
                 SELECT array_agg(a.attname::text ORDER BY a.attnum) AS names, \
                        array_agg(a.atttypid ORDER BY a.attnum) AS types, {attributes} AS facts \
                   FROM pg_attribute a \
                  WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 \
                    AND NOT a.attisdropped) f",
            attributes = super::shape::COLUMN_FACTS,
        );
        let rows = self.client.query(&sql, &[&oids]);
        let rows = rows.map_err(|error| failed("looking at types", error))?;
        Ok(Types(rows.iter().map(|row| (row.get("oid"), type_facts(row))).collect()))
    }
}

fn type_facts(row: &::postgres::Row) -> TypeFacts {
    let delimiter: String = row.get("delimiter");
    let (names, types): (_, Vec<u32>) = (texts(row.get("names")), row.get("types"));
    TypeFacts {
        typtype: row.get("typtype"),
        base: row.get("base"),
        element: row.get("element"),
        delimiter: delimiter.bytes().next().unwrap_or(b','),
        casts: row.get("casts"),
        attributes: names.into_iter().zip(types).collect(),
        bound: row.get("bound"),
        facts: row.get::<_, LossyText>("facts").0,
    }
}

impl Types {
    /// What `to_json` makes of a type (PostgreSQL, `json_categorize_type`): what counts is the type
    /// below its domains. `None` if the type, or one that it is made of, is not known.
    pub(super) fn kind(&self, oid: u32) -> Option<Kind> {
        if let Some(kind) = Kind::of_builtin(oid) {
            return Some(kind);
        }
        let facts = self.0.get(&oid)?;
        Some(match facts {
            TypeFacts { typtype, base, .. } if typtype == "d" => self.kind(*base)?,
            TypeFacts { typtype, attributes, .. } if typtype == "c" => {
                let attribute =
                    |(name, oid): &(String, u32)| Some((json_string(name), self.kind(*oid)?));
                Kind::Composite(attributes.iter().map(attribute).collect::<Option<_>>()?)
            }
            &TypeFacts { element, delimiter, .. } if element != 0 => {
                Kind::Array { element: Box::new(self.kind(element)?), delimiter }
            }
            TypeFacts { casts: true, .. } => Kind::Cast { type_oid: oid },
            _ => Kind::Text,
        })
    }

    /// Columns of these names and types.
    pub(super) fn columns(&self, names: Vec<String>, oids: Vec<u32>) -> Vec<TableColumn> {
        // A type that is gone has no values any more that would matter.
        let kind = |oid| self.kind(oid).unwrap_or(Kind::Text);
        let column = |(name, oid)| TableColumn { name, type_oid: self.base(oid), kind: kind(oid) };
        names.into_iter().zip(oids).map(column).collect()
    }

    /// The type below a domain; another type is that by itself.
    pub(super) fn base(&self, oid: u32) -> u32 {
        match self.0.get(&oid) {
            Some(TypeFacts { typtype, base, .. }) if typtype == "d" => self.base(*base),
            _ => oid,
        }
    }

    /// Whether it is an enum.
    pub(super) fn is_enum(&self, oid: u32) -> bool {
        self.0.get(&oid).is_some_and(|facts| facts.typtype == "e")
    }

    /// What changes whenever one of the types does, or one that it is made of.
    pub(super) fn facts(&self, oids: &[u32]) -> String {
        let mut parts = BTreeSet::new();
        let mut next = oids.to_vec();
        while let Some(oid) = next.pop() {
            if let Some(TypeFacts { base, element, attributes, bound, .. }) = self.0.get(&oid)
                && parts.insert(oid)
            {
                next.extend([*base, *element, *bound]);
                next.extend(attributes.iter().map(|(_, oid)| oid));
            }
        }
        let facts = parts.iter().filter_map(|oid| self.0.get(oid));
        facts.map(|facts| facts.facts.as_str()).collect::<Vec<_>>().join(", ")
    }
}

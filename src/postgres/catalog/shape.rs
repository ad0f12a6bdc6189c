//! What the documents of a table's rows depend on, beside the rows' own changes in the stream.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What the documents of a table's rows depend on beside the rows' own changes, a digest each.
/// Where one of them has changed, rows may have changed that the stream says nothing of.
///
/// The facts behind the digests have the `oid` and the `xmin` of catalog rows in them, so that what
/// was changed and changed back is seen too: a column that was dropped and added again, a table that
/// was out of the publication for a while. What moves without a meaning is not among them: VACUUM,
/// ANALYZE and CREATE INDEX write into the rows of `pg_class` in place, and leave `xmin` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The published columns.
    pub(super) columns: Digest,
    /// Their types, and what those are made of: labels of enums, attributes of composites, casts.
    pub(super) types: Digest,
    /// The identity and its columns.
    pub(super) key: Digest,
    /// The row filter.
    pub(super) filter: Digest,
    /// The table itself and its partitions, with the files that hold the rows: others where they
    /// were rewritten or truncated, or where a partition came or went.
    pub(super) storage: Digest,
    /// The publication, and how the table is in it.
    pub(super) publication: Digest,
    /// The tables that are nested in its documents, and the foreign keys by which they are.
    #[serde(default, skip_serializing_if = "Digest::is_none")]
    pub(super) nested: Digest,
}

impl Shape {
    /// Takes note of what is nested in the table's documents: the OID of each table, its shape, and the
    /// facts of the foreign key by which it is.
    pub(crate) fn nest<'n>(&mut self, nested: impl IntoIterator<Item = (u32, &'n Self, &'n str)>) {
        let facts = nested.into_iter().map(|(oid, shape, foreign_key)| {
            let Self { columns, types, key, filter, storage, publication, .. } = shape;
            let shape = [columns, types, key, filter, storage, publication];
            let shape = shape.map(|Digest(digest)| digest.as_str()).join(" ");
            format!("{oid} {shape} {foreign_key}")
        });
        let facts: Vec<_> = facts.collect();
        self.nested = match &facts[..] {
            [] => Digest::default(),
            facts => Digest::of(Some(facts.join(", "))),
        };
    }

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
            ("publication", &self.publication, &other.publication),
            ("nested tables", &self.nested, &other.nested),
        ];
        parts.into_iter().find(|(_, one, other)| one != other).map(|(name, ..)| name)
    }
}

/// A digest of facts. It is computed here: the server's `md5` is refused where FIPS rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Digest(String);

impl Digest {
    /// How much of the hash is kept, in bytes.
    const BYTES: usize = 16;

    fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn of(facts: Option<String>) -> Self {
        let hash = Sha256::digest(facts.unwrap_or_default());
        Self(hash.iter().take(Self::BYTES).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The facts of the columns `a`, to be aggregated, as SQL.
pub(super) const COLUMN_FACTS: &str =
    "string_agg(concat_ws(' ', a.attnum, a.xmin, a.attname, a.atttypid), ', ' ORDER BY a.attnum)";

/// The identity of table `c` and the indexes that can be its key.
const KEY_FACTS: &str = "concat_ws(' ', c.relreplident, (\
    SELECT string_agg(concat_ws(' ', i.indexrelid, i.xmin, i.indisprimary, i.indisreplident, \
                                i.indimmediate, i.indisvalid, i.indkey), ', ' ORDER BY i.indexrelid) \
      FROM pg_index i \
     WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident)))";

/// Table `c` and its partitions, and where they stand below it.
const STORAGE_FACTS: &str = "(\
    WITH RECURSIVE part (oid, link) AS (\
        SELECT c.oid, NULL::text \
        UNION SELECT i.inhrelid, concat_ws(' ', i.inhparent, i.xmin) FROM part \
            JOIN pg_inherits i ON i.inhparent = part.oid AND c.relkind = 'p') \
    SELECT string_agg(concat_ws(' ', part.oid, part.link, s.xmin, s.relfilenode), ', ' \
                      ORDER BY part.oid) \
      FROM part JOIN pg_class s ON s.oid = part.oid)";

/// The facts of table `c`, in publication `b`, with its schema `n` and its columns `l`, as SQL.
pub(super) fn facts_sql(version: u32) -> String {
    // A table is published with its schema from 15 on, and with each of the tables whose partition
    // it is.
    let with_schema = match version {
        150_000.. => {
            "(SELECT string_agg(concat_ws(' ', r.oid, r.xmin), ' ') \
                FROM pg_publication_namespace r \
               WHERE r.pnpubid = b.oid AND r.pnnspid = s.relnamespace)"
        }
        _ => "NULL",
    };
    let publication = format!(
        "concat_ws(' ', b.oid, b.xmin, n.oid, n.xmin, (\
            WITH RECURSIVE above (oid, link) AS (\
                SELECT c.oid, NULL::text \
                UNION SELECT i.inhparent, concat_ws(' ', i.inhrelid, i.xmin) FROM above \
                    JOIN pg_inherits i ON i.inhrelid = above.oid AND c.relispartition) \
            SELECT string_agg(concat_ws(' ', s.oid, above.link, (\
                       SELECT concat_ws(' ', r.oid, r.xmin) FROM pg_publication_rel r \
                        WHERE r.prpubid = b.oid AND r.prrelid = s.oid), {with_schema}), ', ' \
                              ORDER BY s.oid) \
              FROM above JOIN pg_class s ON s.oid = above.oid))"
    );
    format!(
        "l.facts AS column_facts, {KEY_FACTS} AS key_facts, {STORAGE_FACTS} AS storage_facts, \
         {publication} AS publication_facts"
    )
}

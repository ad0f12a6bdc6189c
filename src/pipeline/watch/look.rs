//! What a look at the catalog has found, and what follows from it: the tables whose keys go, and
//! those that are compared, each with the reason. Nothing here asks a server.

use std::collections::{BTreeMap, BTreeSet};

use crate::mapping::{CopiedTable, PublishedTables, name_in_keys};
use crate::postgres::PublishedTable;
use crate::state::records::{Name, Records, TableRecord};
use crate::state::requests::ResyncRequest;

/// A row came of which a column was left out that etcd does not have.
pub(super) const ROW_UNKNOWN: &str = "a row was not known";
/// A compare of the table has failed.
pub(super) const NOT_COMPARED: &str = "its last compare failed";

/// What the watch knows, from one look to the next.
#[derive(Default)]
pub(super) struct Known {
    /// The tables of which etcd has rows, with the shape that each had.
    pub(super) records: BTreeMap<Name, TableRecord>,
    /// Tables that are to be compared, with the reason, until a compare has succeeded.
    pub(super) suspects: BTreeMap<Name, &'static str>,
    /// The tables as the last look has found them.
    pub(super) seen: BTreeMap<u32, PublishedTable>,
}

impl Known {
    /// Takes note of the tables as they are now; true if the stream has to ask for them anew, since
    /// one is not as it was at the last look or, at the first, as its record has it.
    pub(super) fn see(&mut self, tables: &PublishedTables, records: &Records) -> bool {
        let now: BTreeMap<_, _> =
            tables.copied.iter().map(|table| (table.published.oid, &table.published)).collect();
        let is_new = |table: &&PublishedTable| match self.seen.get(&table.oid) {
            Some(seen) => seen.shape != table.shape || seen.name != table.name,
            None => self
                .records
                .get(&name_in_keys(&table.name))
                .is_none_or(|record| records.change(record, table).is_some()),
        };
        // One that is left out now may be nested in another, or have others nested in it.
        let has_left = |oid: &u32| {
            !now.contains_key(oid) && tables.left_out.iter().any(|(table, _)| table.oid == *oid)
        };
        let news = now.values().any(is_new) || self.seen.keys().any(has_left);
        self.seen = now.into_iter().map(|(oid, table)| (oid, table.clone())).collect();
        news
    }

    /// The OIDs of the tables whose keys may have to go.
    pub(super) fn missing(&self, tables: &PublishedTables) -> Vec<u32> {
        let present = present(tables);
        let missing = self.records.iter().filter(|(name, _)| !present.contains(*name));
        missing.map(|(_, record)| record.oid).collect()
    }

    /// The tables that have to be compared, with the reason, and whether etcd may lack what they
    /// have: a resync that was asked for is no reason to think so.
    pub(super) fn compares(
        &self,
        tables: &PublishedTables,
        request: Option<&ResyncRequest>,
        records: &Records,
    ) -> Vec<Compare> {
        let compare = |copied: &CopiedTable| {
            let table = &copied.published;
            let name = name_in_keys(&table.name);
            let nested = copied.nested.iter().map(|rows| &rows.published);
            let is_asked = request.is_some_and(|request| {
                request.names(table) || nested.into_iter().any(|nested| request.names(nested))
            });
            let change = match self.records.get(&name) {
                None => Some("it is published now".to_owned()),
                Some(record) => records.change(record, table),
            };
            // What has changed says more than that something was found to be wrong.
            let change = change.or_else(|| Some((*self.suspects.get(&name)?).to_owned()));
            let lacking = change.is_some();
            let reason =
                change.or_else(|| is_asked.then(|| "a resync was asked for".to_owned()))?;
            Some(Compare { table: copied.clone(), reason, lacking })
        };
        tables.copied.iter().filter_map(compare).collect()
    }
}

/// A table that has to be compared.
#[derive(Clone, Debug)]
pub(super) struct Compare {
    pub(super) table: CopiedTable,
    /// Why.
    pub(super) reason: String,
    /// Whether etcd may lack what the table has.
    pub(super) lacking: bool,
}

/// The names, in keys, of the tables that are copied.
fn present(tables: &PublishedTables) -> BTreeSet<Name> {
    tables.copied.iter().map(|table| name_in_keys(&table.published.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Unmet;
    use crate::kind::Kind;
    use crate::mapping::{Plan, Shapes, Whereabouts};
    use crate::postgres::TableColumn;

    fn published(oid: u32, name: &str) -> PublishedTable {
        let id = TableColumn { name: "id".to_owned(), type_oid: 23, kind: Kind::Number };
        PublishedTable {
            oid,
            name: name.parse().expect("a name"),
            columns: vec![id],
            key: Some(vec!["id".to_owned()]),
            full_identity: false,
            row_filter: None,
            partitioned: false,
            unlogged_partitions: Vec::new(),
            estimated_rows: 0,
            shape: crate::postgres::Shape::default(),
        }
    }

    fn shapes() -> Shapes {
        Shapes::new("copy", BTreeMap::new())
    }

    fn records() -> Records {
        Records::new("state", shapes())
    }

    fn tables(copied: &[(u32, &str)], left_out: &[(u32, &str)]) -> PublishedTables {
        let plan = |published: PublishedTable| {
            let (name, key) = (&published.name, published.key.as_deref());
            let plan = Plan::new(&shapes(), name, &published.columns, key, false).expect("a plan");
            CopiedTable { published, plan, nested: Vec::new() }
        };
        let copied = copied.iter().map(|&(oid, name)| plan(published(oid, name))).collect();
        let why = || Unmet::new("no key", "add one");
        let left_out = left_out.iter().map(|&(oid, name)| (published(oid, name), why())).collect();
        PublishedTables { copied, left_out }
    }

    fn known(recorded: &[(u32, &str)]) -> Known {
        let records = records();
        let record = |&(oid, name): &(u32, &str)| {
            let table = published(oid, name);
            (Records::name(&table), records.record(&table))
        };
        Known { records: recorded.iter().map(record).collect(), ..Known::default() }
    }

    #[test]
    fn why_the_keys_of_a_table_go() {
        let known = known(&[
            (1, "stays"),
            (2, "dropped"),
            (3, "renamed"),
            (4, "unpublished"),
            (5, "keyless"),
            (0, "old"),
        ]);
        let tables = tables(&[(1, "stays"), (3, "s.renamed")], &[(5, "keyless")]);
        assert_eq!(known.missing(&tables), [2, 5, 0, 3, 4]);
        let now = |oid, name: &str| (oid, name.parse().expect("a name"));
        let whereabouts =
            Whereabouts::of([now(3, "s.renamed"), now(4, "unpublished"), now(5, "keyless")]);
        let gone: Vec<_> = known
            .records
            .iter()
            .filter(|(name, _)| *name != b"stays")
            .map(|(name, record)| {
                let why = whereabouts.departure(name, record.oid, &tables);
                format!("{}: {why}", String::from_utf8_lossy(name))
            })
            .collect();
        assert_eq!(
            gone,
            [
                "dropped: it was dropped",
                "keyless: it cannot be copied any more: no key",
                "old: it is no longer published",
                "renamed: it was renamed to s.renamed",
                "unpublished: it is no longer published",
            ]
        );
    }

    #[test]
    fn what_is_compared_and_whether_etcd_lacks_it() {
        let known = Known {
            suspects: [(b"b".to_vec(), ROW_UNKNOWN)].into(),
            ..known(&[(1, "a"), (2, "b")])
        };
        let tables = tables(&[(1, "a"), (2, "b"), (3, "c")], &[(4, "d")]);
        let compares: Vec<_> = known
            .compares(&tables, None, &records())
            .into_iter()
            .map(|compare| (compare.table.published.name.name, compare.reason, compare.lacking))
            .collect();
        assert_eq!(
            compares,
            [
                ("b".to_owned(), "a row was not known".to_owned(), true),
                ("c".to_owned(), "it is published now".to_owned(), true),
            ]
        );
    }

    #[test]
    fn news_are_what_the_last_look_has_not_seen() {
        let mut known = known(&[(1, "a")]);
        for (present, news) in [
            (&[(1, "a")][..], false),
            (&[(1, "a"), (2, "b")], true),
            // It has no record yet, and was seen: the stream need not ask again.
            (&[(1, "a"), (2, "b")], false),
            (&[(1, "s.a"), (2, "b")], true),
            (&[(2, "b")], false),
        ] {
            assert_eq!(known.see(&tables(present, &[]), &records()), news, "{present:?}");
        }
    }
}

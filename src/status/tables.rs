//! The tables of the copy: what has come of each, about how many rows it has, when it has changed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::time::PgTime;

/// What happens to rows, as the metrics name it.
pub(super) const KINDS: [&str; 4] = ["insert", "update", "delete", "truncate"];

/// No dump and no compare has counted the rows yet.
const UNKNOWN: i64 = i64::MIN;

/// The changes of one table that were received. The thread that receives counts them, and looks at
/// no clock for that.
#[derive(Debug)]
pub(crate) struct TableChanges {
    /// How many there were, by [`KINDS`].
    counts: [AtomicU64; KINDS.len()],
    /// How many rows there would be if none had come or gone since the start.
    base: AtomicI64,
    /// Whether the stream has described the table: else there is nothing to count.
    is_followed: AtomicBool,
}

impl TableChanges {
    fn new() -> Self {
        Self {
            counts: Default::default(),
            base: AtomicI64::new(UNKNOWN),
            is_followed: AtomicBool::new(false),
        }
    }

    /// Counts a row that came.
    pub(crate) fn inserted(&self) {
        self.count(0);
    }

    /// Counts a row that changed.
    pub(crate) fn updated(&self) {
        self.count(1);
    }

    /// Counts a row that went.
    pub(crate) fn deleted(&self) {
        self.count(2);
    }

    /// Counts that all rows went.
    pub(crate) fn truncated(&self) {
        self.count(3);
        self.found(0);
    }

    /// The changes so far, by [`KINDS`].
    pub(super) fn counts(&self) -> [u64; KINDS.len()] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    fn count(&self, kind: usize) {
        self.counts[kind].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note that there are so many rows now.
    fn found(&self, rows: u64) {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.base.store(rows.saturating_sub(self.gained()), Ordering::Relaxed);
    }

    /// How many rows more came than went.
    fn gained(&self) -> i64 {
        let [inserted, _, deleted, _] = self.counts();
        inserted.wrapping_sub(deleted).cast_signed()
    }

    fn rows(&self) -> Option<u64> {
        let base = self.base.load(Ordering::Relaxed);
        let rows = base.saturating_add(self.gained());
        (base != UNKNOWN).then(|| u64::try_from(rows).unwrap_or(0))
    }
}

/// How far etcd is with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The dump has not come to it.
    Waiting,
    /// The dump loads it.
    Dumping,
    /// Its rows are there.
    Copied,
    /// It is not published any more, or left out.
    Gone,
}

/// The tables that are, or were, copied.
#[derive(Debug, Default)]
pub(crate) struct Tables(Mutex<BTreeMap<String, Table>>);

#[derive(Debug)]
struct Table {
    stage: Stage,
    changes: Arc<TableChanges>,
    /// How many changes the last look has seen.
    seen: u64,
    /// When it was the first to see so many.
    changed_at: Option<PgTime>,
}

/// A table as it is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TableView {
    pub(super) name: String,
    pub(super) stage: &'static str,
    pub(super) rows: Option<u64>,
    pub(super) changes: u64,
    pub(super) changed_at: Option<PgTime>,
}

impl Tables {
    /// The counters of a table that the stream describes, to be kept as long as that description is.
    pub(crate) fn followed(&self, name: &str) -> Arc<TableChanges> {
        let mut tables = self.tables();
        let table = tables.entry(name.to_owned()).or_insert_with(Table::new);
        table.changes.is_followed.store(true, Ordering::Relaxed);
        Arc::clone(&table.changes)
    }

    /// A dump of these tables begins.
    pub(crate) fn dump_begins<'n>(&self, names: impl Iterator<Item = &'n str>) {
        self.are(Stage::Waiting, names);
    }

    /// The dump has come to a table.
    pub(crate) fn dumps(&self, name: &str) {
        self.change(name, |table| table.stage = Stage::Dumping);
    }

    /// These are the tables that are copied.
    pub(crate) fn are_copied<'n>(&self, names: impl Iterator<Item = &'n str>) {
        self.are(Stage::Copied, names);
    }

    /// A dump or a compare has found so many rows in a table, and etcd has them.
    pub(crate) fn has_rows(&self, name: &str, rows: u64) {
        self.change(name, |table| {
            table.stage = Stage::Copied;
            table.changes.found(rows);
        });
    }

    /// Notes which tables have changed since the last look, and says how many changes there were in
    /// all.
    pub(super) fn look(&self) -> u64 {
        let mut now = None;
        let look = |table: &mut Table| {
            let changes = table.changes.counts().iter().sum();
            if table.seen != changes {
                table.seen = changes;
                table.changed_at = Some(*now.get_or_insert_with(PgTime::now));
            }
            changes
        };
        self.tables().values_mut().map(look).sum()
    }

    /// The tables that are copied, or are to be.
    pub(super) fn shown(&self) -> Vec<TableView> {
        let tables = self.tables();
        let shown = tables.iter().filter(|(_, table)| table.stage != Stage::Gone);
        shown.map(|(name, table)| table.view(name)).collect()
    }

    /// The changes of each table that the stream has described, by [`KINDS`].
    pub(super) fn counts(&self) -> Vec<(String, [u64; KINDS.len()])> {
        let tables = self.tables();
        let is_followed = |table: &Table| table.changes.is_followed.load(Ordering::Relaxed);
        let followed = tables.iter().filter(|(_, table)| is_followed(table));
        followed.map(|(name, table)| (name.clone(), table.changes.counts())).collect()
    }

    fn are<'n>(&self, stage: Stage, names: impl Iterator<Item = &'n str>) {
        let mut tables = self.tables();
        tables.values_mut().for_each(|table| table.stage = Stage::Gone);
        for name in names {
            tables.entry(name.to_owned()).or_insert_with(Table::new).stage = stage;
        }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Table)) {
        if let Some(table) = self.tables().get_mut(name) {
            change(table);
        }
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<String, Table>> {
        // A thread that panicked left whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn new() -> Self {
        let changes = Arc::new(TableChanges::new());
        Self { stage: Stage::Copied, changes, seen: 0, changed_at: None }
    }

    fn view(&self, name: &str) -> TableView {
        let stage = match self.stage {
            Stage::Waiting => "waiting",
            Stage::Dumping => "dumping",
            Stage::Copied | Stage::Gone => "copied",
        };
        TableView {
            name: name.to_owned(),
            stage,
            rows: self.changes.rows(),
            changes: self.changes.counts().iter().sum(),
            changed_at: self.changed_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_that_were_found_and_what_came_and_went_since() {
        let tables = Tables::default();
        let changes = tables.followed("public.t");
        let rows = || tables.shown()[0].rows;
        changes.inserted();
        assert_eq!(rows(), None, "nobody has counted the others");
        tables.has_rows("public.t", 10);
        assert_eq!(rows(), Some(10));
        changes.inserted();
        changes.updated();
        changes.deleted();
        changes.deleted();
        assert_eq!(rows(), Some(9));
        changes.truncated();
        assert_eq!(rows(), Some(0));
        changes.deleted();
        assert_eq!(rows(), Some(0), "never less than none");
        assert_eq!(tables.counts(), [("public.t".to_owned(), [2, 1, 3, 1])]);
    }

    #[test]
    fn a_dump_goes_through_the_tables() {
        let tables = Tables::default();
        tables.followed("gone");
        tables.dump_begins(["a", "b", "c"].into_iter());
        tables.has_rows("a", 7);
        tables.dumps("b");
        let stages = |tables: &Tables| -> Vec<_> {
            tables.shown().into_iter().map(|table| (table.name, table.stage)).collect()
        };
        let named = |stages: &[(&str, &'static str)]| -> Vec<_> {
            stages.iter().map(|(name, stage)| ((*name).to_owned(), *stage)).collect()
        };
        let expected = named(&[("a", "copied"), ("b", "dumping"), ("c", "waiting")]);
        assert_eq!(stages(&tables), expected);
        tables.are_copied(["b"].into_iter());
        assert_eq!(stages(&tables), named(&[("b", "copied")]));
        assert_eq!(tables.counts().len(), 1, "a counter never goes back");
    }

    #[test]
    fn a_look_notes_what_has_changed() {
        let tables = Tables::default();
        let changes = tables.followed("t");
        tables.followed("still");
        assert_eq!(tables.look(), 0);
        changes.updated();
        changes.updated();
        let before = PgTime::now();
        assert_eq!(tables.look(), 2);
        let [still, changed] = &tables.shown()[..] else { panic!("two tables") };
        assert_eq!(still.changed_at, None);
        assert!(changed.changed_at >= Some(before));
        assert_eq!(tables.look(), 2);
        assert_eq!(tables.shown()[1].changed_at, changed.changed_at);
    }
}

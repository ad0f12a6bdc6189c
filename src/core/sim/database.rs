//! A model of a database and its slot: committed transactions, what the stream says of each, and the
//! rows as they are after each.

use std::collections::{BTreeMap, BTreeSet};

use super::random::Random;
use crate::cell::Cell;
use crate::core::change::Chunk;
use crate::document::{Casts, KeyOf, Row as Cells, write_document};
use crate::kind::Kind;
use crate::lsn::Lsn;
use crate::mapping::{KeyTemplate, Plan, Shapes, TableShape, ValueShape};
use crate::position::Commit;
use crate::postgres::TableColumn;
use crate::table_name::TableName;
use crate::time::PgTime;

/// How many tables there are.
pub(super) const TABLES: usize = 3;
/// What the keys of each table's rows begin with. Those of the second stand where others may have some:
/// there a TRUNCATE deletes key by key. Behind the last all keys are the table's.
pub(super) const PREFIXES: [&str; TABLES] = ["/p/t0/", "/p/x", "/p/y"];
/// How many different keys a table's rows have.
const KEYS: usize = 8;
/// A row whose text is this long fits no request.
pub(super) const LARGE_TEXT: usize = 900;

/// A row: a number that every update changes, and a text that most leave as it is, and that the server
/// then does not send.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    number: u64,
    text: String,
}

/// Rows by table and key.
type Rows = BTreeMap<(usize, usize), Row>;

/// A committed transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) commit: Commit,
    pub(super) end: Lsn,
    changes: Vec<Change>,
    /// The keys whose rows it changed.
    pub(super) touched: BTreeSet<Vec<u8>>,
    /// Whether it has a TRUNCATE.
    pub(super) truncates: bool,
    /// The documents after it, by key in etcd; those that fit.
    pub(super) after: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The table that it changed without a word in the stream.
    pub(super) unseen: Option<usize>,
}

/// A change as the stream tells it.
#[derive(Clone, Debug)]
enum Change {
    Put { table: usize, key: usize, old_key: Option<usize>, row: Row, unchanged: bool },
    Delete { table: usize, key: usize },
    Truncate { table: usize },
}

impl Transaction {
    /// How many of its changes leave a text as it is.
    pub(super) fn unchanged(&self) -> usize {
        let unchanged = |change: &&Change| matches!(change, Change::Put { unchanged: true, .. });
        self.changes.iter().filter(unchanged).count()
    }
}

/// The database.
#[derive(Debug)]
pub(super) struct Database {
    rows: Rows,
    pub(super) transactions: Vec<Transaction>,
    /// The end of the WAL.
    pub(super) end: Lsn,
    /// Up to where the slot was acknowledged.
    pub(super) confirmed: Lsn,
    next: u64,
    plans: Vec<Plan>,
}

impl Database {
    pub(super) fn new() -> Self {
        let plan = |table| {
            let columns = [("id", Kind::Number), ("n", Kind::Number), ("t", Kind::Text)]
                .map(|(name, kind)| TableColumn { name: name.to_owned(), type_oid: 0, kind });
            let name = TableName { schema: "public".to_owned(), name: format!("t{table}") };
            let shape = match table {
                0 => None,
                _ => Some(TableShape {
                    keys: vec![(
                        KeyTemplate::parse(&format!(
                            "{}{{id{}}}",
                            PREFIXES[table],
                            if table == 2 { ":raw" } else { "" }
                        ))
                        .expect("a template"),
                        ValueShape::default(),
                    )],
                    ..TableShape::default()
                }),
            };
            let shapes = shape.map(|shape| (name.clone(), shape)).into_iter().collect();
            Plan::new(&Shapes::new("p", shapes), &name, &columns, Some(&["id".to_owned()]), false)
                .expect("a plan")
        };
        Self {
            rows: Rows::new(),
            transactions: Vec::new(),
            end: Lsn(100),
            confirmed: Lsn(100),
            next: 0,
            plans: (0..TABLES).map(plan).collect(),
        }
    }

    /// What the keys of a table's rows begin with.
    pub(super) fn prefix(&self, table: usize) -> &[u8] {
        self.plans[table].keyspaces()[0].prefix()
    }

    /// The documents now, by key in etcd.
    pub(super) fn documents(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.transactions.last().map(|last| last.after.clone()).unwrap_or_default()
    }

    /// The documents after the last transaction up to `lsn`.
    pub(super) fn documents_at(&self, lsn: Lsn) -> Option<&BTreeMap<Vec<u8>, Vec<u8>>> {
        let after = self.transactions.partition_point(|transaction| transaction.end <= lsn);
        after.checked_sub(1).map(|last| &self.transactions[last].after)
    }

    /// Commits a transaction of up to `most` changes.
    pub(super) fn commit(&mut self, random: &mut Random, most: usize) {
        let mut changes = Vec::new();
        let mut touched = BTreeSet::new();
        for _ in 0..=random.below(most) {
            self.change(random, &mut changes, &mut touched);
        }
        let truncates = changes.iter().any(|change| matches!(change, Change::Truncate { .. }));
        self.push(changes, touched, truncates, None);
    }

    /// Changes a table without a word in the stream. ALTER TABLE writes its rows anew; while it is
    /// away from the publication rows come and go too, and it comes back with others.
    pub(super) fn change_unseen(&mut self, table: usize, random: &mut Random) {
        let goes_away = random.percent(25);
        for key in 0..KEYS {
            let row = self.rows.remove(&(table, key));
            let is_there = row.is_some() != (goes_away && random.percent(30));
            self.next += 1;
            if is_there {
                let row = Row { number: self.next, text: format!("r{}", self.next) };
                self.rows.insert((table, key), row);
            }
        }
        self.push(Vec::new(), BTreeSet::new(), false, Some(table));
    }

    /// Lets the WAL grow with nothing in it for the slot.
    pub(super) fn grow(&mut self) {
        self.end.0 += 10;
    }

    fn push(
        &mut self,
        changes: Vec<Change>,
        touched: BTreeSet<Vec<u8>>,
        truncates: bool,
        unseen: Option<usize>,
    ) {
        let xid = u32::try_from(self.transactions.len()).unwrap_or(0) + 1;
        let lsn = Lsn(self.end.0 + 10);
        self.end = Lsn(lsn.0 + 5);
        let commit = Commit { lsn, xid, time: PgTime(i64::from(xid) * 1000) };
        let rows = self.rows.iter().filter(|(_, row)| row.text.len() < LARGE_TEXT);
        let after = rows
            .map(|((table, key), row)| (self.key(*table, *key), self.document(*table, *key, row)));
        let after = after.collect();
        let end = self.end;
        self.transactions.push(Transaction {
            commit,
            end,
            changes,
            touched,
            truncates,
            after,
            unseen,
        });
    }

    fn change(
        &mut self,
        random: &mut Random,
        changes: &mut Vec<Change>,
        touched: &mut BTreeSet<Vec<u8>>,
    ) {
        let (table, key) = (random.below(TABLES), random.below(KEYS));
        self.next += 1;
        let number = self.next;
        if random.percent(3) {
            for key in 0..KEYS {
                touched.insert(self.key(table, key));
            }
            self.rows.retain(|(of, _), _| *of != table);
            changes.push(Change::Truncate { table });
            return;
        }
        if random.percent(6) {
            self.swap(table, random, changes, touched);
            return;
        }
        touched.insert(self.key(table, key));
        let there = self.rows.get(&(table, key)).cloned();
        match there {
            Some(_) if random.percent(20) => {
                self.rows.remove(&(table, key));
                changes.push(Change::Delete { table, key });
            }
            Some(row) => {
                let unchanged = random.percent(60);
                let text = if unchanged { row.text } else { self.text(random) };
                let row = Row { number, text };
                let to = random.below(KEYS);
                let moves = random.percent(30) && !self.rows.contains_key(&(table, to));
                let (key, old_key) = if moves { (to, Some(key)) } else { (key, None) };
                if let Some(old_key) = old_key {
                    self.rows.remove(&(table, old_key));
                    touched.insert(self.key(table, key));
                }
                self.rows.insert((table, key), row.clone());
                changes.push(Change::Put { table, key, old_key, row, unchanged });
            }
            None => {
                let row = Row { number, text: self.text(random) };
                self.rows.insert((table, key), row.clone());
                changes.push(Change::Put { table, key, old_key: None, row, unchanged: false });
            }
        }
    }

    /// Lets two rows change their keys with each other, by way of a third key.
    fn swap(
        &mut self,
        table: usize,
        random: &mut Random,
        changes: &mut Vec<Change>,
        touched: &mut BTreeSet<Vec<u8>>,
    ) {
        let (taken, free): (Vec<_>, Vec<_>) =
            (0..KEYS).partition(|key| self.rows.contains_key(&(table, *key)));
        let ([first, .., second], [third, ..]) = (&taken[..], &free[..]) else { return };
        for (from, to) in [(*first, *third), (*second, *first), (*third, *second)] {
            let Some(row) = self.rows.remove(&(table, from)) else { continue };
            self.next += 1;
            let unchanged = random.percent(60);
            let text = if unchanged { row.text } else { self.text(random) };
            let row = Row { number: self.next, text };
            self.rows.insert((table, to), row.clone());
            touched.extend([self.key(table, from), self.key(table, to)]);
            changes.push(Change::Put { table, key: to, old_key: Some(from), row, unchanged });
        }
    }

    fn text(&self, random: &mut Random) -> String {
        let length = if random.percent(4) { LARGE_TEXT } else { random.below(12) };
        format!("{}{}", self.next, "x".repeat(length))
    }

    fn key(&self, table: usize, key: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let id = key.to_string();
        let cells = [Cell::Text(id.as_bytes()), Cell::Null, Cell::Null];
        if let KeyOf::Known(key) = Cells::new(&cells, None).key(&self.plans[table].outputs()[0]) {
            key.write(&mut out);
        }
        out
    }

    fn document(&self, table: usize, key: usize, row: &Row) -> Vec<u8> {
        let (key, number) = (key.to_string(), row.number.to_string());
        let cells = [key.as_bytes(), number.as_bytes(), row.text.as_bytes()].map(Cell::Text);
        let mut out = Vec::new();
        let (holes, casts) = (&mut Vec::new(), &mut Casts::default());
        let (plan, row) = (&self.plans[table], Cells::new(&cells, None));
        write_document(plan, &plan.outputs()[0].value, &row, casts, &mut out, holes);
        out
    }

    /// Adds event number `event` of a transaction to a chunk; false if that was its last.
    pub(super) fn stream(
        &self,
        transaction: &Transaction,
        event: usize,
        chunk: &mut Chunk,
    ) -> bool {
        if event == 0 {
            chunk.begin(transaction.commit);
            return true;
        }
        let Some(change) = transaction.changes.get(event - 1) else {
            chunk.end(transaction.end);
            return false;
        };
        match change {
            Change::Put { table, key, old_key, row, unchanged } => {
                let (id, number) = (key.to_string(), row.number.to_string());
                let text = match unchanged {
                    true => Cell::UnchangedToast,
                    false => Cell::Text(row.text.as_bytes()),
                };
                let cells = [Cell::Text(id.as_bytes()), Cell::Text(number.as_bytes()), text];
                let plan = &self.plans[*table];
                chunk.put(
                    |out| out.extend_from_slice(&self.key(*table, *key)),
                    |out, holes| {
                        let casts = &mut Casts::default();
                        let row = Cells::new(&cells, None);
                        write_document(plan, &plan.outputs()[0].value, &row, casts, out, holes);
                    },
                    old_key.map(|old| {
                        move |out: &mut Vec<u8>| out.extend_from_slice(&self.key(*table, old))
                    }),
                );
            }
            Change::Delete { table, key } => {
                chunk.delete(|out| out.extend_from_slice(&self.key(*table, *key)));
            }
            Change::Truncate { table } => chunk.empty(&self.plans[*table].keyspaces()[0]),
        }
        true
    }
}

//! A model of a database and its slot: committed transactions, what the stream says of each, and what
//! etcd has to have after each.

use std::collections::{BTreeMap, BTreeSet};

use super::life::STATE_PATH;
use super::random::Random;
use super::table::{Row, Table, random_tables};
use crate::core::change::Chunk;
use crate::core::mutation::{Mutation, is};
use crate::document::Casts;
use crate::lsn::Lsn;
use crate::mapping::{Keyspace, Plan, Shapes};
use crate::position::Commit;
use crate::postgres::pgoutput::Message;
use crate::state::layout;
use crate::time::PgTime;
use crate::translate::{Need, Tables, translate};

/// How many tables there are.
pub(super) const TABLES: usize = 2;
/// How many rows a table can have.
const ROWS: usize = 6;

/// Documents by key in etcd.
pub(super) type Documents = BTreeMap<Vec<u8>, Vec<u8>>;

/// A committed transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) commit: Commit,
    pub(super) end: Lsn,
    changes: Vec<Change>,
    /// The keys of the rows that it changed.
    pub(super) touched: BTreeSet<Vec<u8>>,
    /// Those of them under which the stream leaves open what there is: a text has a part that was not sent.
    pub(super) open: BTreeSet<Vec<u8>>,
    /// How many notes it may take, of rows that are not known and of tables that have to be compared.
    pub(super) notes: usize,
    /// Whether it has a TRUNCATE.
    pub(super) truncates: bool,
    /// The documents after it; those that fit.
    pub(super) after: Documents,
    /// The table that it changed without a word in the stream.
    pub(super) unseen: Option<usize>,
}

/// A change as the stream tells it.
#[derive(Clone, Debug)]
enum Change {
    Insert { table: usize, row: Row },
    Update { table: usize, old: Row, row: Row, unchanged: bool },
    Delete { table: usize, row: Row },
    Truncate { table: usize },
}

/// A transaction that is not committed yet.
#[derive(Default)]
struct Open {
    changes: Vec<Change>,
    touched: BTreeSet<Vec<u8>>,
    open: BTreeSet<Vec<u8>>,
    notes: usize,
    truncates: bool,
}

/// The database.
#[derive(Debug)]
pub(super) struct Database {
    tables: Vec<Table>,
    shapes: Shapes,
    /// Rows by table and key.
    rows: BTreeMap<(usize, usize), Row>,
    documents: Documents,
    pub(super) transactions: Vec<Transaction>,
    /// The end of the WAL.
    pub(super) end: Lsn,
    /// Up to where the slot was acknowledged.
    pub(super) confirmed: Lsn,
    next: u64,
}

impl Database {
    pub(super) fn new(random: &mut Random) -> Self {
        let (tables, shapes) = random_tables(TABLES, random);
        Self {
            tables,
            shapes,
            rows: BTreeMap::new(),
            documents: Documents::new(),
            transactions: Vec::new(),
            end: Lsn(100),
            confirmed: Lsn(100),
            next: 0,
        }
    }

    /// What becomes of a table's rows.
    pub(super) fn plan(&self, table: usize) -> &Plan {
        &self.tables[table].plan
    }

    /// The table that has a key.
    pub(super) fn table_of(&self, key: &[u8]) -> Option<usize> {
        (0..TABLES).find(|&table| self.plan(table).covers(key))
    }

    /// Keys that are among those of the tables, and that no row can have.
    pub(super) fn keys_of_others(&self) -> Vec<Vec<u8>> {
        let keyspaces = self.tables.iter().flat_map(|table| table.plan.keyspaces());
        let keys = keyspaces.flat_map(|keyspace| {
            ["", "/", "//k0", "0//0/l/"].map(|end| [keyspace.prefix(), end.as_bytes()].concat())
        });
        keys.filter(|key| self.tables.iter().all(|table| !table.plan.gives(key))).collect()
    }

    /// What a stream knows of the tables once it has described them.
    pub(super) fn described(&self) -> Tables {
        let (mut tables, casts) = (Tables::new(self.shapes.clone()), &mut Casts::default());
        for Table { relation, facts, .. } in &self.tables {
            let message = Message::Relation(relation.clone());
            let need = translate(&message, &mut tables, casts, &mut Chunk::default());
            assert_eq!(need.expect("a message"), Need::Nothing);
            tables.describe(relation.oid, facts).expect("a description");
        }
        tables
    }

    /// The documents now.
    pub(super) fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The documents after the last transaction up to `lsn`.
    pub(super) fn documents_at(&self, lsn: Lsn) -> Option<&Documents> {
        let after = self.transactions.partition_point(|transaction| transaction.end <= lsn);
        after.checked_sub(1).map(|last| &self.transactions[last].after)
    }

    /// Commits a transaction of up to `most` changes.
    pub(super) fn commit(&mut self, random: &mut Random, most: usize) {
        let mut transaction = Open::default();
        for _ in 0..=random.below(most) {
            self.change(random, &mut transaction);
        }
        self.push(transaction, None);
    }

    /// Changes a table without a word in the stream. ALTER TABLE writes its rows anew; while it is
    /// away from the publication rows come and go too, and it comes back with others.
    pub(super) fn change_unseen(&mut self, table: usize, random: &mut Random) {
        let goes_away = random.percent(25);
        for id in 0..ROWS {
            let row = self.remove(table, id);
            let is_there = row.is_some() != (goes_away && random.percent(30));
            self.next += 1;
            if is_there {
                self.insert(table, Row::new(id, self.next, random));
            }
        }
        self.push(Open::default(), Some(table));
    }

    /// Lets the WAL grow with nothing in it for the slot.
    pub(super) fn grow(&mut self) {
        self.end.0 += 10;
    }

    fn push(&mut self, transaction: Open, unseen: Option<usize>) {
        let Open { changes, touched, open, notes, truncates } = transaction;
        let xid = u32::try_from(self.transactions.len()).unwrap_or(0) + 1;
        let lsn = Lsn(self.end.0 + 10);
        self.end = Lsn(lsn.0 + 5);
        self.transactions.push(Transaction {
            commit: Commit { lsn, xid, time: PgTime(i64::from(xid) * 1000) },
            end: self.end,
            changes,
            touched,
            open,
            notes,
            truncates,
            after: self.documents.clone(),
            unseen,
        });
    }

    fn change(&mut self, random: &mut Random, transaction: &mut Open) {
        let (table, id) = (random.below(TABLES), random.below(ROWS));
        self.next += 1;
        if random.percent(3) {
            let gone: Vec<_> = (0..ROWS).filter_map(|id| self.remove(table, id)).collect();
            gone.iter().for_each(|row| transaction.touched.extend(self.tables[table].keys(row)));
            transaction.open.retain(|key| !self.tables[table].plan.covers(key));
            transaction.truncates = true;
            transaction.changes.push(Change::Truncate { table });
            return;
        }
        if random.percent(6) {
            self.swap(table, random, transaction);
            return;
        }
        match self.rows.get(&(table, id)) {
            Some(_) if random.percent(20) => {
                let Some(row) = self.remove(table, id) else { return };
                let keys = self.tables[table].keys(&row);
                transaction.open.retain(|key| !keys.contains(key));
                transaction.touched.extend(keys);
                transaction.changes.push(Change::Delete { table, row });
            }
            Some(_) => {
                let to = random.below(ROWS);
                let moves = random.percent(30) && !self.rows.contains_key(&(table, to));
                self.update(table, (id, if moves { to } else { id }), random, transaction);
            }
            None => {
                let row = Row::new(id, self.next, random);
                transaction.touched.extend(self.tables[table].keys(&row));
                self.insert(table, row.clone());
                transaction.changes.push(Change::Insert { table, row });
            }
        }
    }

    /// Lets two rows change their keys with each other, by way of a third key.
    fn swap(&mut self, table: usize, random: &mut Random, transaction: &mut Open) {
        let (taken, free): (Vec<_>, Vec<_>) =
            (0..ROWS).partition(|id| self.rows.contains_key(&(table, *id)));
        let ([first, .., second], [third, ..]) = (&taken[..], &free[..]) else { return };
        for ids in [(*first, *third), (*second, *first), (*third, *second)] {
            self.next += 1;
            self.update(table, ids, random, transaction);
        }
    }

    /// Updates a row, which gets this key.
    fn update(
        &mut self,
        table: usize,
        (from, to): (usize, usize),
        random: &mut Random,
        transaction: &mut Open,
    ) {
        let Some(old) = self.remove(table, from) else { return };
        let (row, unchanged) = old.updated(to, self.next, random);
        self.insert(table, row.clone());
        let model = &self.tables[table];
        let keys = [model.keys(&old), model.keys(&row)].concat();
        transaction.open.retain(|key| !keys.contains(key));
        transaction.touched.extend(keys);
        if unchanged {
            transaction.open.extend(model.left_open(&old, &row));
            transaction.notes += 1 + model.plan.outputs().len();
        }
        transaction.changes.push(Change::Update { table, old, row, unchanged });
    }

    fn insert(&mut self, table: usize, row: Row) {
        self.documents.extend(self.tables[table].documents(&row));
        self.rows.insert((table, row.id), row);
    }

    fn remove(&mut self, table: usize, id: usize) -> Option<Row> {
        let row = self.rows.remove(&(table, id))?;
        for key in self.tables[table].keys(&row) {
            self.documents.remove(&key);
        }
        Some(row)
    }

    /// Adds event number `event` of a transaction to a chunk, as the thread that receives does; false if
    /// that was its last.
    pub(super) fn stream(
        &self,
        transaction: &Transaction,
        event: usize,
        tables: &mut Tables,
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
        let mut tell = |message: &Message<'_>| {
            let need = translate(message, tables, &mut Casts::default(), chunk);
            need.expect("a message")
        };
        let need = match change {
            Change::Insert { table, row } => self.tables[*table].inserted(row, tell),
            Change::Update { table, old, row, unchanged } => {
                self.tables[*table].updated((old, row), *unchanged, tell)
            }
            Change::Delete { table, row } => self.tables[*table].deleted(row, tell),
            Change::Truncate { table } => tell(&Message::Truncate {
                relations: vec![self.tables[*table].relation.oid],
                cascade: false,
                restart_identity: false,
            }),
        };
        match need {
            Need::Nothing => {}
            Need::Compare(oid) if !is(Mutation::CompareForgotten) => {
                let prefix = tables.keyspaces(oid).first().map(Keyspace::prefix);
                let note = [&layout::notes(STATE_PATH), prefix.unwrap_or_default()].concat();
                chunk.put(
                    |out| out.extend(note),
                    |out, _| out.push(b'1'),
                    None::<fn(&mut Vec<u8>)>,
                );
            }
            Need::Compare(_) => {}
            other => panic!("{other:?}"),
        }
        true
    }
}

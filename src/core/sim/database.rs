//! A model of a database and its slot: committed transactions, what the stream says of each, and what
//! etcd has to have after each.

use std::collections::{BTreeMap, BTreeSet};

use super::life::STATE_PATH;
use super::random::Random;
use super::row::Row;
use super::rows::{Documents, ROWS, Rows, Touched};
use super::table::Table;
use crate::core::change::Chunk;
use crate::core::mutation::{Mutation, is};
use crate::document::Casts;
use crate::lsn::Lsn;
use crate::mapping::Plan;
use crate::position::Commit;
use crate::postgres::pgoutput::Message;
use crate::state::layout;
use crate::time::PgTime;
use crate::translate::{Need, Tables, translate};

/// A committed transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) commit: Commit,
    pub(super) end: Lsn,
    changes: Vec<Change>,
    /// The keys of the documents that it changed.
    pub(super) touched: BTreeSet<Vec<u8>>,
    /// The most that each took in a request, in bytes.
    pub(super) bytes: BTreeMap<Vec<u8>, usize>,
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
pub(super) enum Change {
    Insert { table: usize, row: Row },
    Update { table: usize, old: Row, row: Row, unchanged: bool },
    Delete { table: usize, row: Row },
    Truncate { tables: Vec<usize> },
}

/// A transaction that is not committed yet.
#[derive(Default)]
pub(super) struct Open {
    pub(super) changes: Vec<Change>,
    pub(super) touched: Touched,
    pub(super) notes: usize,
    pub(super) truncates: bool,
}

/// The database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) rows: Rows,
    /// What a stream knows of the tables once it has described them.
    described: Tables,
    pub(super) transactions: Vec<Transaction>,
    /// The end of the WAL.
    pub(super) end: Lsn,
    /// Up to where the slot was acknowledged.
    pub(super) confirmed: Lsn,
    pub(super) next: u64,
}

impl Database {
    pub(super) fn new(random: &mut Random) -> Self {
        let rows = Rows::new(random);
        Self {
            described: described(&rows),
            rows,
            transactions: Vec::new(),
            end: Lsn(100),
            confirmed: Lsn(100),
            next: 0,
        }
    }

    /// The numbers of the tables.
    pub(super) fn tables(&self) -> std::ops::Range<usize> {
        0..self.rows.tables.len()
    }

    /// What becomes of a table's rows.
    pub(super) fn plan(&self, table: usize) -> &Plan {
        &self.rows.tables[table].plan
    }

    /// The table that has a key.
    pub(super) fn table_of(&self, key: &[u8]) -> Option<usize> {
        self.tables().find(|&table| self.plan(table).covers(key))
    }

    /// Keys that are among those of the tables, and that no row can have.
    pub(super) fn keys_of_others(&self) -> Vec<Vec<u8>> {
        let keyspaces = self.rows.tables.iter().flat_map(|table| table.plan.keyspaces());
        let keys = keyspaces.flat_map(|keyspace| {
            ["", "/", "//k0", "0//0/l/"].map(|end| [keyspace.prefix(), end.as_bytes()].concat())
        });
        keys.filter(|key| self.rows.tables.iter().all(|table| !table.plan.gives(key))).collect()
    }

    /// What a stream knows of the tables once it has described them.
    pub(super) fn described(&self) -> Tables {
        self.described.clone()
    }

    /// The tables that have to be compared when rows of this one have changed unseen.
    pub(super) fn to_compare(&self, table: usize) -> BTreeSet<usize> {
        let parents = self.rows.links_of(table).map(|(_, link)| link.parent);
        let tables = parents.chain([table]);
        tables.filter(|table| !self.plan(*table).keyspaces().is_empty()).collect()
    }

    /// Whether etcd has all documents of a table as they are, as far as the stream can say so.
    pub(super) fn has_all(&self, table: usize) -> bool {
        let nests = self.rows.links.iter().any(|link| link.parent == table);
        // What was left open goes along with rows that move.
        let is_open = || self.rows.open().iter().any(|key| self.plan(table).covers(key));
        nests && !self.rows.lacking[table] && !is_open()
    }

    /// The tables that may have got documents back, in the last transaction, that were too large: tables
    /// nested in them were emptied. The stream does not say so, and the watch sees that those have other files.
    pub(super) fn hollowed(&self) -> BTreeSet<usize> {
        let changes = self.transactions.last().map(|last| &last.changes[..]).unwrap_or_default();
        let emptied = changes.iter().filter_map(|change| match change {
            Change::Truncate { tables } => Some(tables),
            _ => None,
        });
        let parents = emptied.flat_map(|tables| {
            let links = self.rows.links.iter().filter(|link| tables.contains(&link.child));
            links.map(|link| link.parent).filter(|parent| !tables.contains(parent))
        });
        parents.filter(|parent| self.rows.lacking[*parent]).collect()
    }

    /// The documents now.
    pub(super) fn documents(&self) -> &Documents {
        &self.rows.documents
    }

    /// The documents after the last transaction up to `lsn`.
    pub(super) fn documents_at(&self, lsn: Lsn) -> Option<&Documents> {
        let after = self.transactions.partition_point(|transaction| transaction.end <= lsn);
        after.checked_sub(1).map(|last| &self.transactions[last].after)
    }

    /// Changes a table without a word in the stream. ALTER TABLE writes its rows anew; while it is
    /// away from the publication rows come and go too, and it comes back with others.
    pub(super) fn change_unseen(&mut self, table: usize, random: &mut Random) {
        let goes_away = random.percent(25);
        for id in 0..ROWS {
            let stays = !self.rows.pointing_to((table, id)).is_empty();
            let row = self.rows.remove(table, id);
            let is_there = row.is_some() != (goes_away && !stays && random.percent(30));
            self.next += 1;
            let mut new = Row::new(id, self.next, random);
            let mut has_all = true;
            for (_, link) in self.rows.links_of(table) {
                let point = self.existing(link.parent, random);
                // What points to itself stays so.
                let point = point.or(row.as_ref().and_then(|row| row.points[link.point]));
                has_all &= point.is_some() || !self.rows.tables[table].needs_point(link.point);
                new.points[link.point] = point;
            }
            if is_there && has_all {
                self.rows.insert(table, new);
            }
        }
        self.rows.refresh(&mut Touched::default());
        for table in self.to_compare(table) {
            self.rows.lacking[table] = true;
        }
        self.push(Open::default(), Some(table));
    }

    /// Prints the last transaction, for a history that is run alone.
    pub(super) fn trace(&self) {
        if let Some(Transaction { end, changes, .. }) = self.transactions.last() {
            println!("transaction up to {end}");
            changes.iter().for_each(|change| println!("    {change:?}"));
        }
    }

    /// Lets the WAL grow with nothing in it for the slot.
    pub(super) fn grow(&mut self) {
        self.end.0 += 10;
    }

    pub(super) fn push(&mut self, transaction: Open, unseen: Option<usize>) {
        let Open { changes, touched: Touched { keys: touched, bytes }, notes, truncates } =
            transaction;
        let open = self.rows.open();
        // Of each document that etcd lacks a change may take a note, and the document goes once more.
        let nests = !self.rows.links.is_empty();
        let lacks = nests && self.rows.lacking.iter().any(|lacking| *lacking);
        let notes = notes + if lacks { 8 * changes.len() } else { 0 };
        let xid = u32::try_from(self.transactions.len()).unwrap_or(0) + 1;
        let lsn = Lsn(self.end.0 + 10);
        self.end = Lsn(lsn.0 + 5);
        self.transactions.push(Transaction {
            commit: Commit { lsn, xid, time: PgTime(i64::from(xid) * 1000) },
            end: self.end,
            changes,
            open: open.intersection(&touched).cloned().collect(),
            touched,
            bytes,
            notes,
            truncates,
            after: self.rows.documents.clone(),
            unseen,
        });
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
            Change::Insert { table, row } => self.rows.tables[*table].inserted(row, tell),
            Change::Update { table, old, row, unchanged } => {
                self.rows.tables[*table].updated((old, row), *unchanged, tell)
            }
            Change::Delete { table, row } => self.rows.tables[*table].deleted(row, tell),
            Change::Truncate { tables } => tell(&Message::Truncate {
                relations: tables
                    .iter()
                    .map(|table| self.rows.tables[*table].relation.oid)
                    .collect(),
                cascade: false,
                restart_identity: false,
            }),
        };
        match need {
            Need::Nothing => {}
            Need::Compare(oid) if !is(Mutation::CompareForgotten) => {
                for keyspace in tables.to_compare(oid) {
                    chunk.put(
                        |out| out.extend([&layout::notes(STATE_PATH), &keyspace[..]].concat()),
                        |out, _| out.push(b'1'),
                        None::<fn(&mut Vec<u8>)>,
                    );
                }
            }
            Need::Compare(_) => {}
            other => panic!("{other:?}"),
        }
        true
    }
}

/// What a stream knows of these tables once it has described them.
fn described(rows: &Rows) -> Tables {
    let (mut tables, casts) = (Tables::new(rows.shapes.clone()), &mut Casts::default());
    for Table { relation, facts, .. } in &rows.tables {
        let message = Message::Relation(relation.clone());
        let need = translate(&message, &mut tables, casts, &mut Chunk::default());
        assert_eq!(need.expect("a message"), Need::Nothing);
        tables.describe(relation.oid, facts).expect("a description");
    }
    tables
}

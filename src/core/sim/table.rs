//! A model of a table: its rows, what they are in etcd, and what the stream says of them.

use std::collections::{BTreeMap, HashMap};

use super::random::Random;
use super::shapes;
use crate::cell::Cell;
use crate::config::block::tables_of;
use crate::document::{Casts, KeyOf, Presence, Row as Cells, write_document};
use crate::kind::Kind;
use crate::mapping::{Output, Plan, Shapes};
use crate::postgres::pgoutput::{Column, Message, OldTuple, Relation, ReplicaIdentity};
use crate::postgres::{TableColumn, TableFacts};
use crate::table_name::TableName;

/// A document that is this long fits no request.
pub(super) const LARGE: usize = 1600;
/// The columns. `t` is large, or may be: most updates leave it as it is, and the server then does not send it.
const COLUMNS: [(&str, u32, Kind); 5] = [
    ("id", 23, Kind::Number),
    ("name", 25, Kind::Text),
    ("n", 20, Kind::Number),
    ("t", 25, Kind::Text),
    ("o", 20, Kind::Number),
];
/// The names that rows have; some of them give no key.
const NAMES: [&str; 8] = ["a", "b/c", "x.y", "50%", "ü.é", "www.a.example", "", "a..b"];

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: usize,
    name: &'static str,
    /// Another one in each version of the row.
    number: u64,
    text: String,
    option: Option<u64>,
}

impl Row {
    /// A row of this key with the number, and all else by chance.
    pub(super) fn new(id: usize, number: u64, random: &mut Random) -> Self {
        let mut row = Self { id, name: "", number, text: String::new(), option: None };
        row.change_text(random);
        row.change_others(random);
        row
    }

    /// The row after an update, and whether that leaves the text as it is.
    pub(super) fn updated(&self, id: usize, number: u64, random: &mut Random) -> (Self, bool) {
        let mut row = Self { id, number, ..self.clone() };
        let unchanged = random.percent(60);
        if !unchanged {
            row.change_text(random);
        }
        if random.percent(30) {
            row.change_others(random);
        }
        (row, unchanged)
    }

    fn change_text(&mut self, random: &mut Random) {
        let length = if random.percent(4) { LARGE } else { random.below(12) };
        self.text = format!("{}{}", self.number, "x".repeat(length));
    }

    fn change_others(&mut self, random: &mut Random) {
        self.name = NAMES[random.below(NAMES.len())];
        self.option = random.percent(60).then_some(self.number);
    }

    /// Its cells as the server prints them.
    fn with_cells<T>(&self, then: impl FnOnce([Cell<'_>; 5]) -> T) -> T {
        let (id, number) = (self.id.to_string(), self.number.to_string());
        let option = self.option.map(|option| option.to_string());
        then([
            Cell::Text(id.as_bytes()),
            Cell::Text(self.name.as_bytes()),
            Cell::Text(number.as_bytes()),
            Cell::Text(self.text.as_bytes()),
            option.as_ref().map_or(Cell::Null, |option| Cell::Text(option.as_bytes())),
        ])
    }
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) plan: Plan,
    pub(super) relation: Relation,
    pub(super) facts: TableFacts,
}

/// Tables with random shapes.
pub(super) fn random_tables(count: usize, random: &mut Random) -> (Vec<Table>, Shapes) {
    let mut shaped = BTreeMap::new();
    let mut identities = Vec::new();
    for number in 0..count {
        let key = if random.percent(60) { &["id"][..] } else { &["id", "name"] };
        let full = random.percent(30);
        // The ranges of keys that are deleted as a whole are the harder half of TRUNCATE.
        if random.percent(65) {
            let block = shapes::block(number, key, full, random);
            shaped.extend(tables_of(&block).into_values().map(|shape| (name_of(number), shape)));
        }
        identities.push((key, full));
    }
    let shapes = Shapes::new("p", shaped);
    shapes.check(super::life::STATE_PATH).expect("shapes that go together");
    let tables = identities.into_iter().enumerate();
    let tables = tables.map(|(number, (key, full))| Table::new(number, key, full, &shapes));
    (tables.collect(), shapes)
}

fn name_of(number: usize) -> TableName {
    TableName { schema: "public".to_owned(), name: format!("t{number}") }
}

impl Table {
    fn new(number: usize, key: &[&str], full: bool, shapes: &Shapes) -> Self {
        let name = name_of(number);
        let key: Vec<_> = key.iter().map(|&name| name.to_owned()).collect();
        let columns = COLUMNS.map(|(name, type_oid, kind)| TableColumn {
            name: name.to_owned(),
            type_oid,
            kind,
        });
        let plan = Plan::new(shapes, &name, &columns, Some(&key), full).expect("a plan");
        let identity = |name: &str| full || key.iter().any(|key| key == name);
        let columns = COLUMNS.map(|(name, type_oid, _)| Column {
            identity: identity(name),
            name: name.to_owned(),
            type_oid,
            type_modifier: -1,
        });
        let relation = Relation {
            oid: u32::try_from(number).unwrap_or(0),
            schema: name.schema,
            name: name.name,
            replica_identity: match full {
                true => ReplicaIdentity::Full,
                false => ReplicaIdentity::Default,
            },
            columns: columns.into(),
        };
        let kinds: HashMap<_, _> = COLUMNS.into_iter().map(|(_, oid, kind)| (oid, kind)).collect();
        Self {
            plan,
            relation,
            facts: TableFacts { key: Some(key), kinds, ..TableFacts::default() },
        }
    }

    /// The keys of a row, whether there is something under them or not.
    pub(super) fn keys(&self, row: &Row) -> Vec<Vec<u8>> {
        row.with_cells(|cells| {
            let key = |output| key(&Cells::new(&cells, None), output);
            self.plan.outputs().iter().filter_map(key).collect()
        })
    }

    /// The documents of a row, each with its key; those that a request can hold.
    pub(super) fn documents(&self, row: &Row) -> Vec<(Vec<u8>, Vec<u8>)> {
        row.with_cells(|cells| {
            let row = Cells::new(&cells, None);
            let document = |output: &Output| {
                let key = key(&row, output)?;
                let mut out = Vec::new();
                let (holes, casts) = (&mut Vec::new(), &mut Casts::default());
                write_document(&self.plan, &output.value, &row, casts, &mut out, holes);
                let is_there = row.presence(output) == Presence::There && out.len() < LARGE;
                is_there.then_some((key, out))
            };
            self.plan.outputs().iter().filter_map(document).collect()
        })
    }

    /// The keys of a row of which an update that does not send the text leaves open what is under them.
    pub(super) fn left_open(&self, old: &Row, row: &Row) -> Vec<Vec<u8>> {
        if self.sends_all() {
            return Vec::new();
        }
        let had_key = |output: &Output| {
            old.with_cells(|cells| key(&Cells::new(&cells, None), output).is_some())
        };
        row.with_cells(|mut cells| {
            cells[3] = Cell::UnchangedToast;
            let row = Cells::new(&cells, None);
            let is_open = |output: &&Output| match row.presence(output) {
                Presence::Open => true,
                Presence::Absent => false,
                // What a row without a key had is nowhere.
                Presence::There => !had_key(output) && has_holes(&self.plan, output, &row),
            };
            let open = self.plan.outputs().iter().filter(is_open);
            open.filter_map(|output| key(&row, output)).collect()
        })
    }

    /// Says that a row is new.
    pub(super) fn inserted<T>(&self, row: &Row, tell: impl FnOnce(&Message<'_>) -> T) -> T {
        let relation = self.relation.oid;
        row.with_cells(|new| tell(&Message::Insert { relation, new: new.into() }))
    }

    /// Says that a row has changed.
    pub(super) fn updated<T>(
        &self,
        (old, row): (&Row, &Row),
        unchanged: bool,
        tell: impl FnOnce(&Message<'_>) -> T,
    ) -> T {
        let relation = self.relation.oid;
        row.with_cells(|mut new| {
            old.with_cells(|old| {
                let moves = self.plan.key().iter().any(|&column| old[column] != new[column]);
                let old = (moves || self.sends_all()).then(|| self.old_tuple(old));
                if unchanged {
                    new[3] = Cell::UnchangedToast;
                }
                tell(&Message::Update { relation, old, new: new.into() })
            })
        })
    }

    /// Says that a row is gone.
    pub(super) fn deleted<T>(&self, row: &Row, tell: impl FnOnce(&Message<'_>) -> T) -> T {
        let relation = self.relation.oid;
        row.with_cells(|old| tell(&Message::Delete { relation, old: self.old_tuple(old) }))
    }

    /// What is sent of a row as it was: the key's columns, or all.
    fn old_tuple<'c>(&self, mut cells: [Cell<'c>; 5]) -> OldTuple<'c> {
        if self.sends_all() {
            return OldTuple::Full(cells.into());
        }
        for (column, cell) in cells.iter_mut().enumerate() {
            if !self.plan.key().contains(&column) {
                *cell = Cell::Null;
            }
        }
        OldTuple::Key(cells.into())
    }

    /// Whether the server sends all of a row as it was.
    fn sends_all(&self) -> bool {
        self.relation.replica_identity == ReplicaIdentity::Full
    }
}

fn key(row: &Cells<'_>, output: &Output) -> Option<Vec<u8>> {
    let KeyOf::Known(key) = row.key(output) else { return None };
    let mut out = Vec::new();
    key.write(&mut out);
    Some(out)
}

fn has_holes(plan: &Plan, output: &Output, row: &Cells<'_>) -> bool {
    let mut holes = Vec::new();
    write_document(plan, &output.value, row, &mut Casts::default(), &mut Vec::new(), &mut holes);
    !holes.is_empty()
}

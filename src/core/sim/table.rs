//! A model of a table: its rows, what they are in etcd, and what the stream says of them.

use std::collections::{BTreeMap, HashMap};

use super::links::{Identity, Link, family};
use super::random::Random;
use super::row::{COLUMNS, LARGE_COLUMN, Row};
use super::shapes;
use crate::cell::Cell;
use crate::config::block::{shapes_of, tables_of};
use crate::document::{Body, Casts, KeyOf, Presence, Row as Cells, write_document};
use crate::mapping::{Family, Nested, Output, Plan, Shapes, Table as Sketch};
use crate::postgres::pgoutput::{Column, Message, OldTuple, Relation, ReplicaIdentity};
use crate::postgres::{ForeignKey, PublishedTable, Relatives, Shape, TableColumn, TableFacts};
use crate::table_name::TableName;

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) plan: Plan,
    pub(super) relation: Relation,
    pub(super) facts: TableFacts,
}

/// Tables that may be nested in each other, and what the settings say of them.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) tables: Vec<Table>,
    pub(super) shapes: Shapes,
    pub(super) links: Vec<Link>,
}

/// How many tables there are that are not nested in each other.
const TABLES: usize = 2;

/// Tables with random shapes.
pub(super) fn random_tables(random: &mut Random) -> Model {
    let (identities, links, shaped) = match random.percent(40) {
        true => {
            let (identities, links, blocks) = family(random);
            (identities, links, shapes_of(&blocks))
        }
        false => {
            let (identities, shaped) = flat(random);
            (identities, Vec::new(), shaped)
        }
    };
    let shapes = Shapes::new("p", shaped);
    shapes.check(super::life::STATE_PATH).expect("shapes that go together");
    let published = identities.iter().enumerate();
    let published = published.map(|(number, identity)| published_as(number, *identity, &links));
    let published: Vec<_> = published.collect();
    let foreign_keys: Vec<_> = links.iter().map(foreign_key).collect();
    let family = Family {
        shapes: &shapes,
        tables: published.iter().map(Sketch::published).collect(),
        foreign_keys: &foreign_keys,
    };
    let plans = family.plans().into_iter().map(|planned| planned.expect("a plan").plan);
    let relatives = match links.is_empty() {
        true => Relatives::default(),
        false => Relatives { tables: published.clone(), foreign_keys: foreign_keys.clone() },
    };
    let tables = published
        .iter()
        .zip(plans)
        .map(|(published, plan)| Table::new(published, plan, &relatives));
    Model { tables: tables.collect(), links, shapes }
}

/// Tables that are not nested in each other.
fn flat(random: &mut Random) -> (Vec<Identity>, BTreeMap<TableName, crate::mapping::TableShape>) {
    let mut shaped = BTreeMap::new();
    let mut identities = Vec::new();
    for number in 0..TABLES {
        let key = if random.percent(60) { &["id"][..] } else { &["id", "name"] };
        let full = random.percent(30);
        // The ranges of keys that are deleted as a whole are the harder half of TRUNCATE.
        if random.percent(65) {
            let block = shapes::block(number, key, full, random);
            shaped.extend(tables_of(&block).into_values().map(|shape| (name_of(number), shape)));
        }
        identities.push(Identity { key, full });
    }
    (identities, shaped)
}

fn name_of(number: usize) -> TableName {
    TableName { schema: "public".to_owned(), name: format!("t{number}") }
}

fn oid_of(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn published_as(number: usize, identity: Identity, links: &[Link]) -> PublishedTable {
    let width = if links.is_empty() { COLUMNS.len() - 2 } else { COLUMNS.len() };
    let columns = COLUMNS.into_iter().take(width);
    let columns =
        columns.map(|(name, type_oid, kind)| TableColumn { name: name.to_owned(), type_oid, kind });
    PublishedTable {
        oid: oid_of(number),
        name: name_of(number),
        columns: columns.collect(),
        key: Some(identity.key.iter().map(|&name| name.to_owned()).collect()),
        full_identity: identity.full,
        row_filter: None,
        partitioned: false,
        unlogged_partitions: Vec::new(),
        estimated_rows: 0,
        shape: Shape::default(),
    }
}

fn foreign_key(link: &Link) -> ForeignKey {
    ForeignKey {
        name: "f".to_owned(),
        table: oid_of(link.child),
        parent: oid_of(link.parent),
        columns: vec![(COLUMNS[5 + link.point].0.to_owned(), "id".to_owned())],
        validated: true,
        unlike: Vec::new(),
        facts: String::new(),
    }
}

impl Table {
    fn new(published: &PublishedTable, plan: Plan, relatives: &Relatives) -> Self {
        let PublishedTable { oid, name, columns, key, full_identity, .. } = published;
        let identity =
            |name: &String| *full_identity || key.iter().flatten().any(|key| key == name);
        let columns = columns.iter().map(|column| Column {
            identity: identity(&column.name),
            name: column.name.clone(),
            type_oid: column.type_oid,
            type_modifier: -1,
        });
        let relation = Relation {
            oid: *oid,
            schema: name.schema.clone(),
            name: name.name.clone(),
            replica_identity: match full_identity {
                true => ReplicaIdentity::Full,
                false => ReplicaIdentity::Default,
            },
            columns: columns.collect(),
        };
        let kinds: HashMap<_, _> = COLUMNS.into_iter().map(|(_, oid, kind)| (oid, kind)).collect();
        let relatives = relatives.clone();
        let facts = TableFacts { key: key.clone(), kinds, relatives, ..TableFacts::default() };
        Self { plan, relation, facts }
    }

    /// The row's cells, of the columns that the table has.
    fn with_cells<T>(&self, row: &Row, then: impl FnOnce(&mut [Cell<'_>]) -> T) -> T {
        row.with_cells(|mut cells| then(&mut cells[..self.relation.columns.len()]))
    }

    /// Whether a row has to point somewhere.
    pub(super) fn needs_point(&self, point: usize) -> bool {
        self.plan.key().contains(&(5 + point))
    }

    /// Whether two versions of a row have the same primary key.
    pub(super) fn have_same_key(&self, old: &Row, row: &Row) -> bool {
        let is_same = |old: &mut [Cell<'_>], row: &mut [Cell<'_>]| {
            self.plan.key().iter().all(|&column| old[column] == row[column])
        };
        self.with_cells(old, |old| self.with_cells(row, |row| is_same(old, row)))
    }

    /// What a row is in the documents of others, in the order of [`Plan::nests`].
    pub(super) fn elements(&self, row: &Row) -> Vec<Vec<u8>> {
        self.with_cells(row, |cells| {
            let row = Cells::new(cells, None);
            let element = |value| {
                let mut out = Vec::new();
                let (holes, casts) = (&mut Vec::new(), &mut Casts::default());
                write_document(&self.plan, value, &row, casts, &mut out, holes);
                out
            };
            self.plan.nests().iter().map(|nest| element(&nest.element.value)).collect()
        })
    }

    /// In which documents of others an update that does not send the text leaves the row open, in the same
    /// order.
    pub(super) fn open_elements(&self, row: &Row) -> Vec<bool> {
        self.with_cells(row, |cells| {
            cells[LARGE_COLUMN] = Cell::UnchangedToast;
            let row = Cells::new(cells, None);
            let open = |output| row.presence(output) == Presence::Open && !self.sends_all();
            self.plan.nests().iter().map(|nest| open(&nest.element)).collect()
        })
    }

    /// The keys of a row, whether there is something under them or not.
    pub(super) fn keys(&self, row: &Row) -> Vec<Vec<u8>> {
        self.with_cells(row, |cells| {
            let key = |output| key(&Cells::new(cells, None), output);
            self.plan.outputs().iter().filter_map(key).collect()
        })
    }

    /// The documents of a row, each with its key, and with these rows of others in it, by the member's name.
    pub(super) fn documents(
        &self,
        row: &Row,
        members: &BTreeMap<&[u8], Vec<u8>>,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.with_cells(row, |cells| {
            let row = Cells { fresh: true, ..Cells::new(cells, None) };
            let document = |output: &Output| {
                let key = key(&row, output)?;
                let (mut out, mut holes) = (Vec::new(), Vec::new());
                let casts = &mut Casts::default();
                write_document(&self.plan, &output.value, &row, casts, &mut out, &mut holes);
                if let Body::Holed(holed) = Body::new(&out, &holes) {
                    let member = |nested: &Nested| &members[&nested.json_name[..]][..];
                    let mut filled = Vec::new();
                    holed.fill(b"", member, &mut filled).expect("nothing else is missing");
                    out = filled;
                }
                (row.presence(output) == Presence::There).then_some((key, out))
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
            self.with_cells(old, |cells| key(&Cells::new(cells, None), output).is_some())
        };
        self.with_cells(row, |cells| {
            cells[LARGE_COLUMN] = Cell::UnchangedToast;
            let row = Cells::new(cells, None);
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
        self.with_cells(row, |new| tell(&Message::Insert { relation, new: new.to_vec() }))
    }

    /// Says that a row has changed.
    pub(super) fn updated<T>(
        &self,
        (old, row): (&Row, &Row),
        unchanged: bool,
        tell: impl FnOnce(&Message<'_>) -> T,
    ) -> T {
        let relation = self.relation.oid;
        self.with_cells(row, |new| {
            self.with_cells(old, |old| {
                let moves = self.plan.key().iter().any(|&column| old[column] != new[column]);
                let old = (moves || self.sends_all()).then(|| self.old_tuple(old));
                if unchanged {
                    new[LARGE_COLUMN] = Cell::UnchangedToast;
                }
                tell(&Message::Update { relation, old, new: new.to_vec() })
            })
        })
    }

    /// Says that a row is gone.
    pub(super) fn deleted<T>(&self, row: &Row, tell: impl FnOnce(&Message<'_>) -> T) -> T {
        let relation = self.relation.oid;
        self.with_cells(row, |old| tell(&Message::Delete { relation, old: self.old_tuple(old) }))
    }

    /// What is sent of a row as it was: the key's columns, or all.
    fn old_tuple<'c>(&self, cells: &[Cell<'c>]) -> OldTuple<'c> {
        let mut cells = cells.to_vec();
        if self.sends_all() {
            return OldTuple::Full(cells);
        }
        for (column, cell) in cells.iter_mut().enumerate() {
            if !self.plan.key().contains(&column) {
                *cell = Cell::Null;
            }
        }
        OldTuple::Key(cells)
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

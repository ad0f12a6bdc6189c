//! The rows of a model of a database, and the documents that they are: each document is made anew of all
//! rows that belong into it whenever one of them has changed.

use std::collections::{BTreeMap, BTreeSet};

use super::links::Link;
use super::random::Random;
use super::row::{LARGE, Row};
use super::table::{Model, Table, random_tables};
use crate::etcd::Txn;
use crate::mapping::Shapes;

/// How many rows a table can have.
pub(super) const ROWS: usize = 6;

/// Documents by key in etcd.
pub(super) type Documents = BTreeMap<Vec<u8>, Vec<u8>>;

/// Those of one row.
type Rendered = Vec<(Vec<u8>, Vec<u8>)>;

/// A row's table and `id`.
pub(super) type Place = (usize, usize);

/// The rows.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) tables: Vec<Table>,
    pub(super) links: Vec<Link>,
    pub(super) shapes: Shapes,
    rows: BTreeMap<Place, Stored>,
    /// The documents that fit a request.
    pub(super) documents: Documents,
    /// The same by row.
    rendered: BTreeMap<Place, Rendered>,
    /// The rows whose documents are not up to date.
    stale: BTreeSet<Place>,
    /// The keys under which the stream has left open what there is: a text has a part that was not sent.
    open: BTreeSet<Vec<u8>>,
    /// The keys to which a row took its document, or its element, along as it was.
    taken_along: BTreeSet<Vec<u8>>,
    /// The elements of which it is so, by link and `id`.
    open_elements: BTreeSet<(usize, usize)>,
    /// Of each table whether etcd may lack, or have wrong, a document of it: one was too large, or rows
    /// have changed unseen.
    pub(super) lacking: Vec<bool>,
}

#[derive(Debug)]
struct Stored {
    row: Row,
    /// What it is in the documents of others, in the order of the links that its table has.
    elements: Vec<Vec<u8>>,
}

/// What has changed.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) keys: BTreeSet<Vec<u8>>,
    /// The most that each took in a request, in bytes.
    pub(super) bytes: BTreeMap<Vec<u8>, usize>,
}

impl Rows {
    pub(super) fn new(random: &mut Random) -> Self {
        let Model { tables, shapes, links } = random_tables(random);
        Self {
            lacking: vec![false; tables.len()],
            tables,
            links,
            shapes,
            rows: BTreeMap::new(),
            documents: Documents::new(),
            rendered: BTreeMap::new(),
            stale: BTreeSet::new(),
            open: BTreeSet::new(),
            taken_along: BTreeSet::new(),
            open_elements: BTreeSet::new(),
        }
    }

    pub(super) fn get(&self, place: Place) -> Option<&Row> {
        self.rows.get(&place).map(|stored| &stored.row)
    }

    pub(super) fn has(&self, place: Place) -> bool {
        self.rows.contains_key(&place)
    }

    /// The links by which a table is in the documents of others, with their places.
    pub(super) fn links_of(&self, child: usize) -> impl Iterator<Item = (usize, &Link)> {
        self.links.iter().enumerate().filter(move |(_, link)| link.child == child)
    }

    /// The rows that point to this one, each with the place of the link.
    pub(super) fn pointing_to(&self, (table, id): Place) -> Vec<(usize, Place)> {
        let links = self.links.iter().enumerate().filter(|(_, link)| link.parent == table);
        let pointing = links.flat_map(|(place, link)| {
            let rows = self.rows.range((link.child, 0)..(link.child + 1, 0));
            let rows = rows.filter(|(_, stored)| stored.row.points[link.point] == Some(id));
            rows.map(move |(row, _)| (place, *row))
        });
        pointing.collect()
    }

    /// A row that points to one that is not there, with the place of the link.
    pub(super) fn dangling(&self) -> Option<(usize, Row)> {
        self.links.iter().enumerate().find_map(|(place, link)| {
            let mut rows = self.rows.range((link.child, 0)..(link.child + 1, 0));
            let dangles =
                |row: &Row| row.points[link.point].is_some_and(|id| !self.has((link.parent, id)));
            let found = rows.find(|(_, stored)| dangles(&stored.row));
            found.map(|(_, stored)| (place, stored.row.clone()))
        })
    }

    pub(super) fn insert(&mut self, table: usize, row: Row) {
        self.mark_stale(table, &row);
        let elements = self.tables[table].elements(&row);
        self.rows.insert((table, row.id), Stored { row, elements });
    }

    pub(super) fn remove(&mut self, table: usize, id: usize) -> Option<Row> {
        let Stored { row, .. } = self.rows.remove(&(table, id))?;
        self.mark_stale(table, &row);
        for key in self.tables[table].keys(&row) {
            self.open.remove(&key);
        }
        let links = &self.links;
        self.open_elements.retain(|(link, of)| links[*link].child != table || *of != id);
        Some(row)
    }

    /// Takes note of an update that has not sent the text.
    pub(super) fn leave_open(&mut self, table: usize, old: &Row, row: &Row) {
        let open = self.tables[table].left_open(old, row);
        if old.id != row.id && self.links.iter().any(|link| link.parent == table) {
            self.taken_along.extend(open.iter().cloned());
        }
        self.open.extend(open);
        let open = self.tables[table].open_elements(row);
        let links = self.links_of(table).zip(open).filter(|(_, open)| *open);
        let links: Vec<_> = links.map(|((link, _), _)| (link, row.id)).collect();
        // As it was before, it is not found again under its new key.
        if !self.tables[table].have_same_key(old, row) {
            for (link, _) in &links {
                let Link { point, parent, .. } = self.links[*link];
                for id in [old.points[point], row.points[point]].into_iter().flatten() {
                    match self.get((parent, id)).map(|row| self.tables[parent].keys(row)) {
                        Some(keys) => self.taken_along.extend(keys),
                        // It may yet come, or has gone.
                        None => self.lacking[parent] = true,
                    }
                }
            }
        }
        self.open_elements.extend(links);
    }

    /// The keys under which the stream has left open what there is.
    pub(super) fn open(&self) -> BTreeSet<Vec<u8>> {
        let mut open = &self.open | &self.taken_along;
        for &(link, id) in &self.open_elements {
            let Link { child, point, parent, .. } = self.links[link];
            let row = self.get((child, id)).and_then(|row| self.get((parent, row.points[point]?)));
            open.extend(row.iter().flat_map(|row| self.tables[parent].keys(row)));
        }
        open
    }

    fn mark_stale(&mut self, table: usize, row: &Row) {
        self.stale.insert((table, row.id));
        for link in self.links.iter().filter(|link| link.child == table) {
            self.stale.extend(row.points[link.point].map(|id| (link.parent, id)));
        }
    }

    /// Brings the documents up to date after a change.
    pub(super) fn refresh(&mut self, touched: &mut Touched) {
        for place in std::mem::take(&mut self.stale) {
            let before = self.rendered.remove(&place).unwrap_or_default();
            let after = self.render(place);
            for (key, _) in &before {
                self.documents.remove(key);
            }
            for (key, document) in &after {
                self.documents.insert(key.clone(), document.clone());
                let most = touched.bytes.entry(key.clone()).or_default();
                *most = (*most).max(Txn::put_bytes(key.len(), document.len()));
            }
            for (one, other) in [(&before, &after), (&after, &before)] {
                let changed = one.iter().filter(|document| !other.contains(document));
                touched.keys.extend(changed.map(|(key, _)| key.clone()));
            }
            if !after.is_empty() {
                self.rendered.insert(place, after);
            }
        }
    }

    fn render(&mut self, (table, id): Place) -> Vec<(Vec<u8>, Vec<u8>)> {
        let Some(Stored { row, .. }) = self.rows.get(&(table, id)) else { return Vec::new() };
        let links = self.links.iter().enumerate().filter(|(_, link)| link.parent == table);
        let members = links.map(|(place, link)| {
            let element = self.links_of(link.child).position(|(other, _)| other == place);
            let rows = self.rows.range((link.child, 0)..(link.child + 1, 0));
            let rows = rows.filter(|(_, stored)| stored.row.points[link.point] == Some(id));
            let rows = rows.map(|(_, Stored { row, elements })| {
                (row, &elements[element.unwrap_or_default()][..])
            });
            (&link.json_name[..], link.member(rows.collect()))
        });
        let mut documents = self.tables[table].documents(row, &members.collect());
        let all = documents.len();
        documents.retain(|(key, document)| Txn::put_bytes(key.len(), document.len()) <= LARGE);
        self.lacking[table] |= documents.len() < all;
        documents
    }
}

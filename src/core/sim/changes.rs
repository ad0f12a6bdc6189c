//! Random transactions: rows that come, change, move and go, those that point to them with them, before
//! or after them, or not at all; at the commit each points to one that is there.

use super::database::{Change, Database, Open};
use super::random::Random;
use super::row::Row;
use super::rows::ROWS;

/// When the rows that point to a row follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Following {
    /// Before it moves or goes, by the application's hand.
    Before,
    /// Right after it, by ON UPDATE and ON DELETE.
    After,
    /// Not before the commit, if at all: another row may come under its key.
    Late,
}

impl Following {
    fn random(random: &mut Random) -> Self {
        [Self::Before, Self::After, Self::After, Self::Late, Self::Late][random.below(5)]
    }
}

impl Database {
    /// Commits a transaction of up to `most` changes.
    pub(super) fn commit(&mut self, random: &mut Random, most: usize) {
        let mut transaction = Open::default();
        for _ in 0..=random.below(most) {
            self.change(random, &mut transaction);
        }
        while let Some((link, row)) = self.rows.dangling() {
            self.mend(link, &row, random, &mut transaction);
        }
        self.push(transaction, None);
    }

    /// Has a row that points to none point to one, or to nothing, or go.
    fn mend(&mut self, link: usize, row: &Row, random: &mut Random, transaction: &mut Open) {
        let link = self.rows.links[link].clone();
        match random.below(4) {
            0 => self.delete(link.child, row.id, Following::Late, random, transaction),
            1 => {
                let mut moved = row.clone();
                moved.points[link.point] = self.existing(link.parent, random);
                let points = moved.points[link.point].is_some();
                if points || !self.rows.tables[link.child].needs_point(link.point) {
                    self.update(
                        link.child,
                        row.id,
                        (moved, true),
                        Following::Late,
                        random,
                        transaction,
                    );
                }
            }
            _ => {
                self.next += 1;
                let id = row.points[link.point].unwrap_or_default();
                let mut parent = Row::new(id, self.next, random);
                for (_, own) in self.rows.links_of(link.parent) {
                    parent.points[own.point] = self.existing(own.parent, random);
                }
                self.insert(link.parent, parent, transaction);
            }
        }
    }

    fn change(&mut self, random: &mut Random, transaction: &mut Open) {
        let (table, id) = (random.below(self.rows.tables.len()), random.below(ROWS));
        self.next += 1;
        if random.percent(3) {
            return self.truncate(table, random, transaction);
        }
        if random.percent(6) {
            return self.swap(table, random, transaction);
        }
        let following = Following::random(random);
        match self.rows.get((table, id)) {
            Some(_) if random.percent(20) => {
                self.delete(table, id, following, random, transaction);
            }
            Some(old) => {
                let to = random.below(ROWS);
                let moves = random.percent(30) && !self.rows.has((table, to));
                let (mut row, unchanged) =
                    old.updated(if moves { to } else { id }, self.next, random);
                if random.percent(40) {
                    self.point(table, &mut row, random);
                }
                self.update(table, id, (row, unchanged), following, random, transaction);
            }
            None => {
                let mut row = Row::new(id, self.next, random);
                self.point(table, &mut row, random);
                self.insert(table, row, transaction);
            }
        }
    }

    /// Lets a row point to others, which may not be there yet.
    fn point(&self, table: usize, row: &mut Row, random: &mut Random) {
        for (_, link) in self.rows.links_of(table) {
            let is_optional = !self.rows.tables[table].needs_point(link.point);
            row.points[link.point] = match random.below(8) {
                0 if is_optional => None,
                0 | 1 => Some(random.below(ROWS)),
                _ => self.existing(link.parent, random).or((!is_optional).then_some(0)),
            };
        }
    }

    /// The `id` of a row of a table.
    pub(super) fn existing(&self, table: usize, random: &mut Random) -> Option<usize> {
        let first = random.below(ROWS);
        (first..first + ROWS).map(|id| id % ROWS).find(|id| self.rows.has((table, *id)))
    }

    fn insert(&mut self, table: usize, row: Row, transaction: &mut Open) {
        transaction.touched.keys.extend(self.rows.tables[table].keys(&row));
        self.rows.insert(table, row.clone());
        self.rows.refresh(&mut transaction.touched);
        transaction.changes.push(Change::Insert { table, row });
    }

    fn delete(
        &mut self,
        table: usize,
        id: usize,
        following: Following,
        random: &mut Random,
        transaction: &mut Open,
    ) {
        if following == Following::Before {
            self.follow((table, id), None, random, transaction);
        }
        let Some(row) = self.rows.remove(table, id) else { return };
        transaction.touched.keys.extend(self.rows.tables[table].keys(&row));
        self.rows.refresh(&mut transaction.touched);
        transaction.changes.push(Change::Delete { table, row });
        if following == Following::After {
            self.follow((table, id), None, random, transaction);
        }
    }

    /// Lets two rows change their keys with each other, by way of a third key.
    fn swap(&mut self, table: usize, random: &mut Random, transaction: &mut Open) {
        let (taken, free): (Vec<_>, Vec<_>) = (0..ROWS).partition(|id| self.rows.has((table, *id)));
        let ([first, .., second], [third, ..]) = (&taken[..], &free[..]) else { return };
        let following = Following::random(random);
        for (from, to) in [(*first, *third), (*second, *first), (*third, *second)] {
            self.next += 1;
            let Some(old) = self.rows.get((table, from)) else { return };
            let row = old.updated(to, self.next, random);
            if !self.rows.has((table, to)) {
                self.update(table, from, row, following, random, transaction);
            }
        }
    }

    /// Updates a row; of the new one is said whether its text is as it was.
    fn update(
        &mut self,
        table: usize,
        from: usize,
        (row, unchanged): (Row, bool),
        following: Following,
        random: &mut Random,
        transaction: &mut Open,
    ) {
        let moves = row.id != from;
        if moves && following == Following::Before {
            self.follow((table, from), Some(row.id), random, transaction);
        }
        let Some(old) = self.rows.remove(table, from) else { return };
        self.rows.insert(table, row.clone());
        self.rows.refresh(&mut transaction.touched);
        let model = &self.rows.tables[table];
        transaction.touched.keys.extend([model.keys(&old), model.keys(&row)].concat());
        if unchanged {
            transaction.notes += 1 + model.plan.outputs().len() + model.plan.nests().len();
            self.rows.leave_open(table, &old, &row);
        }
        let to = row.id;
        transaction.changes.push(Change::Update { table, old, row, unchanged });
        if moves && following == Following::After {
            self.follow((table, from), Some(to), random, transaction);
        }
    }

    /// The rows that point to one follow it to another key, or go, or point to nothing any longer.
    fn follow(
        &mut self,
        (table, id): (usize, usize),
        to: Option<usize>,
        random: &mut Random,
        transaction: &mut Open,
    ) {
        for (link, (child, child_id)) in self.rows.pointing_to((table, id)) {
            let point = self.rows.links[link].point;
            let Some(row) = self.rows.get((child, child_id)) else { continue };
            if (child, child_id) == (table, id) || row.points[point] != Some(id) {
                continue;
            }
            let mut moved = row.clone();
            moved.points[point] = to;
            if to.is_some() || !self.rows.tables[child].needs_point(point) && random.percent(50) {
                self.update(child, child_id, (moved, true), Following::Late, random, transaction);
            } else {
                self.delete(child, child_id, Following::After, random, transaction);
            }
        }
    }

    /// Empties a table, and those that point there.
    fn truncate(&mut self, table: usize, random: &mut Random, transaction: &mut Open) {
        let mut tables = vec![table];
        let mut at = 0;
        while let Some(&parent) = tables.get(at) {
            at += 1;
            for link in self.rows.links.iter().filter(|link| link.parent == parent) {
                if !tables.contains(&link.child) {
                    tables.push(link.child);
                }
            }
        }
        if random.percent(50) {
            tables.reverse();
        }
        for &table in &tables {
            for id in 0..ROWS {
                if let Some(row) = self.rows.remove(table, id) {
                    transaction.touched.keys.extend(self.rows.tables[table].keys(&row));
                }
            }
        }
        self.rows.refresh(&mut transaction.touched);
        transaction.truncates = true;
        transaction.changes.push(Change::Truncate { tables });
    }
}

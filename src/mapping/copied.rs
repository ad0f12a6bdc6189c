//! The tables that are copied, and those that are not.

use std::collections::BTreeMap;

use super::family::{Child, Family, Planned};
use super::nest::Nest;
use super::plan::Plan;
use super::shape::Shapes;
use super::table::Table;
use crate::error::Unmet;
use crate::postgres::{ForeignKey, PublishedTable, Session};
use crate::table_name::TableName;

/// A published table whose rows are copied.
#[derive(Clone, Debug)]
pub(crate) struct CopiedTable {
    /// What the catalog says of it.
    pub(crate) published: PublishedTable,
    /// What its rows become.
    pub(crate) plan: Plan,
    /// The rows in its documents, in the order of [`Plan::nested`].
    pub(crate) nested: Vec<NestedRows>,
}

/// The rows of a table that are in the documents of another.
#[derive(Clone, Debug)]
pub(crate) struct NestedRows {
    /// What the catalog says of their table.
    pub(crate) published: PublishedTable,
    /// Its plan.
    pub(crate) plan: Plan,
    /// What becomes of them in those documents: one of the plan's [`Plan::nests`].
    pub(crate) nest: Nest,
}

impl CopiedTable {
    /// Asks the catalog for the table of this name, and for those that it has to do with; `None` if it is
    /// not published, or cannot be copied.
    ///
    /// # Errors
    /// As for every query.
    pub(crate) fn read(
        session: &mut Session,
        publication: &str,
        name: &TableName,
        shapes: &Shapes,
    ) -> crate::error::Result<Option<Self>> {
        let mut names = shapes.relatives(name);
        names.push(name.clone());
        let published = session.published_of(publication, Some(&names))?;
        let mut tables = PublishedTables::of(session, published, shapes)?.copied.into_iter();
        Ok(tables.find(|table| table.published.name == *name))
    }

    /// Its rows that lack a key, as a table of their own; `None` if none can.
    pub(crate) fn without_key(&self) -> Option<Self> {
        let plan = self.plan.without_key()?.clone();
        Some(Self { published: self.published.clone(), plan, nested: Vec::new() })
    }

    /// The tables whose rows are in its documents: itself, and what is nested in it.
    pub(crate) fn sources(&self) -> Vec<PublishedTable> {
        let nested = self.nested.iter().map(|rows| &rows.published);
        [&self.published].into_iter().chain(nested).cloned().collect()
    }
}

/// These tables that are nested in one, those that are nested in them, and so on. If one of them is left out for
/// a while, so are all that it is below, and none of these has changed itself when it is back.
fn below<'p>(children: &'p [Child], plans: &'p [Result<Planned, Unmet>]) -> Vec<&'p Child> {
    let mut found: Vec<_> = children.iter().collect();
    let mut at = 0;
    while let Some(one) = found.get(at).copied() {
        at += 1;
        for child in plans[one.table].iter().flat_map(|planned| &planned.children) {
            let is_it = |other: &&Child| {
                (other.table, other.foreign_key) == (child.table, child.foreign_key)
            };
            if !found.iter().any(is_it) {
                found.push(child);
            }
        }
    }
    found
}

/// The tables of a publication, by schema and name.
#[derive(Debug, Default)]
pub(crate) struct PublishedTables {
    /// Those that are copied.
    pub(crate) copied: Vec<CopiedTable>,
    /// Those that are left out, each with the reason.
    pub(crate) left_out: Vec<(PublishedTable, Unmet)>,
}

impl PublishedTables {
    /// Asks the catalog, with the same few statements however many tables there are. A table whose keys
    /// would stand among those that a template of another gives is left out.
    ///
    /// # Errors
    /// As for every query.
    pub(crate) fn read(
        session: &mut Session,
        publication: &str,
        shapes: &Shapes,
    ) -> crate::error::Result<Self> {
        let published = session.published_tables(publication)?;
        Self::of(session, published, shapes)
    }

    /// The same of some of them.
    fn of(
        session: &mut Session,
        published: Vec<PublishedTable>,
        shapes: &Shapes,
    ) -> crate::error::Result<Self> {
        let oids: Vec<_> = match shapes.nest_any() {
            true => published.iter().map(|table| table.oid).collect(),
            false => Vec::new(),
        };
        let foreign_keys = session.foreign_keys(&oids)?;
        Ok(Self::new(shapes, published, &foreign_keys))
    }

    /// The same of these tables, which have these foreign keys.
    fn new(shapes: &Shapes, published: Vec<PublishedTable>, foreign_keys: &[ForeignKey]) -> Self {
        let family = published.iter().map(Table::published).collect();
        let plans = Family { shapes, tables: family, foreign_keys }.plans();
        let mut tables = Self::default();
        for (table, planned) in published.iter().zip(&plans) {
            let Planned { plan, children } = match planned {
                Ok(planned) => planned,
                Err(reason) => {
                    tables.left_out.push((table.clone(), reason.clone()));
                    continue;
                }
            };
            let mut copied =
                CopiedTable { published: table.clone(), plan: plan.clone(), nested: Vec::new() };
            let nested = below(children, &plans).into_iter().map(|child| {
                let table = &published[child.table];
                (table.oid, &table.shape, foreign_keys[child.foreign_key].facts.as_str())
            });
            copied.published.shape.nest(nested);
            let rows = |child: &Child| {
                let Planned { plan, .. } = plans[child.table].as_ref().ok()?;
                let published = published[child.table].clone();
                Some(NestedRows { published, plan: plan.clone(), nest: child.nest.clone() })
            };
            copied.nested = children.iter().filter_map(rows).collect();
            tables.copied.push(copied);
        }
        tables
    }

    /// All of them by their names, each as it is copied or why it is not.
    pub(crate) fn each(&self) -> Vec<(&PublishedTable, Result<&CopiedTable, &Unmet>)> {
        let copied = self.copied.iter().map(|table| (&table.published, Ok(table)));
        let left_out = self.left_out.iter().map(|(table, reason)| (table, Err(reason)));
        let mut all: Vec<_> = copied.chain(left_out).collect();
        all.sort_by_key(|(table, _)| &table.name);
        all
    }

    /// Leaves those of the copied tables out that have one of these keyspaces, each for its reason.
    pub(crate) fn leave_out(&mut self, reasons: impl IntoIterator<Item = (Vec<u8>, Unmet)>) {
        let mut reasons: BTreeMap<_, _> = reasons.into_iter().collect();
        for table in std::mem::take(&mut self.copied) {
            let keyspaces = table.plan.keyspaces().iter();
            match keyspaces.filter_map(|own| reasons.remove(own.prefix())).next() {
                Some(reason) => self.left_out.push((table.published, reason)),
                None => self.copied.push(table),
            }
        }
    }
}

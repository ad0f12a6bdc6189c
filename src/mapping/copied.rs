//! The tables that are copied, and those that are not.

use std::collections::BTreeMap;

use super::plan::Plan;
use super::shape::Shapes;
use crate::error::{Result, Unmet};
use crate::postgres::{PublishedTable, Session};

/// A published table whose rows are copied.
#[derive(Clone, Debug)]
pub(crate) struct CopiedTable {
    /// What the catalog says of it.
    pub(crate) published: PublishedTable,
    /// What its rows become.
    pub(crate) plan: Plan,
}

impl CopiedTable {
    /// Asks the catalog for the table of this OID; `None` if it is not published, or cannot be copied.
    ///
    /// # Errors
    /// As for every query.
    pub(crate) fn read(
        session: &mut Session,
        publication: &str,
        oid: u32,
        shapes: &Shapes,
    ) -> Result<Option<Self>> {
        let published = session.published_table(publication, oid)?;
        Ok(published.and_then(|published| {
            let plan = Plan::of(shapes, &published).ok()?;
            Some(Self { published, plan })
        }))
    }

    /// Its rows that lack a key, as a table of their own; `None` if none can.
    pub(crate) fn without_key(&self) -> Option<Self> {
        let plan = self.plan.without_key()?.clone();
        Some(Self { published: self.published.clone(), plan })
    }
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
    pub(crate) fn read(session: &mut Session, publication: &str, shapes: &Shapes) -> Result<Self> {
        let mut tables = Self::default();
        for published in session.published_tables(publication)? {
            match Plan::of(shapes, &published) {
                Ok(plan) => tables.copied.push(CopiedTable { published, plan }),
                Err(reason) => tables.left_out.push((published, reason)),
            }
        }
        Ok(tables)
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

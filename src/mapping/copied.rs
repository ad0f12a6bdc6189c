//! The tables that are copied, and those that are not.

use super::plan::Plan;
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

/// The tables of a publication, by schema and name.
#[derive(Debug, Default)]
pub(crate) struct PublishedTables {
    /// Those that are copied.
    pub(crate) copied: Vec<CopiedTable>,
    /// Those that are left out, each with the reason.
    pub(crate) left_out: Vec<(PublishedTable, Unmet)>,
}

impl PublishedTables {
    /// Asks the catalog, with the same few statements however many tables there are.
    ///
    /// # Errors
    /// As for every query.
    pub(crate) fn read(session: &mut Session, publication: &str, path: &str) -> Result<Self> {
        let mut tables = Self::default();
        for published in session.published_tables(publication)? {
            match Plan::of(path, &published) {
                Ok(plan) => tables.copied.push(CopiedTable { published, plan }),
                Err(reason) => tables.left_out.push((published, reason)),
            }
        }
        Ok(tables)
    }
}

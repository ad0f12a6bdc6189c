//! The tables that are published and that etcd does not have as they are, with the reasons.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What etcd lacks of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// It cannot be copied, for this reason.
    LeftOut(String),
    /// It has to be compared first, for this reason.
    Comparing(String),
}

impl Lack {
    /// Why, in words.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::LeftOut(reason) => reason.clone(),
            Self::Comparing(reason) => format!("it is being compared: {reason}"),
        }
    }
}

/// The tables that are not copied, by name. Each that cannot be is named in the log, once as long as
/// the reason is the same.
#[derive(Debug, Default)]
pub(crate) struct NotCopied(Mutex<BTreeMap<String, Lack>>);

impl NotCopied {
    /// Takes these for all that there are.
    pub(crate) fn set(&self, tables: BTreeMap<String, Lack>) {
        let mut known = self.tables();
        for (table, lack) in &tables {
            tell(&known, table, lack);
        }
        *known = tables;
    }

    /// Takes note of one that cannot be copied.
    pub(crate) fn leave_out(&self, table: &str, reason: String) {
        let mut known = self.tables();
        let lack = Lack::LeftOut(reason);
        tell(&known, table, &lack);
        known.insert(table.to_owned(), lack);
    }

    /// Why a table cannot be copied, if it could not be so far.
    pub(crate) fn failure(&self, table: &str) -> Option<Lack> {
        self.tables().get(table).filter(|lack| matches!(lack, Lack::LeftOut(_))).cloned()
    }

    /// The tables, each with what etcd lacks of it.
    pub(super) fn lacks(&self) -> BTreeMap<String, Lack> {
        self.tables().clone()
    }

    /// The tables, each with why etcd lacks it.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let tables = self.tables();
        tables.iter().map(|(table, lack)| (table.clone(), lack.reason())).collect()
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<String, Lack>> {
        // A thread that panicked left whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(known: &BTreeMap<String, Lack>, table: &str, lack: &Lack) {
    if let Lack::LeftOut(reason) = lack
        && known.get(table) != Some(lack)
    {
        log::warn!("Leaving table {table} out: {reason}");
    }
}

//! The tables that are published and that etcd does not have as they are, with the reasons.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::lock;

/// What etcd lacks of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// It cannot be copied, for this reason.
    LeftOut(String),
    /// It has to be compared first, for this reason.
    Comparing(String),
}

impl Lack {
    /// In a word, and why.
    fn told(&self) -> (&'static str, String) {
        match self {
            Self::LeftOut(reason) => ("left_out", reason.clone()),
            Self::Comparing(reason) => ("comparing", format!("it is being compared: {reason}")),
        }
    }
}

/// The tables that are not copied, by name. Each that cannot be is named in the log, once as long as
/// the reason is the same.
#[derive(Debug, Default)]
pub(crate) struct NotCopied {
    tables: Mutex<BTreeMap<String, Lack>>,
    /// What is said of tables that lack some rows only, since these have no key.
    without_key: Mutex<BTreeMap<String, String>>,
}

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

    /// Takes these for all tables of which rows have no key, with what is said of them. The rows are
    /// named in the log where they are met.
    pub(crate) fn set_without_key(&self, tables: BTreeMap<String, String>) {
        *self.without_key() = tables;
    }

    /// The tables, each with its state, in a word, and why etcd lacks it, or rows of it.
    pub(super) fn lacks(&self) -> BTreeMap<String, (&'static str, String)> {
        let without_key = self.without_key().clone().into_iter();
        let mut lacks: BTreeMap<_, _> =
            without_key.map(|(table, reason)| (table, ("incomplete", reason))).collect();
        lacks.extend(self.tables().iter().map(|(table, lack)| (table.clone(), lack.told())));
        lacks
    }

    /// The tables, each with why etcd lacks it, or rows of it.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        self.lacks().into_iter().map(|(table, (_, reason))| (table, reason)).collect()
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<String, Lack>> {
        lock(&self.tables)
    }

    fn without_key(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        lock(&self.without_key)
    }
}

fn tell(known: &BTreeMap<String, Lack>, table: &str, lack: &Lack) {
    if let Lack::LeftOut(reason) = lack
        && known.get(table) != Some(lack)
    {
        log::warn!("Leaving table {table} out: {reason}");
    }
}

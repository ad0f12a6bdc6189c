//! Documents of which an update left columns out: filled from the newest version of the row.

use super::Packer;
use crate::core::change::Change;
use crate::core::view::Newest;
use crate::document::Body;

impl Packer {
    /// The change with its holes filled from the newest version of the row.
    pub(super) fn fill<'c>(&self, change: Change<'c>, filled: &'c mut Vec<u8>) -> Filled<'c> {
        let Change::Put { key, body: Body::Holed(document), old_key } = change else {
            return Filled::Whole(change);
        };
        let source = old_key.unwrap_or(key);
        let unknown = |problem: &str| {
            let text = String::from_utf8_lossy(source);
            let reason = format!("an update left out a column of {text}, and {problem}");
            Filled::Unknown { key: source.to_vec(), reason }
        };
        if document.wants_waiting() && self.waiting.is_unknown(key) {
            let reason = "too many rows waited for others in one transaction".to_owned();
            return Filled::Unknown { key: key.to_vec(), reason };
        }
        let newest: &[u8] = match self.newest(source) {
            _ if !document.wants_stored() => &[],
            Newest::InEtcd => return Filled::InEtcd,
            Newest::Absent => return unknown("etcd does not have the row"),
            Newest::Document(newest) => newest,
        };
        match document.fill(newest, |nested| self.waiting.member(key, nested), filled) {
            Ok(()) => Filled::Whole(Change::Put { key, body: Body::Whole(filled), old_key }),
            Err(missing) => unknown(&missing.to_string()),
        }
    }

    /// Takes note that a row is in the database and not in etcd.
    pub(super) fn note_left_out(&mut self, change: Change<'_>) {
        if let (Change::Put { key, .. }, Some(_)) = (change, self.replaying()) {
            self.replayed_without.insert(key.to_vec());
        }
    }
}

/// A change with its holes filled, or why that cannot be done now.
pub(super) enum Filled<'c> {
    /// All of it is known.
    Whole(Change<'c>),
    /// What is missing is in etcd.
    InEtcd,
    /// What is missing is nowhere.
    Unknown {
        /// The row's key before the update.
        key: Vec<u8>,
        /// What is missing.
        reason: String,
    },
}

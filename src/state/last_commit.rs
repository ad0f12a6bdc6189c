//! The note of the last transaction that etcd has, where the position does not tell it by itself.

use serde::{Deserialize, Serialize};

use super::layout;
use crate::error::{Error, Result};
use crate::etcd::Client;
use crate::lsn::Lsn;

/// The note, a JSON object in etcd. It is put with each position that is not the end of a transaction:
/// one that only followed the log, or that of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCommit {
    /// The position that it speaks of. If the position is another one, it is the end of a transaction.
    pub position: Lsn,
    /// Where the last transaction's commit record ends; `None` if there was none since the dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_end: Option<Lsn>,
}

impl LastCommit {
    /// Reads the note; `None` if there is none, or none that can be read.
    ///
    /// # Errors
    /// Those of etcd.
    pub fn read(client: &mut Client, state_path: &str) -> Result<Option<Self>> {
        let found = client.get(layout::last_commit(state_path).as_bytes()).map_err(Error::from)?;
        Ok(found.and_then(|found| serde_json::from_slice(&found.value).ok()))
    }

    /// The note as it stands in etcd.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Texts always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

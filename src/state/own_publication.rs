//! The note of a publication that pg2etcd has made: its OID.
//!
//! The position says that pg2etcd made the publication of a name. If somebody drops that one and makes
//! another of the same name, say with a column list that hides a secret, it is theirs: it has another OID.

use super::layout;
use crate::error::Result;
use crate::etcd::{Client, Txn};

/// The OID that was noted; `None` if there is no note, as in a copy of an earlier version.
///
/// # Errors
/// Those of etcd.
pub fn noted(client: &mut Client, state_path: &str, publication: &str) -> Result<Option<u32>> {
    let found = client.get(&key(state_path, publication))?;
    Ok(found.and_then(|found| str::from_utf8(&found.value).ok()?.parse().ok()))
}

/// Whether a publication of this OID, which the position says pg2etcd made, is the one that it made. Without a
/// note, what the position says holds.
#[must_use]
pub fn is_it(noted: Option<u32>, oid: u32) -> bool {
    noted.is_none_or(|noted| noted == oid)
}

/// Takes note of the publication's OID; `None` while it is being made: if that is cut off, what the position
/// says holds.
///
/// # Errors
/// Those of etcd.
pub fn note(
    client: &mut Client,
    state_path: &str,
    publication: &str,
    oid: Option<u32>,
) -> Result<()> {
    let (mut txn, key) = (Txn::new(), key(state_path, publication));
    match oid {
        Some(oid) => txn.put(&key, oid.to_string().as_bytes()),
        None => txn.delete(&key),
    }
    client.txn(&mut txn)?;
    Ok(())
}

fn key(state_path: &str, publication: &str) -> Vec<u8> {
    [&layout::publications(state_path)[..], publication.as_bytes()].concat()
}

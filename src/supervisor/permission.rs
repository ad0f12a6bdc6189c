//! What a user of etcd has to be allowed.

use crate::config::EtcdSettings;
use crate::error::{Error, Result, Unmet};
use crate::etcd::{Client, Reason};

/// Refuses a user who may not read and write all keys of the rows and of the position. A dump
/// would find that out only at its first row, and then wait for the permission.
pub(super) fn require(client: &mut Client, etcd: &EtcdSettings) -> Result<()> {
    for (key, path) in [("etcd.path", &etcd.path), ("etcd.state_path", &etcd.state_path)] {
        client.probe(format!("/{path}/").as_bytes()).map_err(|error| match error.reason() {
            Some(Reason::PermissionDenied) => Unmet::new(
                format!(
                    "etcd: user {} may not read and write the keys below /{path}/ ({key})",
                    etcd.username.as_deref().unwrap_or_default()
                ),
                format!(
                    "let root run etcdctl role grant-permission --prefix=true ROLE readwrite \
                     /{path}/ with a role of this user"
                ),
            )
            .into(),
            _ => Error::Etcd(error),
        })?;
    }
    Ok(())
}

//! What has to be right at etcd before anything is written: one cluster, and a user who may.

use crate::config::EtcdSettings;
use crate::error::{Error, Result, Unmet};
use crate::etcd::{Client, Reason};
use crate::state::layout;

/// Refuses endpoints of several clusters: whichever answers first would get the copy. One that does
/// not answer now is asked again before it is used.
pub(super) fn require_one_cluster(client: &Client) -> Result<()> {
    let ours = client.cluster_id();
    let found = client.clusters();
    let others: Vec<_> = found
        .iter()
        .filter(|(_, cluster)| *cluster != ours)
        .map(|(endpoint, cluster)| format!("{endpoint} to {cluster:x}"))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let of_ours = found.iter().filter(|(_, cluster)| *cluster == ours);
    let of_ours: Vec<_> = of_ours.map(|(endpoint, _)| endpoint.as_str()).collect();
    let problem = format!(
        "etcd: the endpoints belong to several clusters, {} to {ours:x}, {}",
        of_ours.join(" and "),
        others.join(", ")
    );
    Err(Unmet::new(problem, "leave those of one in etcd.endpoints").into())
}

/// Refuses a user who may not read and write all keys of the rows, of the position and of the claims. A dump
/// would find that out only at its first row, and then wait for the permission.
pub(super) fn require_grants(client: &mut Client, etcd: &EtcdSettings) -> Result<()> {
    for (what, path) in [
        ("etcd.path", etcd.path.as_str()),
        ("etcd.state_path", &etcd.state_path),
        ("the claims", layout::CLAIMS),
    ] {
        client.probe(format!("/{path}/").as_bytes()).map_err(|error| match error.reason() {
            Some(Reason::PermissionDenied) => Unmet::new(
                format!(
                    "etcd: user {} may not read and write the keys below /{path}/ ({what})",
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

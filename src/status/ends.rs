//! From where to where is copied, as `/status.json` has it.

use serde::Serialize;

use crate::config::Settings;

/// From where to where is copied. No password is in it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Ends {
    pub(super) database: String,
    pub(super) hosts: Vec<String>,
    pub(super) user: String,
    pub(super) slot: String,
    pub(super) publication: String,
    pub(super) endpoints: Vec<String>,
    pub(super) path: String,
    pub(super) state_path: String,
}

impl Ends {
    pub(super) fn new(settings: &Settings) -> Self {
        let Settings { database, etcd, sync, .. } = settings;
        Self {
            database: database.name.clone(),
            hosts: database.hosts().iter().map(ToString::to_string).collect(),
            user: database.user.clone(),
            slot: sync.slot.clone(),
            publication: sync.publication.clone(),
            endpoints: etcd.endpoints.clone(),
            path: format!("/{}/", etcd.path),
            state_path: format!("/{}/", etcd.state_path),
        }
    }
}

//! What the two ends say.

use std::collections::BTreeSet;

use crate::commands::no_stop;
use crate::config::Settings;
use crate::error::Result;
use crate::etcd::Client;
use crate::lsn::Lsn;
use crate::mapping::PublishedTables;
use crate::postgres::{Session, SlotFacts};
use crate::state::checkpoint::Checkpoint;
use crate::state::layout;
use crate::state::records::{Name, Records, StoredRecord};
use crate::state::without_key::{self, WithoutKey};
use crate::time::PgTime;

/// What PostgreSQL says.
pub(super) struct Database {
    pub(super) current_lsn: Lsn,
    /// The time of the server's clock.
    pub(super) clock: PgTime,
    pub(super) slot: Option<SlotFacts>,
    pub(super) retained_bytes: Option<u64>,
    pub(super) tables: PublishedTables,
    pub(super) copied_rows: Option<u64>,
}

impl Database {
    /// Asks it.
    pub(super) fn look(settings: &Settings) -> Result<(Self, Session)> {
        let Settings { database, sync, .. } = settings;
        let options = database.connect_options();
        let (mut session, _) =
            Session::connect_to_primary(&options, &database.hosts(), &no_stop()?)?;
        let database = Self {
            current_lsn: session.current_lsn()?,
            clock: session.clock()?,
            slot: session.slot(&sync.slot)?,
            retained_bytes: session.retained_bytes(&sync.slot)?,
            tables: PublishedTables::read(&mut session, &sync.publication, &settings.shapes())?,
            copied_rows: session.copied_rows()?,
        };
        Ok((database, session))
    }
}

/// What etcd says.
pub(super) struct Store {
    pub(super) client: Client,
    pub(super) checkpoint: Option<Checkpoint>,
    /// The position's `mod_revision`; 0 if there is none.
    pub(super) mod_revision: i64,
    pub(super) records: Vec<StoredRecord>,
    /// What they are compared by.
    pub(super) names: Records,
    /// Rows that no request can hold.
    pub(super) left_out: Vec<String>,
    /// Rows without a key.
    pub(super) without_key: Vec<WithoutKey>,
    /// Tables of which a row is not known.
    pub(super) noted: BTreeSet<Name>,
}

impl Store {
    /// Asks it.
    pub(super) fn look(settings: &Settings) -> Result<Self> {
        let etcd = &settings.etcd;
        let mut client = Client::connect(etcd.client_options())?;
        let found = Checkpoint::read(&mut client, &layout::checkpoint(&etcd.state_path))?;
        let (checkpoint, mod_revision) = found.unzip();
        let mut records = Vec::new();
        let names = Records::new(&etcd.state_path, settings.shapes());
        names.each(&mut client, |stored| records.push(stored))?;
        let noted = names.noted(&mut client, &layout::notes(&etcd.state_path))?;
        let without_key = without_key::read(&mut client, &layout::without_key(&etcd.state_path))?;
        let left_out = client.get(layout::left_out(&etcd.state_path).as_bytes())?;
        let left_out = left_out.and_then(|found| serde_json::from_slice(&found.value).ok());
        let left_out = left_out.unwrap_or_default();
        Ok(Self {
            client,
            left_out,
            checkpoint,
            mod_revision: mod_revision.unwrap_or(0),
            records,
            names,
            without_key,
            noted,
        })
    }
}

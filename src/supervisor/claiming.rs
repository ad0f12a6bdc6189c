//! What a start claims, before it changes anything, and what it must not go on without.

use std::collections::BTreeMap;

use crate::config::Settings;
use crate::error::{Result, Unmet};
use crate::etcd::Client;
use crate::mapping::PublishedTables;
use crate::postgres::Session;
use crate::state::checkpoint::{Checkpoint, Phase};
use crate::state::claims::{Claims, Owner, Refusal, Wanted};
use crate::state::records::Records;

/// How many tables are named that cannot be copied.
const NAMED: usize = 3;

/// The claims of a copy, and the keyspaces that a start of it needs.
pub(crate) struct Claiming {
    /// The claims.
    pub(crate) claims: Claims,
    wanted: Vec<Wanted>,
    /// Whether the copy is a new one at this path: then it has to be whole. One that is there goes
    /// on without a table that has come later.
    new: bool,
}

/// The claims of the copy of this cluster's database; `former` is the cluster and the database that
/// it was a copy of before.
pub(crate) fn claims(
    settings: &Settings,
    system_identifier: &str,
    former: Option<(String, String)>,
) -> Claims {
    let Settings { database, etcd, sync, .. } = settings;
    let owner = Owner {
        state_path: etcd.state_path.clone(),
        system_identifier: system_identifier.to_owned(),
        database: database.name.clone(),
        slot: sync.slot.clone(),
        former,
    };
    Claims::new(owner, sync.adopt, etcd.max_txn_ops)
}

impl Claiming {
    /// Asks both ends which keyspaces a start needs: those of the records, and those of the tables
    /// that are published, or would be by a publication that is still to be made. Nothing is
    /// changed. `checkpoint` is the position that the start goes on from, or was told to accept.
    ///
    /// # Errors
    /// Those of both servers.
    pub(crate) fn look(
        settings: &Settings,
        (session, client): (&mut Session, &mut Client),
        system_identifier: &str,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Self> {
        let Settings { etcd, sync, .. } = settings;
        let former = checkpoint.map(|c| (c.system_identifier.clone(), c.database.clone()));
        let claims = claims(settings, system_identifier, former);
        let here = checkpoint.filter(|checkpoint| checkpoint.path == etcd.path);
        // A table of a copy that an earlier version has made may have neither claim nor record.
        let may_lack_records =
            here.is_some_and(|checkpoint| checkpoint.phase == Phase::Dump || !sync.dump);
        let recorded = may_lack_records && claims.own(client)?.is_empty();
        let records = Records::new(&etcd.state_path, settings.shapes()).read(client)?;
        let of_records = records.iter().flat_map(Wanted::of_record);
        let mut wanted: BTreeMap<_, _> =
            of_records.map(|wanted| (wanted.keyspace.clone(), wanted)).collect();
        let tables = published(settings, session)?.copied;
        for of_table in tables.iter().flat_map(Wanted::of) {
            let of_table = Wanted { recorded, ..of_table };
            wanted.entry(of_table.keyspace.clone()).or_insert(of_table);
        }
        Ok(Self { claims, wanted: wanted.into_values().collect(), new: here.is_none() })
    }

    /// What this copy cannot have: what it must not go on without, and what it leaves out.
    ///
    /// # Errors
    /// Those of etcd.
    pub(crate) fn refusals(&self, client: &mut Client) -> Result<(Vec<Unmet>, Vec<Unmet>)> {
        let refused = self.claims.refusals(client, &self.wanted)?;
        let (needed, later): (Vec<_>, Vec<_>) =
            refused.into_iter().partition(|refusal| self.needs(refusal));
        Ok((few(needed), few(later)))
    }

    /// Refuses to go on without what the copy needs. Nothing is changed.
    pub(super) fn require(&self, client: &mut Client) -> Result<()> {
        Unmet::none(&self.refusals(client)?.0)
    }

    /// Claims what the start needs.
    pub(super) fn take(self, client: &mut Client) -> Result<Claims> {
        let mut refused = self.claims.take(client, &self.wanted)?;
        refused.retain(|refusal| self.needs(refusal));
        Unmet::none(&few(refused))?;
        Ok(self.claims)
    }

    fn needs(&self, refusal: &Refusal) -> bool {
        self.new || refusal.wanted.recorded
    }
}

/// The tables of the publication, or of the one that is to be made.
fn published(settings: &Settings, session: &mut Session) -> Result<PublishedTables> {
    let sync = &settings.sync;
    let read = |session: &mut Session| {
        PublishedTables::read(session, &sync.publication, &settings.shapes())
    };
    match session.has_publication(&sync.publication)? {
        true => read(session),
        false => session.with_would_be_publication(&sync.publication, &sync.tables, read),
    }
}

/// The first of many reasons, and how many more there are.
fn few(refused: Vec<Refusal>) -> Vec<Unmet> {
    let more = refused.len().saturating_sub(NAMED);
    let mut reasons: Vec<_> =
        refused.into_iter().take(NAMED).map(|refusal| refusal.reason).collect();
    if more > 0 {
        reasons.push(Unmet::new(format!("{more} more tables have no keys either"), "as for these"));
    }
    reasons
}

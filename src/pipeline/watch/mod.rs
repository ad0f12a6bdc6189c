//! The thread that looks at which tables there are and what has become of them, since the stream
//! does not tell, and that compares those whose rows may have changed unseen.

mod comparison;
mod look;
mod packing;
mod periodic;

use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError, select};
use log::Level;

use self::comparison::Compared;
pub(super) use self::comparison::{Comparison, RunningQuery};
use self::look::{Compare, Known, NOT_COMPARED, ROW_UNKNOWN};
pub(super) use self::packing::Packing;
use self::periodic::{Priority, Turns};
use crate::core::Request;
use crate::core::change::Chunk;
use crate::error::{Error, Result};
use crate::logging::warn_once;
use crate::lsn::Lsn;
use crate::mapping::{CopiedTable, Departure, Keyspace, PublishedTables, Whereabouts};
use crate::postgres::Session;
use crate::retry::Retry;
use crate::state::claims::{Claims, Found, overlap};
use crate::state::records::{Name, Records, TableRecord, seconds_since_1970};
use crate::state::requests::ResyncRequest;
use crate::state::{layout, requests};
use crate::status::{Lack, Status};

/// The shortest time between two looks that the stream asks for.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Why the watch should look before it is time.
pub(super) enum Poke {
    /// A table was described anew.
    TableDescribed,
    /// A row, of this key, came of which a column was left out that etcd does not have.
    RowUnknown(Vec<u8>),
    /// A resync is asked for.
    Resync,
}

/// Watches the tables of the publication.
pub(super) struct Watch<'a> {
    pub(super) comparison: Comparison<'a>,
    pub(super) claims: &'a Claims,
    pub(super) pokes: Receiver<Poke>,
    /// Counts the looks that have seen something change in the catalog. The stream then asks for
    /// the tables anew, before the compare's snapshot: rows that come after it are right too.
    pub(super) catalog_changes: Arc<AtomicU64>,
    /// Disconnected once nothing more is received.
    pub(super) ending: Receiver<()>,
    pub(super) status: &'a Status,
}

impl Watch<'_> {
    /// Looks now and then, and when poked, until the sync ends. What fails is tried again: the
    /// stream goes on without it.
    pub(super) fn run(self) -> Result<()> {
        let period = self.comparison.settings.sync.catalog_period;
        let mut retry = Retry::new(LOOK_PERIOD).despite_refusals(true);
        // Tables that could not be compared are tried again at growing intervals.
        let mut table_pause = LOOK_PERIOD;
        let (mut session, mut known) = (None, Known::default());
        loop {
            let pause = match self.work(&mut session, &mut known) {
                Ok(all_compared) => {
                    retry.succeeded();
                    let pause = if all_compared { period } else { period.min(table_pause) };
                    table_pause = if all_compared { LOOK_PERIOD } else { table_pause * 2 };
                    pause
                }
                Err(Error::Stopped) => return Ok(()),
                // Its query was cancelled.
                Err(_) if self.has_ended() => return Ok(()),
                Err(error) => {
                    session = None;
                    self.status.metrics.retries.count(&error);
                    retry.failed(&error)
                }
            };
            if !self.wait(&mut known, pause) {
                return Ok(());
            }
        }
    }

    /// Whether the sync has ended, so that this thread has to end too.
    fn has_ended(&self) -> bool {
        self.ending.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits for the next look; false once the sync has ended.
    fn wait(&self, known: &mut Known, pause: Duration) -> bool {
        let now = Instant::now();
        let mut due = now + pause.min(self.turns().wait(&known.records));
        self.comparison.packing.pulse.wait();
        loop {
            select! {
                recv(self.ending) -> _ => return false,
                recv(self.pokes) -> poke => match poke {
                    Ok(Poke::TableDescribed) => due = due.min(now + LOOK_PERIOD),
                    Ok(Poke::RowUnknown(key)) => {
                        let records = self.records();
                        let name = records.name_of_row(&key);
                        known.suspects.extend(name.map(|name| (name, ROW_UNKNOWN)));
                        due = due.min(now + LOOK_PERIOD);
                    }
                    Ok(Poke::Resync) => return true,
                    Err(_) => return false,
                },
                default(due.saturating_duration_since(Instant::now())) => return true,
            }
        }
    }

    /// One look, and what follows from it; false if a table could not be compared.
    fn work(&self, session: &mut Option<Session>, known: &mut Known) -> Result<bool> {
        self.comparison.packing.pulse.work();
        let request = requests::read(
            &mut self.comparison.client.clone(),
            &self.comparison.settings.etcd.state_path,
        )?;
        let Comparison { options, address, stop, .. } = self.comparison;
        let session = match session {
            Some(session) => session,
            None => {
                let (records, mut client) = (self.records(), self.comparison.client.clone());
                known.records = records.read(&mut client)?;
                let notes = layout::notes(&self.comparison.settings.etcd.state_path);
                let noted = records.noted(&mut client, &notes)?.into_iter();
                known.suspects.extend(noted.map(|name| (name, ROW_UNKNOWN)));
                session.insert(Session::connect(options, address, stop)?)
            }
        };
        // What is claimed now, by the stream for example, is of a table that the catalog knows.
        let mut client = self.comparison.client.clone();
        let own = self.claims.own(&mut client)?;
        let tables = self.tables(session)?;
        let records = self.records();
        let keyspaces = tables.copied.iter().flat_map(|table| table.plan.keyspaces());
        let planned: BTreeSet<_> = keyspaces.map(|own| own.prefix().to_vec()).collect();
        let tables = self.claims.admit(&mut client, tables)?;
        let leaving = self.leaving(known, own, &planned, &tables);
        leaving.iter().for_each(|(_, found)| self.claims.forget(&found.keyspace));
        // A table that leaves may be back, and have been described before its claim goes.
        if known.see(&tables, &records) || !leaving.is_empty() {
            self.catalog_changes.fetch_add(1, Ordering::Release);
        }
        let whereabouts = Whereabouts::read(session, &known.missing(&tables))?;
        // All that the look has seen is before this.
        let seen = session.current_lsn()?;
        let compares = match self.comparison.settings.sync.dump || request.is_some() {
            true => known.compares(&tables, request.as_ref(), &records),
            false => Vec::new(),
        };
        let mut lacks = self.lacks(&tables, &compares);
        let names: Vec<_> =
            tables.copied.iter().map(|table| table.published.name.to_string()).collect();
        self.status.tables.are_copied(names.iter().map(String::as_str));
        self.status.not_copied.set(lacks.clone());
        for (name, found) in leaving {
            let oid = known.records.get(&name).map_or(0, |record| record.oid);
            let departure = whereabouts.departure(&name, oid, &tables);
            self.forget(known, &name, &found, (&departure, &tables.copied), seen)?;
        }
        let turn = self.turns().next(&known.records);
        let turn = turn
            .filter(|name| compares.iter().all(|one| Records::name(&one.table.published) != *name));
        let all_compared =
            self.compare_all(session, known, compares, (&mut lacks, &tables.copied), seen)?;
        if let Some(name) = turn {
            self.compare_in_turn(session, known, name, &tables, seen)?;
        }
        request.map_or(Ok(()), |request| self.done(request))?;
        Ok(all_compared)
    }

    /// Compares tables one after the other. One that fails by itself is named as not copied, and is
    /// no reason to leave out those behind it; false if there was one.
    fn compare_all(
        &self,
        session: &mut Session,
        known: &mut Known,
        compares: Vec<Compare>,
        (lacks, present): (&mut BTreeMap<String, Lack>, &[CopiedTable]),
        seen: Lsn,
    ) -> Result<bool> {
        let mut all_compared = true;
        for Compare { table, reason, .. } in compares {
            let (name, text) = (Records::name(&table.published), table.published.name.to_string());
            let is_told = self.status.not_copied.failure(&text).is_some();
            let level = if is_told { Level::Debug } else { Level::Info };
            log::log!(level, "Comparing table {text}: {reason}");
            for keyspace in table.plan.keyspaces() {
                self.status.left_out.forget(keyspace.prefix());
            }
            let before = known.records.get(&name).cloned();
            match self.comparison.compare(
                (&table, before.as_ref(), present),
                session,
                seen,
                Priority::High,
            ) {
                Ok(Compared { record, rows, .. }) => {
                    self.status.tables.has_rows(&text, rows);
                    known.records.insert(name.clone(), record);
                    known.suspects.remove(&name);
                    lacks.remove(&text);
                }
                Err(error) if error.is_of_table() => {
                    all_compared = false;
                    self.status.metrics.retries.count(&error);
                    lacks.insert(text, Lack::LeftOut(error.to_string()));
                    known.suspects.insert(name, NOT_COMPARED);
                }
                Err(error) => return Err(error),
            }
            self.status.not_copied.set(lacks.clone());
        }
        Ok(all_compared)
    }

    /// Compares a table whose turn it is, and tells what was wrong.
    fn compare_in_turn(
        &self,
        session: &mut Session,
        known: &mut Known,
        name: Name,
        tables: &PublishedTables,
        seen: Lsn,
    ) -> Result<()> {
        let mut copied = tables.copied.iter();
        let Some(table) = copied.find(|table| Records::name(&table.published) == name) else {
            return Ok(());
        };
        let before = known.records.get(&name).cloned();
        let compared = (table, before.as_ref(), &tables.copied[..]);
        match self.comparison.compare(compared, session, seen, Priority::Low) {
            Ok(Compared { record, differences, rows }) => {
                let text = table.published.name.to_string();
                differences.report(&self.status.metrics, &text);
                self.status.tables.has_rows(&text, rows);
                known.records.insert(name, record);
            }
            // The next look compares it, and says why if it cannot.
            Err(error) if error.is_of_table() => {
                known.suspects.insert(name, NOT_COMPARED);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The tables that are compared in turn.
    fn turns(&self) -> Turns {
        Turns {
            period: self.comparison.settings.sync.compare_period,
            is_behind: self.status.lag() > LOOK_PERIOD,
            now: seconds_since_1970(),
        }
    }

    fn done(&self, request: ResyncRequest) -> Result<()> {
        if request.is_for_all() {
            self.status.has_gap(None);
        }
        request.done(&mut self.comparison.client.clone())
    }

    /// The name of the table that has, or had, a keyspace.
    fn name_of(&self, known: &Known, keyspace: &[u8]) -> Name {
        let records = known.records.iter();
        let mut recorded = records
            .filter(|(_, record)| record.keyspaces().iter().any(|own| own.prefix() == keyspace));
        match recorded.next() {
            Some((name, _)) => name.clone(),
            None => self.records().name_of_row(keyspace).unwrap_or_else(|| keyspace.to_vec()),
        }
    }

    /// What this copy has claimed for tables that are copied no longer, with their names.
    fn leaving(
        &self,
        known: &Known,
        mut own: Vec<Found>,
        planned: &BTreeSet<Vec<u8>>,
        tables: &PublishedTables,
    ) -> Vec<(Name, Found)> {
        own.retain(|found| !planned.iter().any(|planned| overlap(planned, &found.keyspace)));
        let named = own.into_iter().map(|found| (self.name_of(known, &found.keyspace), found));
        let leaves = |(name, _): &(Name, Found)| {
            // The compare of the changed shape deletes what only the old one gave.
            if tables.copied.iter().any(|table| Records::name(&table.published) == *name) {
                return false;
            }
            let keeps = self.records().keeps(name);
            if keeps {
                let text = String::from_utf8_lossy(name);
                warn_once(format!(
                    "Leaving the keys of table {text} as they are: it is not copied as the settings say"
                ));
            }
            !keeps
        };
        named.filter(leaves).collect()
    }

    /// Deletes the keys that this copy has claimed for a table that is copied no longer, and then the
    /// claim. One that came and went between two looks has a claim and no record.
    fn forget(
        &self,
        known: &mut Known,
        name: &[u8],
        claim: &Found,
        (departure, present): (&Departure, &[CopiedTable]),
        seen: Lsn,
    ) -> Result<()> {
        // What the stream still has of the table comes first. What comes behind that, since the table is
        // back, is claimed anew.
        self.comparison.packing.reach(seen)?;
        log::info!("Deleting the keys of table {}: {departure}", String::from_utf8_lossy(name));
        let keyspace = &claim.keyspace;
        let recorded = known.records.get(name).map(TableRecord::keyspaces).unwrap_or_default();
        let own = recorded.into_iter().find(|own| own.prefix() == keyspace);
        self.comparison.delete_keys(&own.unwrap_or_else(|| Keyspace::whole(keyspace)), present)?;
        let mut chunk = Chunk::default();
        chunk.delete(|out| out.extend_from_slice(&self.records().key(name)));
        let notes = layout::notes(&self.comparison.settings.etcd.state_path);
        chunk.truncate(&[&notes[..], keyspace].concat());
        if let Some(marks) = self.records().marks(name) {
            chunk.truncate(&marks);
        }
        self.comparison.packing.ask(Request::Apply(chunk))?;
        known.records.remove(name);
        known.suspects.remove(name);
        // The keys have gone by then. A claim that was put anew stays.
        self.comparison.packing.reach(seen)?;
        self.claims.release(&mut self.comparison.client.clone(), slice::from_ref(claim))
    }

    /// The tables that are published.
    fn tables(&self, session: &mut Session) -> Result<PublishedTables> {
        let sync = &self.comparison.settings.sync;
        PublishedTables::read(session, &sync.publication, &self.comparison.settings.shapes())
    }

    fn records(&self) -> Records {
        let etcd = &self.comparison.settings.etcd;
        Records::new(&etcd.state_path, self.comparison.settings.shapes())
    }

    /// What etcd lacks until the compares are done: tables that cannot be copied, and those that may
    /// have more than etcd has.
    fn lacks(&self, tables: &PublishedTables, compares: &[Compare]) -> BTreeMap<String, Lack> {
        let left_out = tables.left_out.iter();
        let left_out =
            left_out.map(|(table, why)| (table.name.to_string(), Lack::LeftOut(why.to_string())));
        let lacking = compares.iter().filter(|compare| compare.lacking).map(|compare| {
            let table = compare.table.published.name.to_string();
            // What has failed is still so until it has worked.
            let failed = self.status.not_copied.failure(&table);
            (table, failed.unwrap_or_else(|| Lack::Comparing(compare.reason.clone())))
        });
        left_out.chain(lacking).collect()
    }
}

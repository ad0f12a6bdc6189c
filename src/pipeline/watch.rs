//! The thread that looks at which tables there are and what has become of them, since the stream
//! does not tell, and that compares those whose rows may have changed unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};

use super::periodic::{self, Priority, Turns};
use crate::config::Settings;
use crate::core::change::Chunk;
use crate::core::ledger::Fence;
use crate::core::{Answer, Request};
use crate::error::{Error, Result, Unmet};
use crate::etcd::Client;
use crate::lsn::Lsn;
use crate::mapping::PublishedTables;
use crate::postgres::{
    Canceller, Connection, HostPort, Options, PublishedTable, Session, Shape, SlotKind,
};
use crate::reconcile::{Counts, Finding, Rows, Stored, compare};
use crate::retry::Retry;
use crate::state::claims::{self, Claims, Found, overlap};
use crate::state::records::{Name, Records, TableRecord, seconds_since_1970};
use crate::state::{layout, requests};
use crate::status::{Pulse, Status};
use crate::stop::Stop;

/// The shortest time between two looks that the stream asks for.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// The time between two looks at what is below the state path: a request to resync, and whether the
/// position is there as it was left.
const STATE_PERIOD: Duration = Duration::from_secs(2);
/// What a compare finds is handed on in chunks of this size, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why the watch should look before it is time.
pub(super) enum Poke {
    /// A table was described anew.
    TableDescribed,
    /// A row, of this key, came of which a column was left out that etcd does not have.
    RowUnknown(Vec<u8>),
}

/// Watches the tables of the publication.
pub(super) struct Watch<'a> {
    pub(super) settings: &'a Settings,
    pub(super) stop: &'a Stop,
    pub(super) options: &'a Options,
    pub(super) address: &'a HostPort,
    pub(super) client: Client,
    pub(super) claims: &'a Claims,
    /// The position's revision, as this daemon left it.
    pub(super) fence: Fence,
    pub(super) requests: Sender<Request>,
    pub(super) answers: Receiver<Answer>,
    pub(super) pokes: Receiver<Poke>,
    /// Counts the looks that have seen something change in the catalog. The stream then asks for
    /// the tables anew, before the compare's snapshot: rows that come after it are right too.
    pub(super) catalog_changes: Arc<AtomicU64>,
    /// Disconnected once nothing more is received.
    pub(super) ending: Receiver<()>,
    pub(super) query: RunningQuery,
    pub(super) status: &'a Status,
    pub(super) pulse: Pulse,
}

/// The query of the watch that runs now, to be cancelled when the sync ends.
#[derive(Clone, Default)]
pub(super) struct RunningQuery(Arc<Mutex<Option<Canceller>>>);

impl RunningQuery {
    pub(super) fn cancel(&self) {
        if let Some(canceller) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            canceller.cancel();
        }
    }

    fn set(&self, canceller: Option<Canceller>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = canceller;
    }
}

impl Watch<'_> {
    /// Looks now and then, and when poked, until the sync ends. What fails is tried again: the
    /// stream goes on without it.
    pub(super) fn run(self) -> Result<()> {
        let mut retry = Retry::new(LOOK_PERIOD).despite_refusals(true);
        let mut state = State::default();
        loop {
            let pause = match self.work(&mut state) {
                Ok(()) => {
                    retry.succeeded();
                    self.settings.sync.catalog_period
                }
                Err(Error::Stopped) => return Ok(()),
                Err(error) => {
                    state.session = None;
                    self.status.metrics.retries.count(&error);
                    retry.failed(&error)
                }
            };
            if !self.wait(&mut state, pause)? {
                return Ok(());
            }
        }
    }

    /// Waits for the next look; false once the sync has ended.
    fn wait(&self, state: &mut State, pause: Duration) -> Result<bool> {
        let (now, mut client) = (Instant::now(), self.client.clone());
        let mut due = now + pause.min(self.turns().wait(&state.known));
        while Instant::now() < due {
            let next = due.min(Instant::now() + STATE_PERIOD);
            self.pulse.wait();
            select! {
                recv(self.ending) -> _ => return Ok(false),
                recv(self.pokes) -> poke => match poke {
                    Ok(Poke::TableDescribed) => due = due.min(now + LOOK_PERIOD),
                    Ok(Poke::RowUnknown(key)) => {
                        let records = self.records();
                        state.suspects.extend(records.name_of_row(&key).map(<[u8]>::to_vec));
                        due = due.min(now + LOOK_PERIOD);
                    }
                    Err(_) => return Ok(false),
                },
                default(next.saturating_duration_since(Instant::now())) => {
                    if self.is_asked(&mut client)? {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Whether a resync is asked for. The same request asks for the position.
    ///
    /// # Errors
    /// [`Error::StoreChanged`] if the position is not as it was left.
    fn is_asked(&self, client: &mut Client) -> Result<bool> {
        let state_path = &self.settings.etcd.state_path;
        let keys = [layout::resync(state_path), layout::checkpoint(state_path)];
        // In this order: etcd has this revision of the position, or a newer one.
        let revision = self.fence.mod_revision();
        match client.get_many(&keys).as_deref() {
            Ok([request, position]) => {
                let found = position.as_ref().map(|position| position.mod_revision);
                if found.is_none_or(|found| found < revision) {
                    return Err(Error::StoreChanged { key: keys[1].clone(), revision, found });
                }
                Ok(request.is_some())
            }
            // An etcd that cannot be asked is asked again soon.
            _ => Ok(false),
        }
    }

    /// One look, and what follows from it.
    fn work(&self, state: &mut State) -> Result<()> {
        self.pulse.work();
        let request = requests::read(&mut self.client.clone(), &self.settings.etcd.state_path)?;
        if state.session.is_none() {
            state.session = Some(Session::connect(self.options, self.address, self.stop)?);
            state.known = self.records().read(&mut self.client.clone())?;
            state.suspects = self.noted()?;
        }
        let State { session: Some(session), known, suspects } = state else { return Ok(()) };
        // What is claimed now, by the stream for example, is of a table that the catalog knows.
        let own = self.claims.own(&mut self.client.clone())?;
        let tables = self.tables(session)?;
        let planned: BTreeSet<_> =
            tables.copied.iter().map(|table| table.plan.keyspace().to_vec()).collect();
        let admitted = self.claims.admit(&mut self.client.clone(), tables)?.copied;
        let present: Vec<_> = admitted.into_iter().map(|table| table.published).collect();
        let changed = |table: &PublishedTable| {
            known.get(&Records::name(table)).is_none_or(|record| record.change(table).is_some())
        };
        if present.iter().any(changed) {
            self.catalog_changes.fetch_add(1, Ordering::Release);
        }
        // All that the look has seen is before this.
        let seen = session.current_lsn()?;
        self.forget_gone(known, own, &planned, seen)?;
        let turn = self.turns().next(known);
        for published in present {
            let name = Records::name(&published);
            let reason = match known.get(&name) {
                _ if suspects.contains(&name) => Some("a row was not known".to_owned()),
                _ if request.as_ref().is_some_and(|request| request.names(&published)) => {
                    Some("a resync was asked for".to_owned())
                }
                None => Some("it is published now".to_owned()),
                Some(record) => record.change(&published),
            };
            let reason = reason.filter(|_| self.settings.sync.dump || request.is_some());
            if reason.is_none() && turn.as_ref() == Some(&name) {
                let record = self.compare(&published, seen, Priority::Low)?;
                known.insert(name, record);
            } else if let Some(reason) = reason {
                log::info!("Comparing table {}: {reason}", published.name);
                let record = self.compare(&published, seen, Priority::High)?;
                known.insert(name.clone(), record);
                suspects.retain(|suspect| *suspect != name);
            }
        }
        request.map_or(Ok(()), |request| request.done(&mut self.client.clone()))
    }

    /// The tables of which rows were left out, now or in an earlier life.
    fn noted(&self) -> Result<Vec<Name>> {
        let notes = layout::notes(&self.settings.etcd.state_path);
        let records = self.records();
        let mut names = Vec::new();
        Stored::new(&self.client, self.stop).each(&notes, |note| {
            let key = note.key.strip_prefix(&notes[..]).unwrap_or_default();
            names.extend(records.name_of_row(key).map(<[u8]>::to_vec));
            Ok(())
        })?;
        names.dedup();
        Ok(names)
    }

    /// Deletes the keys that this copy has claimed for tables that are no longer published, and then
    /// the claims. One that came and went between two looks has a claim and no record.
    fn forget_gone(
        &self,
        known: &mut BTreeMap<Name, TableRecord>,
        own: Vec<Found>,
        planned: &BTreeSet<Vec<u8>>,
        seen: Lsn,
    ) -> Result<()> {
        let records = self.records();
        for Found { keyspace, .. } in own {
            if planned.iter().any(|planned| overlap(planned, &keyspace)) {
                continue;
            }
            // What the stream still has of the table comes first.
            self.reach(seen)?;
            let recorded = known.iter().find(|(_, record)| record.keyspace.as_bytes() == keyspace);
            let name = match recorded {
                Some((name, _)) => Some(name.clone()),
                None => records.name_of_row(&keyspace).map(<[u8]>::to_vec),
            };
            let text = String::from_utf8_lossy(name.as_ref().unwrap_or(&keyspace)).into_owned();
            log::info!("Deleting the keys of table {text}: it is no longer published");
            self.claims.forget(&keyspace);
            let mut chunk = Chunk::default();
            chunk.truncate(&keyspace);
            if let Some(name) = name {
                chunk.delete(|out| out.extend_from_slice(&records.key(&name)));
                known.remove(&name);
            }
            chunk.delete(|out| out.extend_from_slice(&claims::key(&keyspace)));
            self.ask(Request::Apply(chunk))?;
        }
        Ok(())
    }

    /// Compares a table until nothing was left open, and returns its new record.
    fn compare(
        &self,
        published: &PublishedTable,
        seen: Lsn,
        priority: Priority,
    ) -> Result<TableRecord> {
        // From here on the stream has the table as the look has seen it, or newer.
        self.reach(seen)?;
        let records = self.records();
        let name = Records::name(published);
        loop {
            self.ask(Request::Record { prefix: records.keyspace(&name) })?;
            let compared = self.compare_once(published, priority);
            self.query.set(None);
            let (shape, counts) = match compared {
                Ok(compared) => compared,
                Err(error) => {
                    self.ask(Request::Finish(Chunk::default()))?;
                    self.answer()?;
                    return Err(error);
                }
            };
            let record = TableRecord { shape, ..records.record(published) };
            let mut chunk = Chunk::default();
            chunk.put(
                |out| out.extend_from_slice(&records.key(&name)),
                |out, _| out.extend_from_slice(&record.to_json()),
                None::<fn(&mut Vec<u8>)>,
            );
            let notes = layout::notes(&self.settings.etcd.state_path);
            chunk.truncate(&[notes, records.keyspace(&name)].concat());
            self.ask(Request::Finish(chunk))?;
            if let Answer::Finished { again: false, overruled } = self.answer()? {
                if priority == Priority::Low {
                    periodic::report(&self.status.metrics, published, &counts, overruled);
                }
                return Ok(record);
            }
        }
    }

    fn compare_once(
        &self,
        published: &PublishedTable,
        priority: Priority,
    ) -> Result<(Shape, Counts)> {
        self.pulse.work();
        let mut connection = Connection::connect(self.options, self.address, self.stop)?;
        // It waits for every transaction that runs.
        self.pulse.wait();
        let created = connection.create_slot(&self.temporary_slot(), SlotKind::Temporary)?;
        self.pulse.work();
        let mut session = Session::connect(self.options, self.address, self.stop)?;
        session.begin_snapshot(&created.snapshot)?;
        self.query.set(Some(session.canceller()));
        // The snapshot is held by the session now, and the slot need not hold WAL any longer.
        drop(connection);
        let mut tables = self.tables(&mut session)?.copied.into_iter();
        let Some(table) = tables.find(|table| table.published.oid == published.oid) else {
            // It has gone meanwhile: the next look sees that.
            return Ok((Shape::default(), Counts::default()));
        };
        Unmet::none(&session.missing_grants(slice::from_ref(&table.published))?)?;
        self.ask(Request::Snapshot(created.consistent_point))?;
        self.answer()?;
        let stored = Stored::new(&self.client, self.stop);
        let rows = Rows::by_key(&mut session, &table)?;
        let (mut chunk, mut counts) = (Chunk::default(), Counts::default());
        let readers = priority.readers(self.settings.sync.writers);
        compare(rows, table.plan.keyspace(), &stored, readers, |finding| {
            counts.count(finding);
            match finding {
                Finding::Same => {}
                Finding::Missing { key, document } | Finding::Differs { key, document } => {
                    chunk.put(
                        |out| out.extend_from_slice(key),
                        |out, _| out.extend_from_slice(document),
                        None::<fn(&mut Vec<u8>)>,
                    );
                }
                Finding::Stale { key } => chunk.delete(|out| out.extend_from_slice(key)),
            }
            if chunk.size() >= CHUNK_BYTES {
                return self.ask(Request::Apply(std::mem::take(&mut chunk)));
            }
            Ok(())
        })?;
        self.ask(Request::Apply(chunk))?;
        let Counts { same, missing, differs, stale } = counts;
        log::log!(
            priority.level(),
            "Compared table {}: {same} rows the same, {missing} missing, {differs} different, \
             {stale} keys without a row",
            table.published.name
        );
        Ok((table.published.shape, counts))
    }

    /// The tables that are copied.
    fn tables(&self, session: &mut Session) -> Result<PublishedTables> {
        let Settings { etcd, sync, .. } = self.settings;
        PublishedTables::read(session, &sync.publication, &etcd.path)
    }

    /// Waits until everything that committed up to `lsn` is in etcd.
    fn reach(&self, lsn: Lsn) -> Result<()> {
        self.ask(Request::Reach(lsn))?;
        self.answer().map(drop)
    }

    /// The tables that are compared in turn.
    fn turns(&self) -> Turns {
        Turns {
            period: self.settings.sync.compare_period,
            is_behind: self.status.lag() > LOOK_PERIOD,
            now: seconds_since_1970(),
        }
    }

    fn answer(&self) -> Result<Answer> {
        self.answers.recv().map_err(|_| Error::Stopped)
    }

    fn ask(&self, request: Request) -> Result<()> {
        // What follows is a wait too: for the answer, or for the next rows to compare.
        self.pulse.wait();
        self.requests.send(request).map_err(|_| Error::Stopped)
    }

    fn records(&self) -> Records {
        let etcd = &self.settings.etcd;
        Records::new(&etcd.state_path, &etcd.path)
    }

    /// A name for the slot of a snapshot, which no other daemon uses.
    fn temporary_slot(&self) -> String {
        /// The longest name that PostgreSQL takes.
        const LONGEST: usize = 63;
        let suffix = format!("_compare_{}", std::process::id());
        let slot = &self.settings.sync.slot;
        let length = slot.len().min(LONGEST - suffix.len());
        format!("{}{suffix}", slot.get(..length).unwrap_or_default())
    }
}

/// What the watch knows.
#[derive(Default)]
struct State {
    session: Option<Session>,
    /// The tables of which etcd has the rows, with the shape of each.
    known: BTreeMap<Name, TableRecord>,
    /// Tables of which a row was not known.
    suspects: Vec<Name>,
}

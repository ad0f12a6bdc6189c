//! A compare of one table beside the stream.

use std::sync::{Arc, Mutex, PoisonError};

use super::packing::Packing;
use super::periodic::{Differences, Priority};
use crate::config::Settings;
use crate::core::change::Chunk;
use crate::core::{Answer, Request};
use crate::error::{Result, Unmet};
use crate::etcd::Client;
use crate::lsn::Lsn;
use crate::mapping::{CopiedTable, Keyspace};
use crate::pipeline::snapshot::create_slot;
use crate::postgres::{
    Canceller, Connection, HostPort, Options, PublishedTable, Session, Shape, SlotKind,
};
use crate::reconcile::{Counts, Finding, Rows, Stored, compare};
use crate::state::claims;
use crate::state::layout;
use crate::state::records::{Records, TableRecord};
use crate::stop::Stop;

/// What a compare finds is handed on in chunks of this size, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// What came of a compare.
pub(super) struct Compared {
    /// The table's new record.
    pub(super) record: TableRecord,
    /// What was found to be wrong.
    pub(super) differences: Differences,
    /// How many rows the table had.
    pub(super) rows: u64,
}

/// Compares tables.
pub(crate) struct Comparison<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) stop: &'a Stop,
    pub(crate) options: &'a Options,
    pub(crate) address: &'a HostPort,
    pub(crate) client: Client,
    pub(crate) packing: Packing,
    pub(crate) query: RunningQuery,
}

/// The query that runs now, to be cancelled when the sync ends.
#[derive(Clone, Default)]
pub(crate) struct RunningQuery(Arc<Mutex<Option<Canceller>>>);

impl RunningQuery {
    /// Cancels it, if there is one.
    pub(crate) fn cancel(&self) {
        if let Some(canceller) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            canceller.cancel();
        }
    }

    fn set(&self, canceller: Option<Canceller>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = canceller;
    }
}

impl Comparison<'_> {
    /// Compares a table until nothing was left open. `idle` is a session that is not used meanwhile.
    pub(super) fn compare(
        &self,
        (table, before, present): (&CopiedTable, Option<&TableRecord>, &[CopiedTable]),
        idle: &mut Session,
        seen: Lsn,
        priority: Priority,
    ) -> Result<Compared> {
        let CopiedTable { published, plan, .. } = table;
        // Asked before the wait for a snapshot: as long as the role may not read it, there is none.
        Unmet::none(&idle.missing_grants(&table.sources())?)?;
        // From here on the stream has the table as the look has seen it, or newer.
        self.packing.reach(seen)?;
        let records = Records::new(&self.settings.etcd.state_path, self.settings.shapes());
        let name = Records::name(published);
        let put = |record: &TableRecord, chunk: &mut Chunk| {
            chunk.put(
                |out| out.extend_from_slice(&records.key(&name)),
                |out, _| out.extend_from_slice(&record.to_json()),
                None::<fn(&mut Vec<u8>)>,
            );
        };
        if let Some(record) = records.under_way(before, &published.name, published.oid) {
            let mut chunk = Chunk::default();
            put(&record, &mut chunk);
            self.packing.ask(Request::Apply(chunk))?;
        }
        let left_behind: Vec<_> =
            before.iter().flat_map(|before| before.left_behind(plan)).collect();
        let prefixes: Vec<_> =
            plan.keyspaces().iter().map(|keyspace| keyspace.prefix().to_vec()).collect();
        let mut recorded = prefixes.clone();
        let marks = records.marks(&name);
        recorded.extend(marks.clone());
        loop {
            self.packing.ask(Request::Record { prefixes: recorded.clone() })?;
            self.packing.answer()?;
            let compared = self.compare_once(published, idle, priority).and_then(|found| {
                // Keys that only the shape before gave go last.
                left_behind.iter().try_for_each(|own| self.delete_keys(own, present))?;
                Ok(found)
            });
            self.query.set(None);
            let (shape, counts) = match compared {
                Ok(compared) => compared,
                Err(error) => {
                    self.packing.ask(Request::Finish(Chunk::default()))?;
                    self.packing.answer()?;
                    return Err(error);
                }
            };
            let record = TableRecord { shape, ..records.record(published) };
            let mut chunk = Chunk::default();
            put(&record, &mut chunk);
            let notes = layout::notes(&self.settings.etcd.state_path);
            for prefix in &prefixes {
                chunk.truncate(&[&notes[..], prefix].concat());
            }
            if let (Some(marks), None) = (&marks, plan.without_key()) {
                chunk.truncate(marks);
            }
            for keyspace in &left_behind {
                let is_needed = |table: &CopiedTable| {
                    table.plan.keyspaces().iter().any(|own| own.prefix() == keyspace.prefix())
                };
                if !present.iter().any(is_needed) {
                    chunk.delete(|out| out.extend_from_slice(&claims::key(keyspace.prefix())));
                }
            }
            self.packing.ask(Request::Finish(chunk))?;
            if let Answer::Finished { again: false, overruled } = self.packing.answer()? {
                let differences = Differences::of(&counts, overruled);
                let read = counts.same + counts.missing + counts.differs;
                // A row has a key in each keyspace, and was read for each.
                let rows = read / prefixes.len().max(1) as u64;
                return Ok(Compared { record, differences, rows });
            }
        }
    }

    fn compare_once(
        &self,
        published: &PublishedTable,
        idle: &mut Session,
        priority: Priority,
    ) -> Result<(Shape, Counts)> {
        let (mut session, point, table) = self.snapshot(published, idle)?;
        let Some(table) = table else {
            // It has gone meanwhile: the next look sees that.
            return Ok((Shape::default(), Counts::default()));
        };
        self.packing.ask(Request::Snapshot(point))?;
        // As of the snapshot: what the stream changes meanwhile is no difference.
        let revision = match self.packing.answer()? {
            Answer::Reached { revision } => revision,
            Answer::Recording | Answer::Finished { .. } => None,
        };
        let stored = Stored::new(&self.client, self.stop).at(revision);
        let (mut chunk, mut counts) = (Chunk::default(), Counts::default());
        let readers = priority.readers(self.settings.sync.writers);
        let mut found = |finding: Finding<'_>| {
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
                return self.packing.ask(Request::Apply(std::mem::take(&mut chunk)));
            }
            Ok(())
        };
        for table in [Some(&table), table.without_key().as_ref()].into_iter().flatten() {
            for keyspace in table.plan.keyspaces() {
                let rows = Rows::by_key(&mut session, table, keyspace)?;
                compare(rows, keyspace, &stored, readers, &mut found)?;
            }
        }
        self.packing.ask(Request::Apply(chunk))?;
        let Counts { same, missing, differs, stale } = counts;
        log::log!(
            priority.level(),
            "Compared table {}: {same} rows the same, {missing} missing, {differs} different, \
             {stale} keys without a row",
            table.published.name
        );
        Ok((table.published.shape, counts))
    }

    /// A session with a snapshot, its place in the stream, and the table as it is there.
    ///
    /// For a snapshot too, a table is empty from the moment that a TRUNCATE behind it commits: what is then
    /// read there is ahead of the stream. So the files are locked first, and if they are others by then,
    /// another snapshot is taken.
    fn snapshot(
        &self,
        published: &PublishedTable,
        idle: &mut Session,
    ) -> Result<(Session, Lsn, Option<CopiedTable>)> {
        let pulse = &self.packing.pulse;
        let (publication, shapes) = (&self.settings.sync.publication, self.settings.shapes());
        loop {
            pulse.work();
            let mut connection = Connection::connect(self.options, self.address, self.stop)?;
            // It waits for every transaction that runs.
            pulse.wait();
            let slot = self.temporary_slot();
            let created = create_slot(&mut connection, idle, &slot, SlotKind::Temporary)?;
            pulse.work();
            let mut session = Session::connect(self.options, self.address, self.stop)?;
            session.begin_snapshot(&created.snapshot)?;
            self.query.set(Some(session.canceller()));
            // The snapshot is held by the session now, and the slot need not hold WAL any longer.
            drop(connection);
            let table = CopiedTable::read(&mut session, publication, &published.name, &shapes)?;
            let Some(found) = &table else { return Ok((session, created.consistent_point, None)) };
            found.sources().iter().try_for_each(|table| session.lock_files(&table.name))?;
            let now = CopiedTable::read(idle, publication, &published.name, &shapes)?;
            let is_same = |now: &CopiedTable| {
                let (then, now) = (found.sources(), now.sources());
                then.iter().map(|table| &table.shape).eq(now.iter().map(|table| &table.shape))
            };
            if now.as_ref().is_none_or(is_same) {
                return Ok((session, created.consistent_point, table));
            }
        }
    }

    /// Deletes the keys in a keyspace but for those that a table has now.
    pub(super) fn delete_keys(&self, keyspace: &Keyspace, present: &[CopiedTable]) -> Result<()> {
        let mut chunk = Chunk::default();
        if keyspace.is_whole() && present.iter().all(|table| !table.plan.meets(keyspace)) {
            chunk.truncate(keyspace.prefix());
            return self.packing.ask(Request::Apply(chunk));
        }
        Stored::new(&self.client, self.stop).each_key(keyspace, |key| {
            if !present.iter().any(|table| table.plan.gives(key)) {
                chunk.delete(|out| out.extend_from_slice(key));
            }
            match chunk.size() >= CHUNK_BYTES {
                true => self.packing.ask(Request::Apply(std::mem::take(&mut chunk))),
                false => Ok(()),
            }
        })?;
        self.packing.ask(Request::Apply(chunk))
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

//! The snapshot load: every published row as of the slot's consistent point, in etcd.
//!
//! A table of which etcd has nothing is copied. One of which it has something is compared: rows
//! and keys, both in the order of the keys, and only what differs is written.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::lanes::{Lanes, Writers};
use super::loader::Loader;
use super::progress::Progress;
use super::start::{Start, limits, new_writer};
use super::write::Ending;
use crate::config::{Oversized, Settings};
use crate::core::batch::{Batch, Fit, Limits};
use crate::core::change::Change;
use crate::core::ledger::Ledger;
use crate::document::Body;
use crate::error::{Error, Result, Unmet};
use crate::etcd::Client;
use crate::lsn::Lsn;
use crate::mapping::{CopiedTable, Departure, Keyspace, PublishedTables, Shapes, Whereabouts};
use crate::postgres::{Session, Shape, StatusWriter};
use crate::reconcile::{Finding, Rows, Stored, compare};
use crate::state::checkpoint::Phase;
use crate::state::claims::{Claims, Found};
use crate::state::last_commit::LastCommit;
use crate::state::layout;
use crate::state::records::{Records, TableRecord};
use crate::state::without_key;
use crate::status::{Pulse, Status};
use crate::stop::Stop;
use crate::threads::Failure;

/// Loads the tables of the publication, as the session, whose snapshot has begun, sees them.
///
/// The position is in the dump phase. Once all is in etcd it is in the sync phase.
///
/// # Errors
/// Those of both servers; [`Error::Stopped`] if a stop was requested; [`Error::OversizedRow`].
pub(crate) fn run(
    settings: &Settings,
    start: &mut Start,
    stop: &Stop,
    status: &Status,
    pulse: &Pulse,
) -> Result<()> {
    let Start {
        session, statuses, client, claims, checkpoint, mod_revision, status_interval, ..
    } = start;
    let state_path = &settings.etcd.state_path;
    let ledger = Ledger::new(state_path, checkpoint.clone(), *mod_revision, new_writer(), None);
    let (fence, lsn, interval) = (ledger.fence(), checkpoint.lsn, *status_interval);
    status.stream_begins(ledger.flushed(), Arc::new(AtomicU64::new(lsn.0)), interval);
    // Nothing is ever sent on it: that the load has dropped its end is the message.
    let (loading, loaded) = bounded(0);
    let failure = Failure::default();
    let result = thread::scope(|scope| {
        let lanes = Lanes::start(
            scope,
            &failure,
            Writers {
                client,
                ledger,
                part_lanes: settings.sync.writers,
                moved: None,
                bell: None,
                writing: None,
                status,
                ending: |name: &str| Ending {
                    stop,
                    source: loaded.clone(),
                    pulse: status.pulse(name),
                },
            },
        );
        failure.spawn(scope, "feedback", || stay_alive(statuses, lsn, interval, &loaded));
        let _loading = loading;
        Load {
            loader: Loader::new(lanes, settings.sync.writers, pulse),
            client,
            claims,
            stop,
            failure: &failure,
            shapes: settings.shapes(),
            records: Records::new(&settings.etcd.state_path, settings.shapes()),
            notes: layout::notes(&settings.etcd.state_path),
            marks: layout::without_key(&settings.etcd.state_path),
            readers: settings.sync.writers,
            limits: limits(&settings.etcd),
            skip_oversized: settings.sync.oversized == Oversized::Skip,
            batch: Batch::default(),
            progress: Progress::new(&status.metrics),
            status,
            pulse,
        }
        .run(session, &settings.sync.publication)
    });
    failure.into_result()?;
    result?;
    *mod_revision = fence.mod_revision();
    checkpoint.phase = Phase::Sync;
    start.last_commit = Some(LastCommit { position: lsn, commit_end: None });
    Ok(())
}

/// Has the server hold the stream, at its begin, until nothing more is loaded.
fn stay_alive(
    statuses: &mut StatusWriter,
    lsn: Lsn,
    interval: Duration,
    loaded: &Receiver<()>,
) -> Result<()> {
    loop {
        statuses.send_status(lsn, lsn, false)?;
        if loaded.recv_timeout(interval) == Err(RecvTimeoutError::Disconnected) {
            return Ok(());
        }
    }
}

/// A load under way.
struct Load<'a> {
    loader: Loader<'a>,
    client: &'a mut Client,
    claims: &'a Claims,
    stop: &'a Stop,
    failure: &'a Failure,
    shapes: Shapes,
    records: Records,
    /// What the notes of rows that are not known begin with.
    notes: Vec<u8>,
    /// What those of rows without a key begin with.
    marks: Vec<u8>,
    /// How many connections read etcd.
    readers: usize,
    limits: Limits,
    skip_oversized: bool,
    batch: Batch,
    progress: Progress<'a>,
    status: &'a Status,
    pulse: &'a Pulse,
}

impl Load<'_> {
    fn run(mut self, session: &mut Session, publication: &str) -> Result<()> {
        self.loader.claim()?;
        self.status.left_out.forget(b"");
        let tables = PublishedTables::read(session, publication, &self.shapes)?;
        let tables = self.claims.admit(self.client, tables)?;
        for (table, reason) in &tables.left_out {
            self.status.not_copied.leave_out(&table.name.to_string(), reason.to_string());
        }
        let copied = &tables.copied;
        let published: Vec<_> = copied.iter().map(|table| table.published.clone()).collect();
        Unmet::none(&session.missing_grants(&published)?)?;
        let rows = published.iter().map(|table| table.estimated_rows).sum();
        self.progress.expect(published.len(), rows);
        let names: Vec<_> = published.iter().map(|table| table.name.to_string()).collect();
        self.status.tables.dump_begins(names.iter().map(String::as_str));
        let mut gone = self.records.read(self.client)?;
        let recorded: Vec<_> = gone.values().flat_map(TableRecord::keyspaces).collect();
        for table in copied {
            self.pulse.work();
            let name = Records::name(&table.published);
            let before = gone.remove(&name);
            if let Some(record) =
                self.records.under_way(before.as_ref(), &table.published.name, table.published.oid)
            {
                // It is there before any key of the new shape is.
                self.put_record(&name, &record)?;
                self.give()?;
                self.loader.settle()?;
            }
            let mut record = self.records.record(&table.published);
            let estimated_rows = table.published.estimated_rows;
            let text = table.published.name.to_string();
            self.status.tables.dumps(&text);
            self.progress.begin(text.clone(), estimated_rows);
            session.mark()?;
            if let Err(error) = self.table(session, table) {
                if !error.is_of_table() {
                    return Err(error);
                }
                // The watch goes on with it. Some of its rows may be in etcd: they have an owner.
                session.go_back()?;
                self.status.not_copied.leave_out(&text, error.to_string());
                record.shape = Shape::default();
            }
            session.unmark()?;
            // A row has a key in each keyspace, and was read for each.
            let rows = self.progress.end() / table.plan.keyspaces().len().max(1) as u64;
            self.status.tables.has_rows(&text, rows);
            for keyspace in before.iter().flat_map(|before| before.left_behind(&table.plan)) {
                self.delete_keys(&keyspace, copied)?;
            }
            self.put_record(&name, &record)?;
        }
        // What the settings name and the database lacks is left as it is.
        let kept = gone.keys().filter(|name| self.records.keeps(name));
        for name in kept.cloned().collect::<Vec<_>>() {
            let text = String::from_utf8_lossy(&name);
            log::warn!(
                "Leaving the keys of table {text} as they are: it is not copied as the settings say"
            );
            gone.remove(&name);
        }
        let oids: Vec<u32> = gone.values().map(|record| record.oid).collect();
        let whereabouts = Whereabouts::read(session, &oids)?;
        let departure = |name: &[u8]| {
            let oid = gone.get(name).map_or(0, |record| record.oid);
            whereabouts.departure(name, oid, &tables)
        };
        for name in gone.keys() {
            self.add(Change::Delete { key: &self.records.key(name) })?;
        }
        // What is there of former tables, or below a former path, goes when the rest is complete.
        self.give()?;
        self.loader.settle()?;
        let obsolete = self.obsolete(copied, &recorded, departure)?;
        // All tables are right now.
        let notes = std::mem::take(&mut self.notes);
        self.add(Change::Truncate { prefix: &notes })?;
        self.forget_without_key(copied)?;
        self.give()?;
        self.loader.finish()?;
        self.claims.release(self.client, &obsolete)?;
        self.progress.finish();
        Ok(())
    }

    /// Deletes the keys in keyspaces that this copy has claimed and that no table has any more, and
    /// returns those claims.
    fn obsolete(
        &mut self,
        copied: &[CopiedTable],
        recorded: &[Keyspace],
        departure: impl Fn(&[u8]) -> Departure,
    ) -> Result<Vec<Found>> {
        let keyspaces = copied.iter().flat_map(|table| table.plan.keyspaces());
        let current: Vec<_> = keyspaces.map(Keyspace::prefix).collect();
        let mut obsolete = self.claims.own(self.client)?;
        obsolete.retain(|found| {
            let name = self.records.name_of_row(&found.keyspace);
            let kept = name.is_some_and(|name| self.records.keeps_claim(&name, &found.keyspace));
            !kept && !current.contains(&&found.keyspace[..])
        });
        for Found { keyspace, .. } in &obsolete {
            match self.records.name_of_row(keyspace) {
                Some(name) => {
                    let text = String::from_utf8_lossy(&name);
                    log::info!("Deleting the keys of table {text}: {}", departure(&name));
                }
                None => {
                    let below = String::from_utf8_lossy(keyspace);
                    log::info!("Deleting the keys below {below}: the path is another one now");
                }
            }
            let own = recorded.iter().find(|own| own.prefix() == keyspace);
            let own = own.cloned().unwrap_or_else(|| Keyspace::whole(keyspace));
            self.delete_keys(&own, copied)?;
        }
        Ok(obsolete)
    }

    /// Forgets the rows without a key of tables that have none any more.
    fn forget_without_key(&mut self, copied: &[CopiedTable]) -> Result<()> {
        for table in without_key::read(self.client, &self.marks)? {
            let is_of = |copied: &&CopiedTable| Records::name(&copied.published) == table.name;
            let stays = match copied.iter().find(is_of) {
                Some(copied) => copied.plan.without_key().is_some(),
                None => self.records.keeps(&table.name),
            };
            if !stays {
                self.add(Change::Truncate { prefix: &table.marks })?;
            }
        }
        Ok(())
    }

    fn put_record(&mut self, name: &[u8], record: &TableRecord) -> Result<()> {
        let (key, body) = (self.records.key(name), record.to_json());
        self.add(Change::Put { key: &key, body: Body::Whole(&body), old_key: None })
    }

    /// Deletes the keys in a keyspace but for those that a table has now.
    fn delete_keys(&mut self, keyspace: &Keyspace, copied: &[CopiedTable]) -> Result<()> {
        let is_free = copied.iter().all(|table| !table.plan.meets(keyspace));
        if keyspace.is_whole() && is_free {
            return self.add(Change::Truncate { prefix: keyspace.prefix() });
        }
        Stored::new(self.client, self.stop).each_key(keyspace, |key| {
            match copied.iter().any(|table| table.plan.gives(key)) {
                true => Ok(()),
                false => self.add(Change::Delete { key }),
            }
        })
    }

    fn table(&mut self, session: &mut Session, table: &CopiedTable) -> Result<()> {
        for keyspace in table.plan.keyspaces() {
            self.keyspace(session, table, keyspace)?;
        }
        match table.without_key() {
            Some(rows) => self.table(session, &rows),
            None => Ok(()),
        }
    }

    fn keyspace(
        &mut self,
        session: &mut Session,
        table: &CopiedTable,
        keyspace: &Keyspace,
    ) -> Result<()> {
        // PostgreSQL may wait for a lock, and sort, before the first row comes.
        self.pulse.wait();
        let mut stored = Stored::new(self.client, self.stop);
        if !stored.has_any(keyspace.prefix())? {
            return self.copy(Rows::unordered(session, table, keyspace)?);
        }
        let rows = Rows::by_key(session, table, keyspace)?;
        compare(rows, keyspace, &stored, self.readers, |finding| match finding {
            Finding::Same => {
                self.progress.same += 1;
                self.row_done()
            }
            Finding::Missing { key, document } | Finding::Differs { key, document } => {
                self.put(key, document)
            }
            Finding::Stale { key } => {
                self.progress.deleted += 1;
                self.add(Change::Delete { key })
            }
        })
    }

    /// Puts every row.
    fn copy(&mut self, mut rows: Rows<'_>) -> Result<()> {
        while rows.advance()? {
            self.put(rows.key(), rows.document())?;
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], document: &[u8]) -> Result<()> {
        self.add(Change::Put { key, body: Body::Whole(document), old_key: None })?;
        self.progress.put += 1;
        self.row_done()
    }

    fn add(&mut self, change: Change<'_>) -> Result<()> {
        match self.batch.add(change, self.limits) {
            Fit::Added => Ok(()),
            Fit::Full => {
                self.give()?;
                self.add(change)
            }
            Fit::TooLarge { bytes } => self.too_large(change, bytes),
        }
    }

    fn too_large(&mut self, change: Change<'_>, bytes: usize) -> Result<()> {
        let Change::Put { key, .. } = change else { return Ok(()) };
        let error = Error::OversizedRow {
            key: String::from_utf8_lossy(key).into_owned(),
            bytes,
            limit: self.limits.bytes,
            lsn: None,
        };
        if !self.skip_oversized {
            return Err(error);
        }
        log::error!("Leaving a row out: {error}");
        self.status.metrics.oversized_rows.inc();
        self.status.left_out.add(String::from_utf8_lossy(key).into_owned());
        self.add(Change::Delete { key })
    }

    fn give(&mut self) -> Result<()> {
        self.loader.give(&std::mem::take(&mut self.batch))?;
        // Now the next rows are waited for.
        self.pulse.wait();
        Ok(())
    }

    fn row_done(&mut self) -> Result<()> {
        /// How many rows are read between two looks at the clock and the stop.
        const ROWS: u64 = 256;
        if self.progress.row().is_multiple_of(ROWS) {
            self.progress.report();
            // A stream that has broken is noticed by its thread: this dump would be in vain.
            if self.stop.requested() || self.failure.happened() {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    }
}

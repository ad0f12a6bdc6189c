//! `status`: how far etcd is, from what both ends say.

mod ends;
mod not_copied;
mod rates;
mod report;
mod watch;

use std::time::{Duration, Instant};

use self::ends::{Database, Store};
use self::not_copied::{NotCopied, not_copied};
use self::report::{Dump, Fact, Report};
use super::follower::Follower;
use super::output::print;
use crate::config::Settings;
use crate::disposition::Disposition;
use crate::dump_progress::seconds_left;
use crate::error::{Error, Result};
use crate::etcd::Client;
use crate::mapping::CopiedTable;
use crate::postgres::Session;
use crate::state::checkpoint::{Checkpoint, Phase};
use crate::state::records::{Records, StoredRecord};
use crate::supervisor::claiming::Claiming;
use crate::time::PgTime;

/// The longest time that the position is watched to see how far behind it is, beside what it may
/// rest while no row changes.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest of those rests that is waited for.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// In which form the status is printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form {
    /// As JSON.
    pub json: bool,
    /// Anew each second, with the rates.
    pub watch: bool,
}

/// Prints the status; true if a daemon is streaming in the sync phase, and nothing that is published
/// is missing.
///
/// # Errors
/// What trying again does not cure, after the rest was printed.
pub fn run(settings: &Settings, form: Form) -> Result<bool> {
    if form.watch {
        return watch::run(settings, form);
    }
    let (report, failures) = look(settings, true);
    print(&if form.json { report.to_json() } else { report.to_text() })?;
    match failures.into_iter().find(|error| error.disposition() != Disposition::Retry) {
        Some(error) => Err(error),
        None => Ok(report.is_whole()),
    }
}

/// Asks both ends, and says why one could not be asked. If `follow`, a position that is behind is
/// watched for a moment to see whether it follows.
fn look(settings: &Settings, follow: bool) -> (Report, Vec<Error>) {
    let mut database = Database::look(settings);
    let looked = Instant::now();
    let mut store = Store::look(settings);
    let mut report = Report {
        slot: settings.sync.slot.clone(),
        publication: settings.sync.publication.clone(),
        ..Report::default()
    };
    if let Ok((database, _)) = &database {
        report.add_database(database);
    }
    if let Ok(store) = &store {
        report.add_store(store);
    }
    let mut failure = None;
    if let (Ok((database, session)), Ok(store)) = (&mut database, &mut store) {
        report.dump = dump(database, store).into();
        report.add_gap(database, store);
        let all = not_copied(database, session, store, settings.sync.dump).and_then(|mut all| {
            let refused =
                refused(settings, (session, &mut store.client), store.checkpoint.as_ref());
            all.extend(refused?);
            Ok(all)
        });
        match all {
            Ok(tables) => report.not_copied = Fact::Is(tables),
            Err(error) => failure = Some(error),
        }
        let patience = follow.then(|| settings.sync.idle_period.min(LONGEST_REST) + PATIENCE);
        report.lag_seconds = lag_seconds(settings, &report, database, looked, patience).into();
    }
    let failures: Vec<Error> =
        [database.err(), store.err(), failure].into_iter().flatten().collect();
    report.errors.extend(failures.iter().map(ToString::to_string));
    (report, failures)
}

/// The tables that are not copied since their keys are not this copy's, and why.
fn refused(
    settings: &Settings,
    (session, client): (&mut Session, &mut Client),
    checkpoint: Option<&Checkpoint>,
) -> Result<Vec<NotCopied>> {
    let Some(checkpoint) = checkpoint else { return Ok(Vec::new()) };
    let cluster = &checkpoint.system_identifier;
    let claiming = Claiming::look(settings, (session, &mut *client), cluster, Some(checkpoint))?;
    let (needed, later) = claiming.refusals(client)?;
    let refused = needed.iter().chain(&later);
    Ok(refused.map(|why| NotCopied { table: None, reason: why.to_string() }).collect())
}

impl Report {
    fn add_database(&mut self, database: &Database) {
        let slot = database.slot.as_ref();
        self.current_lsn = Fact::Is(database.current_lsn);
        self.active_pid = slot.and_then(|slot| slot.active_pid).into();
        self.confirmed_flush_lsn = slot.and_then(|slot| slot.confirmed_flush_lsn).into();
        self.retained_bytes = database.retained_bytes.into();
        let fault = match slot {
            None => Some("does not exist on this server".to_owned()),
            Some(slot) => slot.invalidated.as_ref().map(|reason| format!("is lost: {reason}")),
        };
        self.errors.extend(fault.map(|what| format!("replication slot {} {what}", self.slot)));
    }

    fn add_store(&mut self, store: &Store) {
        let name = |stored: &StoredRecord| String::from_utf8_lossy(&stored.name).into_owned();
        self.tables = Fact::Is(store.records.iter().map(name).collect());
        self.oversized = Fact::Is(store.left_out.clone());
        let checkpoint = store.checkpoint.as_ref();
        self.phase = checkpoint.map(|checkpoint| checkpoint.phase).into();
        self.position = checkpoint.map(|checkpoint| checkpoint.lsn).into();
        self.committed_at = checkpoint.map(|checkpoint| checkpoint.committed_at.clone()).into();
        self.partial = checkpoint.and_then(|checkpoint| checkpoint.partial).into();
        if let Fact::Is(current) = self.current_lsn {
            let behind = |checkpoint: &Checkpoint| current.0.saturating_sub(checkpoint.lsn.0);
            self.lag_bytes = checkpoint.map(behind).into();
        }
    }
}

impl Report {
    /// A slot that is ahead of the position does not have what lies between any more.
    fn add_gap(&mut self, database: &Database, store: &Store) {
        let position = store.checkpoint.as_ref().filter(|found| found.phase == Phase::Sync);
        let confirmed = database.slot.as_ref().and_then(|slot| slot.confirmed_flush_lsn);
        if let (Some(Checkpoint { lsn, .. }), Some(confirmed)) = (position, confirmed)
            && *lsn < confirmed
        {
            self.gap = true;
            self.errors.push(format!(
                "replication slot {} is ahead of the position: what committed between {lsn} and \
                 {confirmed} is not in etcd; a daemon that starts copies anew, unless sync.dump is \
                 false",
                self.slot
            ));
        }
    }
}

/// How far behind etcd is, in seconds; `None` if there is no position.
///
/// The position alone does not say whether a commit is missing: WAL grows without one, too. So it
/// is watched whether it gets to where the database was. If it does, nothing that had committed
/// before is missing for longer than that took; if not, or without `patience` to watch it, the last
/// commit that etcd has tells.
fn lag_seconds(
    settings: &Settings,
    report: &Report,
    database: &Database,
    looked: Instant,
    patience: Option<Duration>,
) -> Option<f64> {
    let (lag_bytes, committed_at) = (*report.lag_bytes.known()?, report.committed_at.known()?);
    if lag_bytes == 0 && report.phase == Fact::Is(Phase::Sync) {
        return Some(0.0);
    }
    let mut position = Follower::new(&settings.etcd);
    let mut follows = |patience| position.reach(database.current_lsn, patience).unwrap_or(false);
    if report.is_in_sync() && patience.is_some_and(&mut follows) {
        return Some(looked.elapsed().as_millis() as f64 / 1e3);
    }
    let committed_at: PgTime = committed_at.parse().unwrap_or_default();
    Some(committed_at.until(database.clock).as_millis() as f64 / 1e3)
}

/// How far the dump is; `None` if there is none.
fn dump(database: &Database, store: &Store) -> Option<Dump> {
    let checkpoint =
        store.checkpoint.as_ref().filter(|checkpoint| checkpoint.phase == Phase::Dump)?;
    // The dump put the position when it began, and puts a table's record after its rows.
    let done = |table: &&CopiedTable| {
        let (name, begin) = (Records::name(&table.published), store.mod_revision);
        store.records.iter().any(|stored| stored.name == name && stored.mod_revision > begin)
    };
    let tables = &database.tables.copied;
    let table = tables.iter().find(|table| !done(table));
    let estimate = |tables: &mut dyn Iterator<Item = &CopiedTable>| -> u64 {
        tables.map(|table| table.published.estimated_rows).sum()
    };
    let read = estimate(&mut tables.iter().filter(done)) + database.copied_rows.unwrap_or(0);
    let begun: PgTime = checkpoint.committed_at.parse().unwrap_or_default();
    Some(Dump {
        tables: tables.len(),
        tables_done: tables.iter().filter(done).count(),
        table: table.map(|table| table.published.name.to_string()),
        rows: database.copied_rows,
        estimated_rows: table.map(|table| table.published.estimated_rows).filter(|&rows| rows > 0),
        seconds_left: seconds_left(read, estimate(&mut tables.iter()), begun.until(database.clock)),
    })
}

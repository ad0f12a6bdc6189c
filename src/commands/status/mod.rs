//! `status`: how far etcd is, from what both ends say.

mod rates;
mod report;
mod watch;

use std::time::{Duration, Instant};

use self::report::{Dump, Fact, Report};
use super::follower::Follower;
use super::no_stop;
use super::output::print;
use crate::config::Settings;
use crate::disposition::Disposition;
use crate::error::{Error, Result};
use crate::etcd::Client;
use crate::lsn::Lsn;
use crate::postgres::{PublishedTable, Session, SlotFacts};
use crate::state::checkpoint::{Checkpoint, Phase};
use crate::state::layout;
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

/// Prints the status; true if a daemon is streaming in the sync phase and leaves nothing out.
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
        None => Ok(report.is_good()),
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
    if let Ok(database) = &database {
        report.add_database(database);
    }
    if let Ok(store) = &store {
        report.add_store(store);
    }
    if let (Ok(database), Ok(store)) = (&database, &store) {
        report.dump = dump(database, store).into();
        let patience = follow.then(|| settings.sync.idle_period.min(LONGEST_REST) + PATIENCE);
        report.lag_seconds = lag_seconds(settings, &report, database, looked, patience).into();
    }
    let mut failure = None;
    if let (Ok(database), Ok(store)) = (&mut database, &mut store) {
        match not_copied(settings, database, store) {
            Ok(tables) => report.not_copied = tables,
            Err(error) => failure = Some(error),
        }
    }
    let failures: Vec<Error> =
        [database.err(), store.err(), failure].into_iter().flatten().collect();
    report.errors.extend(failures.iter().map(ToString::to_string));
    (report, failures)
}

/// The published tables that are not copied since their keys are not this copy's, and why.
fn not_copied(
    settings: &Settings,
    database: &mut Database,
    store: &mut Store,
) -> Result<Vec<String>> {
    let Some(checkpoint) = store.checkpoint.as_ref().filter(|_| !database.tables.is_empty()) else {
        return Ok(Vec::new());
    };
    let ends = (&mut database.session, &mut store.client);
    let cluster = &checkpoint.system_identifier;
    let claiming = Claiming::look(settings, ends, cluster, Some(checkpoint))?;
    let (needed, later) = claiming.refusals(&mut store.client)?;
    Ok(needed.iter().chain(&later).map(ToString::to_string).collect())
}

/// What PostgreSQL says.
struct Database {
    session: Session,
    current_lsn: Lsn,
    /// The time of the server's clock.
    clock: PgTime,
    slot: Option<SlotFacts>,
    retained_bytes: Option<u64>,
    tables: Vec<PublishedTable>,
    copied_rows: Option<u64>,
}

impl Database {
    fn look(settings: &Settings) -> Result<Self> {
        let Settings { database, sync, .. } = settings;
        let options = database.connect_options();
        let (mut session, _) =
            Session::connect_to_primary(&options, &database.hosts(), &no_stop()?)?;
        Ok(Self {
            current_lsn: session.current_lsn()?,
            clock: session.clock()?,
            slot: session.slot(&sync.slot)?,
            retained_bytes: session.retained_bytes(&sync.slot)?,
            tables: session.published_tables(&sync.publication)?,
            copied_rows: session.copied_rows()?,
            session,
        })
    }
}

/// What etcd says.
struct Store {
    client: Client,
    checkpoint: Option<Checkpoint>,
    /// The position's `mod_revision`; 0 if there is none.
    mod_revision: i64,
    records: Vec<StoredRecord>,
}

impl Store {
    fn look(settings: &Settings) -> Result<Self> {
        let etcd = &settings.etcd;
        let mut client = Client::connect(etcd.client_options())?;
        let found = Checkpoint::read(&mut client, &layout::checkpoint(&etcd.state_path))?;
        let (checkpoint, mod_revision) = found.unzip();
        let mut records = Vec::new();
        Records::new(&etcd.state_path, &etcd.path)
            .each(&mut client, |stored| records.push(stored))?;
        Ok(Self { client, checkpoint, mod_revision: mod_revision.unwrap_or(0), records })
    }
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
    store.checkpoint.as_ref().filter(|checkpoint| checkpoint.phase == Phase::Dump)?;
    // The dump put the position when it began, and puts a table's record after its rows.
    let done = |table: &&PublishedTable| {
        let (name, begin) = (Records::name(table), store.mod_revision);
        store.records.iter().any(|stored| stored.name == name && stored.mod_revision > begin)
    };
    let table = database.tables.iter().find(|table| !done(table));
    Some(Dump {
        tables: database.tables.len(),
        tables_done: database.tables.iter().filter(done).count(),
        table: table.map(|table| table.name.to_string()),
        rows: database.copied_rows,
        estimated_rows: table.map(|table| table.estimated_rows).filter(|&rows| rows > 0),
    })
}

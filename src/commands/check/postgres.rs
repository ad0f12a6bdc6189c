//! What the primary has to have, apart from tables.

use std::time::Duration;

use super::report::{Report, size, unmet};
use super::servers::Primary;
use crate::config::{DatabaseSettings, Settings};
use crate::error::{Result, Unmet};
use crate::postgres::{Capacity, Session, SlotHealth, preflight};
use crate::supervisor::another_use;

/// What to do about a query that failed.
pub(super) const ASK_AGAIN: &str = "see the server's log, and run check again";

/// The first version with slots on standbys.
const FAILOVER_VERSION: u32 = 170_000;

/// A time after which a stream that a short pause of the network holds up is not yet ended.
const SHORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks at the server's settings and at the slot.
pub(super) fn check(settings: &Settings, primary: &mut Primary<'_>, report: &mut Report) {
    let Primary { replication, session } = primary;
    let (major, minor) = (session.version() / 10_000, session.version() % 10_000);
    match preflight::version(session.version()) {
        Ok(()) => report.ok("version", format!("PostgreSQL {major}.{minor}")),
        Err(unmet) => report.fail("version", unmet),
    }
    match replication {
        Ok(_) => report.ok("replication", "the server lets the role replicate"),
        Err(error) => report.fail("replication", unmet(error, ASK_AGAIN)),
    }
    let walsender = replication.is_ok();
    if let Err(error) = server(settings, session, walsender, report) {
        report.fail("server", unmet(&error, ASK_AGAIN));
    }
}

fn server(
    settings: &Settings,
    session: &mut Session,
    walsender: bool,
    report: &mut Report,
) -> Result<()> {
    let wal_level = session.wal_level()?;
    match preflight::wal_level(&wal_level) {
        Ok(()) => report.ok("wal_level", wal_level),
        Err(unmet) => report.fail("wal_level", unmet),
    }
    let capacity = session.capacity()?;
    let health = session.slot_health(&settings.sync.slot)?;
    let streams = health.as_ref().is_some_and(|health| health.active.is_some());
    places(
        ("max_replication_slots", "drop a slot that nobody needs"),
        (capacity.slots, capacity.max_slots),
        health.is_some(),
        report,
    );
    places(
        ("max_wal_senders", "end a walsender that nobody needs"),
        // One of them is this command's own.
        (capacity.wal_senders - i64::from(walsender), capacity.max_wal_senders),
        streams,
        report,
    );
    wal_sender_timeout(&settings.database, session.wal_sender_timeout()?, report);
    max_slot_wal_keep_size(&capacity, report);
    slot(settings, session, health.as_ref(), &capacity, report)?;
    failover(settings, session.version(), health.as_ref(), &capacity, report);
    Ok(())
}

/// Slots or walsenders: one for the stream, unless it is there, and one for compares.
fn places(
    (name, other_cure): (&'static str, &str),
    (used, most): (i64, i64),
    there: bool,
    report: &mut Report,
) {
    let needed = if there { 0 } else { 1 };
    let cure = format!("raise {name} in postgresql.conf and restart the server, or {other_cure}");
    let detail = format!("{used} of {most} in use");
    match most - used - needed {
        ..0 => report.fail(name, Unmet::new(format!("{detail}, and one is needed"), cure)),
        0 => report.warn(
            name,
            Unmet::new(format!("{detail}, so that none is left to compare a table with"), cure),
        ),
        _ => report.ok(name, detail),
    }
}

/// A status leaves within a third of the timeout, whatever the settings say.
fn wal_sender_timeout(settings: &DatabaseSettings, timeout: Option<Duration>, report: &mut Report) {
    const NAME: &str = "wal_sender_timeout";
    const CURE: &str = "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf()";
    let Some(timeout) = timeout else {
        let problem = "off: the slot of a daemon whose machine is gone stays in use for long, and \
                       another daemon waits for it";
        return report.warn(NAME, Unmet::new(problem, CURE));
    };
    let interval = settings.replication_status_timeout.min(timeout / 3);
    let detail = format!("{timeout:?}, and a status leaves every {interval:?}");
    match timeout < SHORT_TIMEOUT {
        true => report.warn(
            NAME,
            Unmet::new(format!("{detail}: a short pause of the network ends the stream"), CURE),
        ),
        false => report.ok(NAME, detail),
    }
}

fn max_slot_wal_keep_size(capacity: &Capacity, report: &mut Report) {
    const NAME: &str = "max_slot_wal_keep_size";
    let Capacity { max_slot_wal_keep, max_wal_size, .. } = *capacity;
    let cure = "set it to what the disk can spare, and to more than max_wal_size: ALTER SYSTEM SET \
                max_slot_wal_keep_size = '...'; SELECT pg_reload_conf()";
    match max_slot_wal_keep {
        None => report.warn(
            NAME,
            Unmet::new(
                "this version keeps WAL without a limit while nobody reads the slot",
                "watch the free space of the server's disk",
            ),
        ),
        Some(..0) => report.warn(
            NAME,
            Unmet::new("-1: a slot that nobody reads fills the server's disk with WAL", cure),
        ),
        Some(bytes) if bytes < max_wal_size => {
            let (bytes, most) = (size(bytes), size(max_wal_size));
            let problem = format!(
                "{bytes} is less than max_wal_size, {most}: a slot that falls behind is soon lost, \
                 and all tables are compared anew"
            );
            report.warn(NAME, Unmet::new(problem, cure));
        }
        Some(bytes) => report.ok(NAME, size(bytes)),
    }
}

fn slot(
    settings: &Settings,
    session: &mut Session,
    health: Option<&SlotHealth>,
    capacity: &Capacity,
    report: &mut Report,
) -> Result<()> {
    let name = &settings.sync.slot;
    let (Some(facts), Some(health)) = (session.slot(name)?, health) else {
        report.ok("slot", format!("{name} does not exist yet: run makes it"));
        return Ok(());
    };
    if let Some(unmet) = another_use(name, &settings.database.name, &facts) {
        report.fail("slot", unmet);
        return Ok(());
    }
    if let Some(reason) = facts.invalidated {
        report.warn(
            "slot",
            Unmet::new(
                format!("{name} is lost: {reason}"),
                "run makes a new one and compares all tables; raise max_slot_wal_keep_size, or \
                 keep the daemon running, lest it happen again",
            ),
        );
        return Ok(());
    }
    let retained = size(health.retained);
    let detail = match &health.active {
        Some((pid, role, application)) => {
            format!("server process {pid} (role {role}, {application}) streams from {name}")
        }
        None => format!("nobody streams from {name}"),
    };
    let status = health.wal_status.as_ref().map(|status| format!(" (wal_status {status})"));
    let status = status.unwrap_or_default();
    let detail = format!("{detail}; the server keeps {retained} of WAL for it{status}");
    let lagging = "start the daemon, or see what holds it up; of a copy that was given up, drop \
                   the slot";
    let limit = capacity.max_slot_wal_keep.filter(|&limit| limit >= 0);
    let nearly_lost = health.wal_status.as_deref() == Some("unreserved")
        || limit.is_some_and(|limit| health.retained > limit / 2);
    if nearly_lost {
        let problem = format!("{detail}, close to max_slot_wal_keep_size, where it is lost");
        report.warn("slot", Unmet::new(problem, lagging));
    } else if health.retained > capacity.max_wal_size {
        let problem = format!("{detail}, more than max_wal_size");
        report.warn("slot", Unmet::new(problem, lagging));
    } else {
        report.ok("slot", detail);
    }
    Ok(())
}

/// What becomes of the slot when a standby takes over.
fn failover(
    settings: &Settings,
    version: u32,
    health: Option<&SlotHealth>,
    capacity: &Capacity,
    report: &mut Report,
) {
    let name = &settings.sync.slot;
    if version < FAILOVER_VERSION {
        return report.ok(
            "failover",
            "before PostgreSQL 17 standbys keep no copy of the slot by themselves: a failover is \
             followed by a compare of all tables, unless Patroni keeps the slot",
        );
    }
    if health.is_some_and(|health| health.failover == Some(false)) {
        let cure = format!(
            "run ALTER_REPLICATION_SLOT {name} (FAILOVER true) on a replication connection while \
             the daemon is stopped"
        );
        let problem = format!("{name} is not a failover slot: standbys keep no copy of it");
        return report.warn("failover", Unmet::new(problem, cure));
    }
    let unsynchronized = capacity.synchronized_standby_slots.as_deref() == Some("");
    if capacity.standby_slots > 0 && unsynchronized {
        return report.warn(
            "failover",
            Unmet::new(
                "synchronized_standby_slots is empty: etcd may have transactions that a standby \
                 lacks, and a failover then compares all tables",
                "name the standbys' slots in synchronized_standby_slots here, and set \
                 sync_replication_slots = on on each standby",
            ),
        );
    }
    report.ok(
        "failover",
        "the slot is a failover slot: standbys with sync_replication_slots = on keep a copy of it",
    );
}

//! What `run` would do.

use super::etcd::StoredState;
use super::postgres::ASK_AGAIN;
use super::report::{Report, unmet};
use super::servers::Primary;
use crate::config::Settings;
use crate::error::{Result, Unmet};
use crate::etcd::Client;
use crate::postgres::Session;
use crate::state::checkpoint::Checkpoint;
use crate::state::records::Records;
use crate::supervisor::claiming::Claiming;
use crate::supervisor::{Decision, decision};

/// What the database lacks of what the settings say of tables.
fn refusals(settings: &Settings, session: &mut Session, client: &mut Client) -> Vec<Unmet> {
    let Settings { etcd, sync, .. } = settings;
    let records = Records::new(&etcd.state_path, settings.shapes());
    let found = records.refusals(client, session, &sync.publication, &sync.tables);
    found.unwrap_or_else(|error| vec![unmet(&error, ASK_AGAIN)])
}

/// Decides as a start does, and goes no further.
pub(super) fn check(
    settings: &Settings,
    primary: Primary<'_>,
    position: StoredState,
    report: &mut Report,
) {
    // Without a walsender there is no start, and its line says so.
    let Primary { replication: Ok(mut connection), mut session } = primary else { return };
    let StoredState { mut client, checkpoint, resync_all } = position;
    let client = &mut client;
    for refusal in refusals(settings, &mut session, client) {
        report.fail("shape", refusal);
    }
    let checkpoint = checkpoint.as_ref();
    let decided = connection.identify_system().and_then(|identity| {
        let ends = (&mut connection, &mut session);
        let decided = decision(settings, ends, &identity, checkpoint, resync_all, None)?;
        Ok((decided, identity.system_identifier))
    });
    let (decided, cluster) = match decided {
        Ok(decided) => decided,
        Err(error) => return report.fail("start", unmet(&error, ASK_AGAIN)),
    };
    if !matches!(decided, Decision::Refuse(_))
        && !claims(settings, &mut session, client, &cluster, checkpoint, report)
    {
        return;
    }
    match (decided, checkpoint) {
        (Decision::Resume, Some(checkpoint)) => {
            report.ok("start", format!("run goes on from {}", checkpoint.lsn));
        }
        (Decision::Resume, None) => {}
        (Decision::StandBy { pid }, _) => report.ok(
            "start",
            match pid {
                Some(pid) => format!("run stands by while server process {pid} streams"),
                None => "run stands by while another daemon streams".to_owned(),
            },
        ),
        (Decision::Renew { reason, .. }, None) => {
            let verb = if settings.sync.dump { "dumps" } else { "starts without a dump" };
            report.ok("start", format!("run {verb}: {}", reason.text));
        }
        (Decision::Renew { reason, .. }, Some(_)) => report.warn(
            "start",
            match settings.sync.dump {
                true => Unmet::new(
                    format!("run dumps again: {}", reason.text),
                    "nothing has to be done: it changes only what differs",
                ),
                false => Unmet::new(
                    format!("run goes on without a dump: {}", reason.text),
                    "run pg2etcd resync, which has all tables compared",
                ),
            },
        ),
        (Decision::Refuse(unmet), _) => report.fail("start", unmet),
    }
}

/// Looks for keys that are not this copy's and that it would write; false if it would not start.
fn claims(
    settings: &Settings,
    session: &mut Session,
    client: &mut Client,
    cluster: &str,
    checkpoint: Option<&Checkpoint>,
    report: &mut Report,
) -> bool {
    let looked = can_be_published(settings, session).and_then(|can| match can {
        true => {
            let ends = (session, &mut *client);
            Claiming::look(settings, ends, cluster, checkpoint)?.refusals(client)
        }
        // That has a line of its own.
        false => Ok((Vec::new(), Vec::new())),
    });
    let (needed, later) = match looked {
        Ok(looked) => looked,
        Err(error) => {
            report.fail("start", unmet(&error, ASK_AGAIN));
            return false;
        }
    };
    let starts = needed.is_empty();
    for Unmet { problem, cure } in later {
        report.fail("start", Unmet::new(format!("a table is left out: {problem}"), cure));
    }
    for unmet in needed {
        report.fail("start", unmet);
    }
    starts
}

/// Whether there is a publication, or one can be made.
fn can_be_published(settings: &Settings, session: &mut Session) -> Result<bool> {
    let name = &settings.sync.publication;
    Ok(session.has_publication(name)?
        || session.publication_obstacles(name, &settings.sync.tables)?.is_empty())
}

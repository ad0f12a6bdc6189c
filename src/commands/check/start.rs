//! What `run` would do.

use super::etcd::StoredState;
use super::postgres::ASK_AGAIN;
use super::report::{Report, unmet};
use super::servers::Primary;
use crate::config::Settings;
use crate::error::Unmet;
use crate::supervisor::{Decision, decision};

/// Decides as a start does, and goes no further.
pub(super) fn check(
    settings: &Settings,
    primary: Primary<'_>,
    position: StoredState,
    report: &mut Report,
) {
    // Without a walsender there is no start, and its line says so.
    let Primary { replication: Ok(mut connection), mut session } = primary else { return };
    let StoredState { checkpoint, resync_all } = position;
    let checkpoint = checkpoint.as_ref();
    let decided = connection.identify_system().and_then(|identity| {
        let ends = (&mut connection, &mut session);
        decision(settings, ends, &identity, checkpoint, resync_all, None)
    });
    match (decided, checkpoint) {
        (Err(error), _) => report.fail("start", unmet(&error, ASK_AGAIN)),
        (Ok(Decision::Resume), Some(checkpoint)) => {
            report.ok("start", format!("run goes on from {}", checkpoint.lsn));
        }
        (Ok(Decision::Resume), None) => {}
        (Ok(Decision::StandBy { pid }), _) => report.ok(
            "start",
            match pid {
                Some(pid) => format!("run stands by while server process {pid} streams"),
                None => "run stands by while another daemon streams".to_owned(),
            },
        ),
        (Ok(Decision::Renew { reason, .. }), None) => {
            let verb = if settings.sync.dump { "dumps" } else { "starts without a dump" };
            report.ok("start", format!("run {verb}: {}", reason.text));
        }
        (Ok(Decision::Renew { reason, .. }), Some(_)) => report.warn(
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
        (Ok(Decision::Refuse(unmet)), _) => report.fail("start", unmet),
    }
}

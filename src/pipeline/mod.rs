//! A running sync: its threads and the channels between them.
//!
//! ```text
//! walsender ==CopyBoth==> receive --bounded by bytes--> pack --one txn a lane--> write n ==txn, fenced==> etcd
//!     ^                     | reply requested           ^ |  <----acknowledged---- |
//!     |                     |        documents, answers | | reads, answers         | moved
//!     |                     |                     read -+-+- watch                 |
//!     +==standby status== feedback <-----------------------------------------------+
//! ```
//!
//! `receive` decodes and makes documents, `pack` puts transactions together, `write 0` posts what moves
//! the position, and `write 1` and so on post parts of large transactions. `read` fetches documents of
//! which an update left columns out. `watch` looks for tables that came, went or changed; it asks
//! PostgreSQL's catalog, and hands what a compare found to `pack`. While a table is compared, `compare n`
//! read etcd, and while a snapshot is waited for, `snapshot` finds out what for. `sentinel` asks etcd now
//! and then whether it answers, and whether it went back. Each thread ends when the one before it does,
//! and when one after it has failed.

mod channel;
mod claimant;
pub(crate) mod dump;
mod feedback;
mod lanes;
mod loader;
mod pack;
mod progress;
mod read;
mod receive;
mod sentinel;
pub(crate) mod snapshot;
mod start;
mod unsendable;
mod watch;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use self::channel::chunk_channel;
use self::claimant::Claimant;
use self::feedback::{Feedback, Logged};
use self::lanes::{Lanes, Writers};
use self::pack::Pack;
use self::read::Read;
use self::receive::{Receive, Translation};
use self::sentinel::Sentinel;
pub(crate) use self::start::{Start, goal};
use self::start::{limits, new_writer};
use self::watch::{Comparison, Packing, RunningQuery, Watch};
use self::write::{Ending, Reply};
use crate::config::{Oversized, Settings};
use crate::core::Rules;
use crate::core::history::History;
use crate::core::ledger::Ledger;
use crate::error::Result;
use crate::state::layout;
use crate::status::{Activity, Pulse, Status};
use crate::stop::Stop;
use crate::threads::Failure;

/// How much of the stream may wait for etcd, in bytes.
const BACKLOG_BYTES: usize = 4 << 20;
/// How long the server's last word is waited for at a stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Follows the stream until a stop is requested or something fails.
///
/// The calling thread, of which `pulse` is, waits meanwhile. `gets_on` is called once the stream has
/// got somewhere.
pub(crate) fn run(
    settings: &Settings,
    start: Start,
    stop: &Stop,
    status: &Status,
    pulse: &Pulse,
    gets_on: &(dyn Fn() + Sync),
) -> Result<()> {
    let Start {
        frames,
        statuses,
        session,
        options,
        address,
        client,
        claims,
        checkpoint,
        confirmed,
        mod_revision,
        last_commit,
        replay,
        takes_over,
        goal,
        again,
        dumped,
        status_interval,
    } = start;
    let position = checkpoint.position(last_commit);
    let state_path = &settings.etcd.state_path;
    let ledger = Ledger::new(state_path, checkpoint, mod_revision, new_writer(), replay);
    let (flushed, fence) = (ledger.flushed(), ledger.fence());
    let received = Arc::new(AtomicU64::new(confirmed.0));
    status.enter(Activity::Syncing);
    status.stream_begins(flushed.clone(), Arc::clone(&received), status_interval);
    let proven = AtomicBool::new(false);

    let (chunk_sender, chunks) = chunk_channel(BACKLOG_BYTES);
    // On each of these two, one message that waits stands for all.
    let (status_request, status_requests) = bounded(1);
    let (moved, has_moved) = bounded(1);
    let (request_sender, requests) = bounded(0);
    let (answers, answered) = bounded(1);
    let (reads, asked) = bounded(1);
    let (found_sender, found) = bounded(1);
    // A poke that finds no room is one of many.
    let (pokes, poked) = bounded(1024);
    // Nothing is ever sent on these two: that a thread has dropped its end is the message.
    let (receiving, source) = bounded(0);
    let (writing, written) = bounded(0);
    let ending = |name: &str| Ending { stop, source: source.clone(), pulse: status.pulse(name) };

    let catalog_changes = Arc::new(AtomicU64::new(0));
    let changes = Arc::clone(&catalog_changes);
    let failure = Failure::default();
    let receive_pulse = status.pulse("receive");
    let claimant = Claimant {
        client: client.clone(),
        claims: &claims,
        stop,
        failure: &failure,
        pulse: receive_pulse.clone(),
    };
    let translation = Translation::new(session, settings, changes, pokes.clone(), status, claimant);
    let receive = Receive {
        frames,
        stop,
        history: History::new(position, confirmed),
        proven: &proven,
        translation,
        chunks: chunk_sender,
        received: Arc::clone(&received),
        status_requests: status_request,
        at: None,
        pulse: receive_pulse,
    };
    let read =
        Read { client: client.clone(), retries: &status.metrics.retries, ending: ending("read") };
    let query = RunningQuery::default();
    let packing =
        Packing { requests: request_sender, answers: answered, pulse: status.pulse("watch") };
    let watch = Watch {
        comparison: Comparison {
            settings,
            stop,
            options: &options,
            address: &address,
            client: client.clone(),
            packing,
            query: query.clone(),
        },
        claims: &claims,
        pokes: poked,
        catalog_changes,
        ending: source.clone(),
        status,
    };
    let sentinel = Sentinel {
        client: client.clone(),
        state_path,
        fence,
        dumped,
        pokes: pokes.clone(),
        ending: source.clone(),
        status,
        pulse: status.pulse("sentinel"),
    };
    let feedback = Feedback {
        statuses,
        interval: status_interval,
        confirmed,
        proven: &proven,
        requests: status_requests,
        moved: has_moved,
        written,
        flushed,
        received,
        status,
        goal: Some(goal),
        gets_on,
        logged: if again { Logged::at(position.lsn) } else { Logged::default() },
        pulse: status.pulse("feedback"),
    };

    let frames = thread::scope(|scope| {
        let lanes = Lanes::start(
            scope,
            &failure,
            Writers {
                client: &client,
                ledger,
                part_lanes: settings.sync.writers,
                moved: Some(moved),
                writing: Some(writing),
                status,
                ending: &ending,
            },
        );
        let failed = lanes.failed();
        let pack = Pack {
            chunks,
            lanes,
            reads,
            found,
            requests,
            answers,
            pokes,
            takes_over,
            status,
            pulse: status.pulse("pack"),
        };
        failure.spawn(scope, "pack", move || pack.run(rules(settings), position, replay));
        failure.spawn(scope, "read", move || read.run(&asked, &found_sender));
        failure.spawn(scope, "watch", move || watch.run());
        failure.spawn_then(
            scope,
            "sentinel",
            move || sentinel.run(),
            move || Reply::failed(&failed),
        );
        failure.spawn(scope, "feedback", move || feedback.run());
        pulse.wait();
        let recorded = &failure;
        let received = failure.spawn(scope, "receive", move || {
            let _receiving = receiving;
            receive.run(recorded)
        });
        let frames = received.and_then(|thread| thread.join().ok().flatten());
        // Whatever the others do now, it has to end.
        pulse.work();
        query.cancel();
        frames
    });
    failure.into_result()?;
    frames.map_or(Ok(()), |frames| frames.drain(DRAIN_TIMEOUT))
}

fn rules(settings: &Settings) -> Rules {
    let sync = &settings.sync;
    Rules {
        notes: layout::notes(&settings.etcd.state_path),
        limits: limits(&settings.etcd),
        part_lanes: sync.writers,
        coalesce: sync.coalesce,
        idle_period: sync.idle_period,
        skip_oversized: sync.oversized == Oversized::Skip,
    }
}

//! A running sync: its threads and the channels between them.
//!
//! ```text
//! walsender ==CopyBoth==> stream --one txn a lane--> write n ==txn, fenced==> etcd
//!     ^    reply requested | ^ |  <---acknowledged--- |
//!     |                    | | | reads, answers       | moved
//!     |                    | | +--> read, watch       |
//!     |                    | +-- documents, requests  |
//!     +==standby status== feedback <------------------+
//! ```
//!
//! `stream` decodes, makes documents and puts transactions together: it polls the socket, and a bell that
//! the other threads ring when they have something for it. While etcd works on a txn it lets the stream
//! gather in the socket. A txn that is all there is to do it posts itself, as long as etcd is quick. Else
//! `write 0` posts what moves the position, and `write 1` and so on post parts of large transactions. `read`
//! fetches documents of which an update left columns out. `watch` looks for tables that came, went or changed;
//! it asks PostgreSQL's catalog, and hands what a compare found to `stream`. While a table is compared,
//! `compare n` read etcd, and while a snapshot is waited for, `snapshot` finds out what for. `sentinel` asks
//! etcd now and then whether it answers, and whether it went back. Each thread ends when the one before it
//! does, and when one after it has failed.

mod bell;
mod claimant;
pub(crate) mod dump;
mod feedback;
mod lanes;
mod loader;
mod progress;
mod read;
mod receive;
mod sentinel;
pub(crate) mod snapshot;
mod start;
mod stream;
mod translation;
mod unsendable;
mod watch;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use self::bell::Bell;
use self::claimant::Claimant;
use self::feedback::{Feedback, Logged};
use self::lanes::{Lanes, Writers};
use self::read::Read;
use self::receive::Receive;
use self::sentinel::Sentinel;
pub(crate) use self::start::{Start, goal};
use self::start::{limits, new_writer};
use self::stream::{Source, Stream};
use self::translation::Translation;
use self::watch::{Comparison, Packing, RunningQuery, Watch};
use self::write::Ending;
use crate::config::{Oversized, Settings};
use crate::core::Rules;
use crate::core::change::Chunk;
use crate::core::history::History;
use crate::core::ledger::Ledger;
use crate::error::Result;
use crate::state::layout;
use crate::status::{Activity, Pulse, Status};
use crate::stop::Stop;
use crate::threads::Failure;

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

    let bell = Bell::new()?;
    // On each of these two, one message that waits stands for all.
    let (status_request, status_requests) = bounded(1);
    let (moved, has_moved) = bounded(1);
    let (request_sender, requests) = bounded(1);
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
    let stream_pulse = status.pulse("stream");
    let claimant = Claimant {
        client: client.clone(),
        claims: &claims,
        stop,
        failure: &failure,
        pulse: stream_pulse.clone(),
    };
    let translation = Translation::new(session, settings, changes, pokes.clone(), status, claimant);
    let receive = Receive {
        frames,
        history: History::new(position, confirmed),
        proven: &proven,
        translation,
        status_requests: status_request,
        received: Arc::clone(&received),
        at: None,
        chunk: Chunk::default(),
        is_behind: false,
        pulse: status.pulse("receive"),
        _receiving: receiving,
    };
    let read = Read {
        client: client.clone(),
        retries: &status.metrics.retries,
        bell: bell.clone(),
        ending: ending("read"),
    };
    let query = RunningQuery::default();
    let packing = Packing {
        requests: request_sender,
        answers: answered,
        bell: bell.clone(),
        pulse: status.pulse("watch"),
    };
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
                bell: Some(bell.clone()),
                writing: Some(writing),
                status,
                ending: &ending,
            },
        );
        let failed = lanes.failed();
        let read_failed = failed.clone();
        let stream = Stream {
            source: Source::Open(Box::new(receive)),
            lanes,
            posted: None,
            reads,
            found,
            requests,
            answers,
            pokes,
            bell,
            takes_over,
            stop,
            failure: &failure,
            status,
            pulse: stream_pulse,
        };
        let run = move || stream.run(rules(settings), position, replay);
        let stream = failure.spawn(scope, "stream", run);
        let run = move || read.run(&asked, &found_sender);
        failure.spawn_then(scope, "read", run, move || read_failed.failed());
        failure.spawn(scope, "watch", move || watch.run());
        failure.spawn_then(scope, "sentinel", move || sentinel.run(), move || failed.failed());
        failure.spawn(scope, "feedback", move || feedback.run());
        pulse.wait();
        let _ = source.recv();
        // Nothing more is received. Whatever the others do now, it has to end.
        pulse.work();
        query.cancel();
        pulse.wait();
        let frames = stream.and_then(|thread| thread.join().ok().flatten());
        pulse.work();
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

//! A running sync: its threads and the channels between them.
//!
//! ```text
//! walsender ==CopyBoth==> receive --bytes--> pack --one txn a lane--> write (lane 0) ==txn==> etcd
//!     ^                     | reply requested   \-------------------> write (lane n) ==txn==> etcd
//!     +==standby status== feedback <--flushed LSN-------------------- write (lane 0)
//!
//! catalog, snapshots ==SQL==> watch --what a compare found--> pack
//! ```
//!
//! `receive` decodes and makes documents, `pack` puts transactions together, `write` posts them.
//! Lane 0 takes the ordered stream, and with it the position; the others take parts of oversized
//! transactions. `watch` looks for tables that came, went or changed. Each thread ends when the one before it does, and when one after it has failed.

mod apply;
mod channel;
mod feedback;
pub(crate) mod lanes;
mod pack;
mod parts;
mod receive;
mod repair;
mod toast;
mod watch;
pub(crate) mod write;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use self::channel::chunk_channel;
use self::feedback::Feedback;
use self::lanes::Lanes;
use self::pack::{Pack, Rules};
use self::receive::{Receive, Translation};
use self::watch::{RunningQuery, Watch};
use self::write::{Ending, Fence, Writer};
use crate::config::{EtcdSettings, Oversized, Settings};
use crate::core::batch::Limits;
use crate::error::Result;
use crate::etcd::{Client, Txn};
use crate::postgres::{FrameReader, HostPort, Options, Session, StatusWriter};
use crate::state::checkpoint::Checkpoint;
use crate::status::{Activity, Pulse, Status};
use crate::stop::Stop;
use crate::threads::Failure;

/// How much of the stream may wait for etcd, in bytes.
const BACKLOG_BYTES: usize = 4 << 20;
/// How long the server's last word is waited for at a stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What a sync starts from.
pub(crate) struct Start {
    /// The stream.
    pub(crate) frames: FrameReader,
    /// The way back.
    pub(crate) statuses: StatusWriter,
    /// For the stream's questions to the catalog.
    pub(crate) session: Session,
    /// For connections of the watch's own, to the same server.
    pub(crate) options: Options,
    /// That server.
    pub(crate) address: HostPort,
    /// The etcd that is written.
    pub(crate) client: Client,
    /// The position, as it stands in etcd.
    pub(crate) checkpoint: Checkpoint,
    /// Its `mod_revision`.
    pub(crate) mod_revision: i64,
    /// The longest time between two standby statuses.
    pub(crate) status_interval: Duration,
}

/// Follows the stream until a stop is requested or something fails.
///
/// The calling thread, of which `pulse` is, waits meanwhile.
pub(crate) fn run(
    settings: &Settings,
    start: Start,
    stop: &Stop,
    status: &Status,
    pulse: &Pulse,
) -> Result<()> {
    let Start {
        frames,
        statuses,
        session,
        options,
        address,
        client,
        checkpoint,
        mod_revision,
        status_interval,
    } = start;
    let position = checkpoint.position();
    status.enter(Activity::Syncing);
    status.stream_begins(position.lsn, status_interval);
    let fence = Fence::new(Checkpoint::key(&settings.etcd.state_path), mod_revision);
    let fence = Arc::new(fence);

    let (chunk_sender, chunk_receiver) = chunk_channel(BACKLOG_BYTES);
    let pack_pulse = status.pulse("pack");
    let (lanes, lane_ends) = Lanes::new(settings.sync.writers, pack_pulse.clone());
    let (request_sender, requests) = bounded(1);
    let (repair_sender, repairs) = bounded(0);
    // A poke that finds no room is one of many.
    let (poke_sender, pokes) = bounded(1024);
    // Nothing is ever sent on these two: that a thread has dropped its end is the message.
    let (receiving, source) = bounded(0);
    let (writing, written) = bounded(0);
    let ending = |pulse| Ending { stop, source: source.clone(), pulse };

    let catalog_changes = Arc::new(AtomicU64::new(0));
    let (path, changes) = (&settings.etcd.path, Arc::clone(&catalog_changes));
    let translation = Translation::new(session, path, changes, poke_sender.clone(), status);
    let receive = Receive {
        frames,
        stop,
        translation,
        chunks: chunk_sender,
        status_requests: request_sender,
        status,
        pulse: status.pulse("receive"),
    };
    let watching = (repairs, poke_sender);
    let pack = Pack::new(
        rules(settings),
        lanes,
        client.clone(),
        ending(pack_pulse),
        position,
        watching,
        status,
    );
    let query = RunningQuery::default();
    let watch = Watch {
        settings,
        stop,
        options: &options,
        address: &address,
        client: client.clone(),
        requests: repair_sender,
        pokes,
        catalog_changes,
        ending: source.clone(),
        query: query.clone(),
        retries: &status.metrics.retries,
        pulse: status.pulse("watch"),
    };
    let feedback = Feedback {
        statuses,
        interval: status_interval,
        requests,
        written,
        status,
        pulse: status.pulse("feedback"),
    };
    let writer = |lane: usize| Writer {
        client: client.clone(),
        fence: Arc::clone(&fence),
        checkpoint: checkpoint.clone(),
        ending: ending(status.pulse(&format!("write {lane}"))),
        position: &status.position,
        metrics: &status.metrics,
        // The others write only after it has.
        accepted: lane > 0,
    };

    let failure = Failure::default();
    let frames = thread::scope(|scope| {
        for (lane, end) in lane_ends.into_iter().enumerate() {
            let (writer, writing) = (writer(lane), (lane == 0).then(|| writing.clone()));
            failure.spawn(scope, &format!("write {lane}"), move || {
                let _writing = writing;
                writer.run(&end)
            });
        }
        drop(writing);
        failure.spawn(scope, "pack", move || pack.run(&chunk_receiver));
        failure.spawn(scope, "watch", move || watch.run());
        failure.spawn(scope, "feedback", move || feedback.run());
        pulse.wait();
        let received = failure.spawn(scope, "receive", move || {
            let _receiving = receiving;
            receive.run()
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
        limits: limits(&settings.etcd),
        coalesce: sync.coalesce,
        idle_period: sync.idle_period,
        skip_oversized: sync.oversized == Oversized::Skip,
    }
}

/// What a txn may hold beside the position and the compare on it.
pub(crate) fn limits(etcd: &EtcdSettings) -> Limits {
    /// What the position may take, in bytes, beside the names in it: they are short, since
    /// PostgreSQL's are at most 63 bytes.
    const POSITION_BYTES: usize = 2048;
    let names = 4 * (etcd.path.len() + etcd.state_path.len());
    let taken = Txn::new().request_bytes() + POSITION_BYTES + names;
    Limits {
        operations: etcd.max_txn_ops.saturating_sub(1),
        bytes: etcd.max_request_bytes.saturating_sub(taken),
    }
}

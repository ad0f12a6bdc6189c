//! A slot with its snapshot, and a word about what it waits for.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::error::{Error, Result};
use crate::postgres::{Connection, CreatedSlot, Session, SlotKind};

/// How long a wait may take before it is worth a word, and how often it is looked at then.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes a slot, which waits for every transaction that is writing. If that takes long, `idle`, which
/// nobody else uses meanwhile, finds out what it waits for, and the log says so.
///
/// # Errors
/// Those of the connection, and of the system if there is no thread.
pub(crate) fn create_slot(
    connection: &mut Connection<'_>,
    idle: &mut Session,
    slot: &str,
    kind: SlotKind,
) -> Result<CreatedSlot> {
    let pid = connection.backend_pid()?;
    let (waiting, done) = bounded::<()>(0);
    thread::scope(|scope| {
        let named = thread::Builder::new().name("snapshot".to_owned());
        let spawned = named.spawn_scoped(scope, move || {
            let mut said = None;
            while done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // What cannot be asked now is asked again.
                let Ok(Some(blocker)) = idle.blocker(pid) else { continue };
                if said.as_ref() != Some(&blocker) {
                    log::info!("Waiting for a snapshot until this ends: {blocker}");
                    said = Some(blocker);
                }
            }
        });
        spawned.map_err(|source| Error::System {
            doing: "starting thread snapshot".to_owned(),
            source,
        })?;
        let created = connection.create_slot(slot, kind);
        drop(waiting);
        created
    })
}

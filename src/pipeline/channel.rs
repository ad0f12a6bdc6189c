//! A channel that is bounded by bytes: rows can be a megabyte each, and a bound by count would
//! let a few of them fill the memory.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Select, SelectedOperation, Sender, unbounded};

use crate::core::change::Chunk;
use crate::error::{Error, Result};

/// The sending end. Its drop ends the stream of chunks.
pub(super) struct ChunkSender {
    chunks: Sender<Chunk>,
    gauge: Arc<Gauge>,
}

/// The receiving end.
pub(super) struct ChunkReceiver {
    chunks: Receiver<Chunk>,
    gauge: Arc<Gauge>,
}

/// A channel that holds chunks of at most `capacity` bytes together, or one larger chunk.
pub(super) fn chunk_channel(capacity: usize) -> (ChunkSender, ChunkReceiver) {
    let (sender, receiver) = unbounded();
    let gauge = Arc::new(Gauge {
        capacity,
        level: Mutex::new(Level { bytes: 0, receiver_gone: false }),
        lower: Condvar::new(),
    });
    (
        ChunkSender { chunks: sender, gauge: Arc::clone(&gauge) },
        ChunkReceiver { chunks: receiver, gauge },
    )
}

impl ChunkSender {
    /// Sends a chunk, once there is room for it.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the receiver is gone.
    pub(super) fn send(&self, chunk: Chunk) -> Result<()> {
        self.gauge.rise(chunk.size())?;
        self.chunks.send(chunk).map_err(|_| Error::Stopped)
    }
}

impl ChunkReceiver {
    /// Adds the receipt of a chunk to what a `Select` waits for.
    pub(super) fn select<'a>(&'a self, select: &mut Select<'a>) -> usize {
        select.recv(&self.chunks)
    }

    /// Completes a receipt that a `Select` has chosen; `None` once the sender is gone and nothing
    /// is left.
    pub(super) fn complete(&self, operation: SelectedOperation<'_>) -> Option<Chunk> {
        let chunk = operation.recv(&self.chunks).ok()?;
        self.gauge.fall(chunk.size());
        Some(chunk)
    }
}

impl Drop for ChunkReceiver {
    fn drop(&mut self) {
        self.gauge.lock().receiver_gone = true;
        self.gauge.lower.notify_all();
    }
}

/// How many bytes are in the channel.
struct Gauge {
    capacity: usize,
    level: Mutex<Level>,
    lower: Condvar,
}

struct Level {
    bytes: usize,
    receiver_gone: bool,
}

impl Gauge {
    /// Waits for room. A chunk above the capacity has room in an empty channel.
    fn rise(&self, bytes: usize) -> Result<()> {
        let full = |level: &mut Level| {
            !level.receiver_gone && level.bytes > 0 && level.bytes + bytes > self.capacity
        };
        let mut level =
            self.lower.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if level.receiver_gone {
            return Err(Error::Stopped);
        }
        level.bytes += bytes;
        Ok(())
    }

    fn fall(&self, bytes: usize) {
        self.lock().bytes -= bytes;
        self.lower.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Level> {
        // Both fields are set in one step each: a thread that panicked left them whole.
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::lsn::Lsn;
    use crate::position::Commit;

    fn chunk(events: u64) -> Chunk {
        let mut chunk = Chunk::default();
        for lsn in 0..events {
            chunk.begin(Commit { lsn: Lsn(lsn), ..Commit::default() });
        }
        chunk
    }

    fn receive(receiver: &ChunkReceiver) -> Option<usize> {
        let mut select = Select::new();
        receiver.select(&mut select);
        receiver.complete(select.select()).map(|chunk| chunk.events().count())
    }

    #[test]
    fn what_is_too_much_waits_until_there_is_room() {
        let (sender, receiver) = chunk_channel(chunk(3).size());
        thread::scope(|scope| {
            scope.spawn(move || {
                for events in [2, 2, 9, 1] {
                    assert!(sender.send(chunk(events)).is_ok());
                    let level = sender.gauge.lock().bytes;
                    assert!(level <= sender.gauge.capacity.max(chunk(events).size()));
                }
            });
            for events in [2, 2, 9, 1] {
                assert_eq!(receive(&receiver), Some(events));
            }
            assert_eq!(receive(&receiver), None);
        });
    }

    #[test]
    fn a_sender_that_waits_hears_that_the_receiver_is_gone() {
        let (sender, receiver) = chunk_channel(1);
        assert!(sender.send(chunk(1)).is_ok());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| sender.send(chunk(1)));
            drop(receiver);
            assert!(matches!(waiting.join(), Ok(Err(Error::Stopped))));
        });
    }
}

//! Wakes a thread that polls descriptors, once something waits for it in a channel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

use crate::error::{Error, Result};

/// A descriptor that can be read from a ring on until it is heard. Clones are the same bell.
///
/// Whoever sends something rings after that, and whoever is woken hears the bell before it looks into the
/// channels: nothing stays there unseen.
#[derive(Clone, Debug)]
pub(crate) struct Bell(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    descriptor: OwnedFd,
    /// Whether what can wait wakes nobody.
    muted: AtomicBool,
}

impl Bell {
    /// A bell that nobody has rung.
    ///
    /// # Errors
    /// [`Error::System`] if the system refuses a descriptor.
    pub(super) fn new() -> Result<Self> {
        match eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
            Ok(descriptor) => {
                Ok(Self(Arc::new(Counter { descriptor, muted: AtomicBool::new(false) })))
            }
            Err(error) => {
                let source = io::Error::from(error);
                Err(Error::System { doing: "making an eventfd".to_owned(), source })
            }
        }
    }

    /// Wakes the thread.
    pub(crate) fn ring(&self) {
        // The one failure is a counter that has no room: it rings already.
        let _ = rustix::io::write(&self.0.descriptor, &1_u64.to_ne_bytes());
    }

    /// Wakes the thread, unless the bell is muted: for what can wait.
    pub(super) fn ring_unless_muted(&self) {
        // What was sent before is seen by whoever unmutes the bell after this.
        fence(Ordering::SeqCst);
        if !self.0.muted.load(Ordering::Relaxed) {
            self.ring();
        }
    }

    /// Mutes the bell, or unmutes it. After that the thread looks once more for what can wait.
    pub(super) fn mute(&self, muted: bool) {
        self.0.muted.store(muted, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Is silent until the next ring.
    pub(super) fn hear(&self) {
        // The one failure is that nobody has rung.
        let _ = rustix::io::read(&self.0.descriptor, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }
}

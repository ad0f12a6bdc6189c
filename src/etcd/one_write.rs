//! A connection on which a request leaves in one write.
//!
//! ureq writes the header of a request and then its body, for which the server would wake up
//! twice.

use std::mem::take;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

/// How much is held at most, in bytes: what is longer leaves in pieces of this size.
const HELD: usize = 256 << 10;
/// The size of the buffer that answers come through, in bytes.
const INPUT_BUFFER: usize = 16 << 10;

/// A connection around another, to which it gives what was written when an answer is waited for.
#[derive(Debug)]
pub(super) struct OneWrite {
    inner: Box<dyn Transport>,
    buffers: LazyBuffers,
    held: Vec<u8>,
}

impl OneWrite {
    pub(super) fn new(inner: Box<dyn Transport>) -> Self {
        Self { inner, buffers: LazyBuffers::new(INPUT_BUFFER, HELD), held: Vec::new() }
    }

    fn flush(&mut self, timeout: NextTimeout) -> Result<(), Error> {
        let held = take(&mut self.held);
        let mut rest = &held[..];
        while !rest.is_empty() {
            let output = self.inner.buffers().output();
            let (piece, later) = rest.split_at(rest.len().min(output.len()));
            output[..piece.len()].copy_from_slice(piece);
            self.inner.transmit_output(piece.len(), timeout)?;
            rest = later;
        }
        self.held = held;
        self.held.clear();
        Ok(())
    }
}

impl Transport for OneWrite {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.held.extend_from_slice(&self.buffers.output()[..amount]);
        if self.held.len() < HELD { Ok(()) } else { self.flush(timeout) }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.flush(timeout)?;
        if !self.inner.maybe_await_input(timeout)? {
            return Ok(false);
        }
        let (input, room) = (self.inner.buffers().input(), self.buffers.input_append_buf());
        let amount = input.len().min(room.len());
        room[..amount].copy_from_slice(&input[..amount]);
        self.inner.buffers().input_consume(amount);
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

//! A connection on which a request leaves in one write.
//!
//! ureq writes the header of a request and then its body, for which the server would wake up
//! twice. It does not tell either whether a connection ended before the first byte of an answer,
//! nor what a server that does not speak HTTP/1.1 says.

use std::fmt;
use std::io::{self, ErrorKind};
use std::mem::take;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

/// The least room in the output buffer, in bytes, so that a request's header fits. With less left, what is
/// held leaves.
const LEAST_ROOM: usize = 16 << 10;
/// The size of the buffer that answers come through, in bytes.
const INPUT_BUFFER: usize = 16 << 10;

/// A connection around another, in whose output buffer it keeps what was written until an answer is waited
/// for, or the buffer is full.
#[derive(Debug)]
pub(super) struct OneWrite {
    inner: Box<dyn Transport>,
    /// How much is held, in bytes.
    held: usize,
    /// What came and was not consumed yet. Its output buffer is not used.
    came: LazyBuffers,
    /// Whether anything has come since the last request left.
    answered: bool,
    /// Whether anything has ever come.
    greeted: bool,
}

/// What is wrong with an answer before it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// The connection ended without a byte of it.
    Nothing,
    /// It begins as HTTP/2 does: the server speaks gRPC, and nothing else.
    Http2,
}

impl OneWrite {
    pub(super) fn new(inner: Box<dyn Transport>) -> Self {
        let came = LazyBuffers::new(INPUT_BUFFER, 1);
        Self { inner, held: 0, came, answered: false, greeted: false }
    }

    fn flush(&mut self, timeout: NextTimeout) -> Result<(), Error> {
        if self.held > 0 {
            self.answered = false;
            self.inner.transmit_output(take(&mut self.held), timeout)?;
        }
        Ok(())
    }
}

impl Transport for OneWrite {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.held += amount;
        if self.output().len() < LEAST_ROOM { self.flush(timeout) } else { Ok(()) }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.flush(timeout)?;
        match self.inner.maybe_await_input(timeout) {
            Ok(true) => {}
            Ok(false) if self.answered => return Ok(false),
            Ok(false) => return Err(Misfit::Nothing.into()),
            Err(Error::Io(error)) if is_reset(&error) && !self.answered => {
                return Err(Misfit::Nothing.into());
            }
            Err(error) => return Err(error),
        }
        self.answered = true;
        if !self.greeted && begins_with_settings(self.inner.buffers().input()) {
            return Err(Misfit::Http2.into());
        }
        self.greeted = true;
        let (input, room) = (self.inner.buffers().input(), self.came.input_append_buf());
        let amount = input.len().min(room.len());
        room[..amount].copy_from_slice(&input[..amount]);
        self.inner.buffers().input_consume(amount);
        self.came.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl Buffers for OneWrite {
    fn output(&mut self) -> &mut [u8] {
        &mut self.inner.buffers().output()[self.held..]
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        (self.came.input_append_buf(), &mut self.inner.buffers().output()[self.held..])
    }

    fn input(&self) -> &[u8] {
        self.came.input()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.came.input_append_buf()
    }

    fn input_appended(&mut self, amount: usize) {
        self.came.input_appended(amount);
    }

    fn input_consume(&mut self, amount: usize) {
        self.came.input_consume(amount);
    }

    fn can_use_input(&self) -> bool {
        self.came.can_use_input()
    }
}

impl Misfit {
    /// The misfit that an error is about.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<Misfit> for Error {
    fn from(misfit: Misfit) -> Self {
        Self::Io(io::Error::new(ErrorKind::InvalidData, misfit))
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "the server closed the connection without an answer",
            Self::Http2 => "the server speaks HTTP/2 alone",
        })
    }
}

impl std::error::Error for Misfit {}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Whether bytes begin with a SETTINGS frame (RFC 9113, 4.1 and 6.5), which is what an HTTP/2
/// server sends first, whatever it is asked.
fn begins_with_settings(bytes: &[u8]) -> bool {
    match bytes.first_chunk::<9>() {
        // Length, type 4, no flags, stream 0.
        Some([0, high, low, 4, 0, 0, 0, 0, 0]) => u16::from_be_bytes([*high, *low]) % 6 == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settings_frame_is_no_answer() {
        for (bytes, expected) in [
            // What a port for gRPC alone of etcd 3.5.16 sends: MAX_FRAME_SIZE.
            (&b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0"[..], true),
            (b"\0\0\0\x04\0\0\0\0\0", true),
            (b"\0\0\x06\x04\0\0\0\0", false),
            (b"\0\0\x05\x04\0\0\0\0\0", false),
            (b"HTTP/1.1 200 OK\r\n", false),
            (b"", false),
        ] {
            assert_eq!(begins_with_settings(bytes), expected, "{bytes:?}");
        }
    }
}

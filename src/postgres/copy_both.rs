//! The streaming phase: frames of write-ahead log in, standby statuses out (manual, "Streaming
//! Replication Protocol", START_REPLICATION).

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::debug;

use super::message::{self, MessageReader, take};
use super::stream::Stream;
use super::wait::Wait;
use crate::error::{Error, Result, ServerAnswer};
use crate::lsn::Lsn;
use crate::sqlstate;
use crate::stop::Stop;

/// What the server sends in CopyData. Times are in microseconds since 2000-01-01 00:00 UTC, by
/// the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// One message of the output plugin.
    XlogData {
        /// Its position in the write-ahead log; 0 for one that only prepares the next message,
        /// such as Relation.
        wal_start: Lsn,
        /// The same position as `wal_start`: a logical walsender does not know the log's end.
        wal_end: Lsn,
        /// When it was sent.
        sent_at: i64,
        /// The message, in the format of `pgoutput`.
        message: &'a [u8],
    },
    /// A sign of life.
    Keepalive {
        /// Up to where the server has decoded and sent.
        wal_end: Lsn,
        /// When it was sent.
        sent_at: i64,
        /// Whether a status must follow at once; else the server takes the connection for dead.
        reply_requested: bool,
    },
}

/// The receiving half of a stream.
#[derive(Debug)]
pub struct FrameReader {
    messages: MessageReader,
    doing: String,
}

/// The sending half of a stream, for another thread than the receiving one.
#[derive(Debug)]
pub struct StatusWriter {
    stream: Stream,
}

impl FrameReader {
    pub(super) fn new(mut messages: MessageReader, doing: String) -> Self {
        messages.begin_streaming();
        Self { messages, doing }
    }

    /// The next frame, however long it takes to come; `None` once a stop has been requested.
    /// The frames that have arrived come before the stop is looked at.
    ///
    /// # Errors
    /// As [`Self::arrived`] and [`Self::read`].
    pub fn next(&mut self, stop: &Stop) -> Result<Option<Frame<'_>>> {
        while !self.advance()? {
            let wait = Wait { doing: &self.doing, stop: Some(stop), deadline: None };
            match self.messages.fill(&wait) {
                Ok(_) => {}
                Err(Error::Stopped) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        self.frame().map(Some)
    }

    /// The next frame, if it has arrived whole.
    ///
    /// # Errors
    /// [`Error::PostgresServer`] if the server ends the stream with an error (57P01 when it shuts
    /// down), [`Error::PostgresIo`] of kind `UnexpectedEof` when it ends it without one;
    /// [`Error::RedumpNeeded`] if the publication was missing when a change was made.
    pub fn arrived(&mut self) -> Result<Option<Frame<'_>>> {
        match self.advance()? {
            true => self.frame().map(Some),
            false => Ok(None),
        }
    }

    /// Goes on to the next CopyData, if it has arrived whole.
    fn advance(&mut self) -> Result<bool> {
        let wait = Wait { doing: &self.doing, stop: None, deadline: None };
        loop {
            match self.messages.arrived(&wait) {
                Ok(None) => return Ok(false),
                Ok(Some(message::COPY_DATA)) => return Ok(true),
                Ok(Some(message::NOTICE_RESPONSE)) => heed(&self.messages.answer())?,
                Ok(Some(message::PARAMETER_STATUS)) => {}
                Ok(Some(message::COPY_DONE | message::COMMAND_COMPLETE)) => {
                    let text = "the server ended the stream";
                    return Err(wait.io_error(io::Error::new(ErrorKind::UnexpectedEof, text)));
                }
                Ok(Some(tag)) => return Err(wait.unexpected(tag)),
                Err(Error::PostgresServer { answer, .. })
                    if answer.code == sqlstate::UNDEFINED_OBJECT =>
                {
                    return Err(unpublished(&answer));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The frame in the CopyData that [`Self::advance`] went to.
    fn frame(&self) -> Result<Frame<'_>> {
        Frame::parse(self.messages.body()).ok_or_else(|| {
            let wait = Wait { doing: &self.doing, stop: None, deadline: None };
            wait.protocol_error("a malformed frame")
        })
    }

    /// Reads once what the server has sent, and says whether there may be more. It waits, unless the socket
    /// can be read or the reader [holds bytes](Self::holds_bytes).
    ///
    /// # Errors
    /// [`Error::PostgresIo`], of kind `UnexpectedEof` when the server has closed the connection.
    pub fn read(&mut self) -> Result<bool> {
        self.messages.fill(&Wait { doing: &self.doing, stop: None, deadline: None })
    }

    /// Whether a read may have something though the socket has not: TLS decrypts whole records.
    #[must_use]
    pub fn holds_bytes(&self) -> bool {
        self.messages.stream.holds_bytes()
    }

    /// Reads to the end of the stream, for at most `timeout`, so that the server's last word is
    /// heard. [`StatusWriter::finish`] comes before.
    ///
    /// # Errors
    /// [`Error::PostgresServer`] if the server ends the stream with one. A connection that ends or
    /// stays silent is no error here.
    pub fn drain(mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now().checked_add(timeout);
        let wait = Wait { doing: &self.doing, stop: None, deadline };
        loop {
            match self.messages.advance(&wait) {
                Ok(message::READY_FOR_QUERY) | Err(Error::PostgresIo { .. }) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Logs a notice, unless it says that changes are left out.
fn heed(notice: &ServerAnswer) -> Result<()> {
    if notice.severity == "WARNING" && notice.code == sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE {
        return Err(unpublished(notice));
    }
    debug!("PostgreSQL: {notice}");
    Ok(())
}

fn unpublished(answer: &ServerAnswer) -> Error {
    Error::RedumpNeeded(format!("the stream has not every change: {answer}"))
}

/// What can be read once the server has sent something.
impl AsFd for FrameReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.messages.stream.as_fd()
    }
}

impl StatusWriter {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream }
    }

    /// Tells the server that everything before `received` has arrived, and that it may forget
    /// what comes before `flushed`. With `reply_requested` it answers with a keepalive.
    ///
    /// # Errors
    /// [`Error::PostgresIo`]; of kind `TimedOut` if the server reads nothing for ten seconds.
    pub fn send_status(
        &mut self,
        received: Lsn,
        flushed: Lsn,
        reply_requested: bool,
    ) -> Result<()> {
        let status = status(received, flushed, postgres_clock(), reply_requested);
        self.send(&status, "sending a standby status")
    }

    /// Tells the server that no status follows, so that it ends the stream.
    ///
    /// # Errors
    /// As [`Self::send_status`].
    pub fn finish(&mut self) -> Result<()> {
        self.send(&[message::COPY_DONE, 0, 0, 0, 4], "ending the stream")
    }

    /// Ends the connection, so that a [`FrameReader::next`] that waits in another thread returns
    /// with an error.
    ///
    /// # Errors
    /// [`Error::PostgresIo`] if it has ended already.
    pub fn shutdown(&self) -> Result<()> {
        self.stream.shutdown().map_err(|source| failed("closing the connection", source))
    }

    fn send(&mut self, message: &[u8], doing: &str) -> Result<()> {
        self.stream.write_all(message).map_err(|source| failed(doing, source))
    }
}

impl<'a> Frame<'a> {
    /// Reads the body of a CopyData; `None` if it is no frame.
    fn parse(mut body: &'a [u8]) -> Option<Self> {
        let [kind] = take(&mut body)?;
        match kind {
            b'w' => Some(Self::XlogData {
                wal_start: Lsn(u64::from_be_bytes(take(&mut body)?)),
                wal_end: Lsn(u64::from_be_bytes(take(&mut body)?)),
                sent_at: i64::from_be_bytes(take(&mut body)?),
                message: body,
            }),
            b'k' => {
                let wal_end = Lsn(u64::from_be_bytes(take(&mut body)?));
                let sent_at = i64::from_be_bytes(take(&mut body)?);
                let [reply] = take(&mut body)?;
                body.is_empty().then_some(Self::Keepalive {
                    wal_end,
                    sent_at,
                    reply_requested: reply != 0,
                })
            }
            _ => None,
        }
    }
}

/// The length of a standby status with its header.
const STATUS_BYTES: usize = 39;

/// A standby status in CopyData. `flushed` is both the flushed and the applied position: etcd
/// flushes what it acknowledges.
fn status(received: Lsn, flushed: Lsn, clock: i64, reply_requested: bool) -> [u8; STATUS_BYTES] {
    let mut status = [0; STATUS_BYTES];
    status[0] = message::COPY_DATA;
    status[1..5].copy_from_slice(&(STATUS_BYTES as u32 - 1).to_be_bytes());
    status[5] = b'r';
    status[6..14].copy_from_slice(&received.0.to_be_bytes());
    status[14..22].copy_from_slice(&flushed.0.to_be_bytes());
    status[22..30].copy_from_slice(&flushed.0.to_be_bytes());
    status[30..38].copy_from_slice(&clock.to_be_bytes());
    status[38] = u8::from(reply_requested);
    status
}

/// The time in microseconds since 2000-01-01 00:00 UTC. It only informs: a clock that stands
/// before 1970 counts as there.
fn postgres_clock() -> i64 {
    const EPOCH_SECONDS: i64 = 946_684_800;
    let since_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_unix.as_micros()).unwrap_or(i64::MAX) - EPOCH_SECONDS * 1_000_000
}

fn failed(doing: &str, source: io::Error) -> Error {
    Error::PostgresIo { doing: doing.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_read_field_by_field() {
        let body =
            [&b"w"[..], &[0, 0, 0, 1, 0, 0, 0, 2], &[0; 7], &[3], &[0xFF; 8], b"row"].concat();
        let frame = Frame::XlogData {
            wal_start: Lsn(0x1_0000_0002),
            wal_end: Lsn(3),
            sent_at: -1,
            message: b"row",
        };
        assert_eq!(Frame::parse(&body), Some(frame));
        let body = [&b"k"[..], &[0; 7], &[9], &[0; 7], &[5], &[1]].concat();
        let frame = Frame::Keepalive { wal_end: Lsn(9), sent_at: 5, reply_requested: true };
        assert_eq!(Frame::parse(&body), Some(frame));
        assert_eq!(Frame::parse(&body[..17]), None, "cut short");
        assert_eq!(Frame::parse(&[&body[..], b"x"].concat()), None, "bytes left over");
    }

    #[test]
    fn a_status_has_each_position_in_its_place() {
        let status = status(Lsn(7), Lsn(5), 3, true);
        let fields =
            [&[0; 7][..], &[7], &[0; 7], &[5], &[0; 7], &[5], &[0; 7], &[3], &[1]].concat();
        assert_eq!(status[..], [&b"d\0\0\0\x26r"[..], &fields].concat());
    }

    #[test]
    fn a_server_that_reads_nothing_ends_a_write() {
        let (client, _peer) = UnixStream::pair().expect("a pair");
        client.set_write_timeout(Some(Duration::from_millis(100))).expect("a time-out");
        let mut writer = StatusWriter::new(Stream::Unix(client));
        let error = loop {
            if let Err(error) = writer.send_status(Lsn(2), Lsn(1), false) {
                break error;
            }
        };
        match error {
            Error::PostgresIo { source, .. } => assert_eq!(source.kind(), ErrorKind::TimedOut),
            other => panic!("{other}"),
        }
    }

    proptest! {
        #[test]
        fn no_frame_panics(body: Vec<u8>) {
            let _ = Frame::parse(&body);
        }
    }
}

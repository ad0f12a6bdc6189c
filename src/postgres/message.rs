//! The server's messages, cut out of its bytes (manual, "Message Formats").

use std::io::{self, ErrorKind, Read};

use super::stream::Stream;
use super::wait::Wait;
use crate::error::{Result, ServerAnswer};

pub(super) const AUTHENTICATION: u8 = b'R';
pub(super) const BACKEND_KEY_DATA: u8 = b'K';
pub(super) const COMMAND_COMPLETE: u8 = b'C';
pub(super) const COPY_BOTH_RESPONSE: u8 = b'W';
pub(super) const COPY_DATA: u8 = b'd';
pub(super) const COPY_DONE: u8 = b'c';
pub(super) const DATA_ROW: u8 = b'D';
pub(super) const EMPTY_QUERY_RESPONSE: u8 = b'I';
pub(super) const NOTICE_RESPONSE: u8 = b'N';
pub(super) const PARAMETER_STATUS: u8 = b'S';
pub(super) const READY_FOR_QUERY: u8 = b'Z';
pub(super) const ROW_DESCRIPTION: u8 = b'T';
const ERROR_RESPONSE: u8 = b'E';

/// A tag, then a length that counts itself and the body, not the tag.
const HEADER_BYTES: usize = 5;

/// The longest message other than CopyData while streaming: no row, error or request for
/// authentication that pg2etcd asks for comes near.
const MESSAGE_LIMIT: usize = 1 << 20;

/// The longest CopyData while streaming: PostgreSQL makes none above 1 GiB, the rest is slack.
const STREAMED_LIMIT: usize = (1 << 30) + (1 << 16);

/// The buffer's size, unless a longer message needs more.
const BUFFER_BYTES: usize = 256 << 10;

/// The buffer is compacted when there is less room than this behind what has arrived, so that one
/// read takes many messages.
const READ_BYTES: usize = 64 << 10;

/// The size up to which a grown buffer is kept: rows of a megabyte may come one after the other.
const KEPT_BYTES: usize = 4 << 20;

/// Reads messages into one reused buffer and lends their bodies out of it.
#[derive(Debug)]
pub(super) struct MessageReader {
    pub(super) stream: Stream,
    buffer: Vec<u8>,
    /// Where the body of the current message begins; it ends at `next`.
    body: usize,
    /// Where the next message begins.
    next: usize,
    /// Where the bytes that have arrived end.
    end: usize,
    /// The longest CopyData.
    copy_data_limit: usize,
}

impl MessageReader {
    pub(super) fn new(stream: Stream) -> Self {
        let buffer = vec![0; BUFFER_BYTES];
        Self { stream, buffer, body: 0, next: 0, end: 0, copy_data_limit: MESSAGE_LIMIT }
    }

    /// From here on CopyData may be as long as PostgreSQL makes it.
    pub(super) fn begin_streaming(&mut self) {
        self.copy_data_limit = STREAMED_LIMIT;
    }

    /// Goes on to the next message, which is waited for, and returns its tag.
    ///
    /// # Errors
    /// As [`Self::arrived`] and [`Self::fill`].
    pub(super) fn advance(&mut self, wait: &Wait<'_>) -> Result<u8> {
        loop {
            match self.arrived(wait)? {
                Some(tag) => return Ok(tag),
                None => self.fill(wait)?,
            };
        }
    }

    /// Goes on to the next message, if it has arrived whole, and returns its tag.
    ///
    /// # Errors
    /// An ErrorResponse is an error, and so is a message that is too long.
    pub(super) fn arrived(&mut self, wait: &Wait<'_>) -> Result<Option<u8>> {
        let announced = self.announced().map_err(|problem| wait.protocol_error(problem))?;
        let Some(length) = announced.filter(|&length| length <= self.end - self.next) else {
            return Ok(None);
        };
        let tag = self.buffer[self.next];
        self.body = self.next + HEADER_BYTES;
        self.next += length;
        match tag {
            ERROR_RESPONSE => Err(wait.server_error(self.answer())),
            _ => Ok(Some(tag)),
        }
    }

    /// Waits for bytes and reads them, once; says whether there may be more at once.
    ///
    /// # Errors
    /// The connection's end is an error, and so are the deadline and the stop of `wait`.
    pub(super) fn fill(&mut self, wait: &Wait<'_>) -> Result<bool> {
        let announced = self.announced().map_err(|problem| wait.protocol_error(problem))?;
        self.make_room(announced.unwrap_or(HEADER_BYTES));
        if !self.stream.holds_bytes() {
            wait.until_readable(&self.stream)?;
        }
        let room = &mut self.buffer[self.end..];
        let size = room.len();
        match self.stream.read(room) {
            Ok(0) => {
                let text = "the server closed the connection";
                Err(wait.io_error(io::Error::new(ErrorKind::UnexpectedEof, text)))
            }
            Ok(count) => {
                self.end += count;
                Ok(count == size || self.stream.holds_bytes())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(wait.io_error(error)),
        }
    }

    /// The body of the message that [`Self::advance`] went to.
    pub(super) fn body(&self) -> &[u8] {
        &self.buffer[self.body..self.next]
    }

    /// The fields of the message, which is an ErrorResponse or a NoticeResponse.
    pub(super) fn answer(&self) -> ServerAnswer {
        server_answer(self.body())
    }

    /// The length of the next message with its header, once the header has arrived.
    fn announced(&self) -> std::result::Result<Option<usize>, String> {
        let Some(([tag, length @ ..], _)) =
            self.buffer[self.next..self.end].split_first_chunk::<HEADER_BYTES>()
        else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        let limit = if *tag == COPY_DATA { self.copy_data_limit } else { MESSAGE_LIMIT };
        if (HEADER_BYTES - 1..=limit).contains(&length) {
            Ok(Some(length + 1))
        } else {
            let tag = tag.escape_ascii();
            Err(format!("a message '{tag}' of {length} bytes, where 4 to {limit} are possible"))
        }
    }

    /// Moves what has arrived to the front if it stands too far back, and grows the buffer if an
    /// unfinished message of `length` bytes fills it: at most twofold, so that memory follows the
    /// bytes that have really arrived.
    fn make_room(&mut self, length: usize) {
        if self.next == self.end || self.buffer.len() - self.end < READ_BYTES {
            self.buffer.copy_within(self.next..self.end, 0);
            self.end -= self.next;
            (self.body, self.next) = (0, 0);
        }
        if self.buffer.len() > KEPT_BYTES && self.end < BUFFER_BYTES {
            self.buffer.truncate(BUFFER_BYTES);
            self.buffer.shrink_to_fit();
        }
        if self.end == self.buffer.len() {
            let size = length.min(self.buffer.len() * 2);
            self.buffer.reserve_exact(size - self.end);
            self.buffer.resize(size, 0);
        }
    }
}

/// The fields of an ErrorResponse or NoticeResponse (manual, "Error and Notice Message Fields").
///
/// A text that is not UTF-8 is made so: before the session begins, a server may use any encoding.
fn server_answer(body: &[u8]) -> ServerAnswer {
    let mut answer = ServerAnswer::default();
    for field in body.split(|byte| *byte == 0) {
        let Some((kind, text)) = field.split_first() else { continue };
        let text = String::from_utf8_lossy(text).into_owned();
        match kind {
            b'S' if answer.severity.is_empty() => answer.severity = text,
            // The severity that is not translated, which comes after 'S'.
            b'V' => answer.severity = text,
            b'C' => answer.code = text,
            b'M' => answer.message = text,
            b'D' => answer.detail = Some(text),
            b'H' => answer.hint = Some(text),
            b'W' => answer.context = Some(text),
            _ => {}
        }
    }
    answer
}

/// Takes the first `N` bytes off the front of `bytes`.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;
    use crate::error::Error;

    const WAIT: Wait<'_> = Wait { doing: "reading", stop: None, deadline: None };

    fn pair() -> (MessageReader, UnixStream) {
        let (client, peer) = UnixStream::pair().expect("a pair");
        (MessageReader::new(Stream::Unix(client)), peer)
    }

    #[test]
    fn memory_follows_what_arrives_not_what_is_announced() {
        let (mut reader, mut peer) = pair();
        reader.begin_streaming();
        peer.write_all(&[&b"d\x40\0\0\0"[..], &[0; 1000]].concat()).expect("written");
        drop(peer);
        assert!(matches!(reader.advance(&WAIT), Err(Error::PostgresIo { .. })));
        assert_eq!(reader.buffer.capacity(), BUFFER_BYTES);
    }

    #[test]
    fn a_grown_buffer_shrinks_after_the_message() {
        let (mut reader, mut peer) = pair();
        reader.begin_streaming();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                peer.write_all(b"d\0\x80\0\0").expect("written");
                peer.write_all(&vec![0; (8 << 20) - 4]).expect("written");
                peer.write_all(b"c\0\0\0\x04").expect("written");
            });
            assert_eq!(reader.advance(&WAIT).expect("a message"), COPY_DATA);
            assert_eq!(reader.body().len(), (8 << 20) - 4);
            assert_eq!(reader.buffer.capacity(), (8 << 20) + 1, "no more than the message takes");
            assert_eq!(reader.advance(&WAIT).expect("a message"), COPY_DONE);
            assert!(reader.buffer.capacity() <= KEPT_BYTES);
        });
    }

    #[test]
    fn an_answer_has_its_fields() {
        let answer =
            server_answer(b"SFEHLER\0VERROR\0C42P01\0Mno table\0Ddetail\0Hhint\0P15\0Wcontext\0\0");
        let expected = ServerAnswer {
            severity: "ERROR".to_owned(),
            code: "42P01".to_owned(),
            message: "no table".to_owned(),
            detail: Some("detail".to_owned()),
            hint: Some("hint".to_owned()),
            context: Some("context".to_owned()),
        };
        assert_eq!(answer, expected);
        assert_eq!(server_answer(b"SFATAL\0\0").severity, "FATAL", "before 9.6 there is no V");
    }

    proptest! {
        #[test]
        fn no_answer_panics(body: Vec<u8>) {
            let _ = server_answer(&body);
        }
    }
}

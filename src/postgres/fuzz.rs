//! The fuzz target of what a walsender sends.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use super::copy_both::{Frame, FrameReader};
use super::message::MessageReader;
use super::stream::Stream;
use crate::error::Error;
use crate::postgres::pgoutput::decode;
use crate::stop::Stop;

/// The most of an input that is used, in bytes: a socket's buffer takes it whole.
const MOST: usize = 64 << 10;

/// The bytes of a server in the streaming phase: frames come out that lie in them, and then the
/// error that ends the stream.
pub fn stream(input: &[u8]) {
    let input = &input[..input.len().min(MOST)];
    let (Ok((client, mut server)), Ok(stop)) = (UnixStream::pair(), Stop::new()) else { return };
    if server.write_all(input).and_then(|()| server.shutdown(Shutdown::Both)).is_err() {
        return;
    }
    let messages = MessageReader::new(Stream::Unix(client));
    let mut frames = FrameReader::new(messages, "fuzzing".to_owned());
    let mut lent = 0;
    let error = loop {
        match frames.next(&stop) {
            Ok(Some(Frame::XlogData { message, .. })) => {
                lent += message.len();
                let _ = decode(message);
            }
            Ok(Some(Frame::Keepalive { .. })) => {}
            Ok(None) => unreachable!("nobody asks for a stop"),
            Err(error) => break error,
        }
    };
    assert!(lent <= input.len());
    match error {
        Error::PostgresIo { source, .. } => assert_eq!(source.kind(), ErrorKind::UnexpectedEof),
        Error::PostgresProtocol { .. } | Error::PostgresServer { .. } | Error::RedumpNeeded(_) => {}
        other => unreachable!("{other}"),
    }
}

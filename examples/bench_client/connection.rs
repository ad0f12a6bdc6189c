//! One kept-alive connection, with as little HTTP as etcd's gateway needs.

use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::Result;

/// The path of what a request asks for.
pub(crate) const TXN: &str = "/v3/kv/txn";
pub(crate) const RANGE: &str = "/v3/kv/range";
pub(crate) const WATCH: &str = "/v3/watch";

pub(crate) struct Connection {
    socket: TcpStream,
    reply: Vec<u8>,
}

/// A request with its header, as it goes over the wire.
pub(crate) fn request(path: &str, body: &[u8]) -> Vec<u8> {
    let header = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        endpoint(),
        body.len()
    );
    [header.as_bytes(), body].concat()
}

fn endpoint() -> String {
    env::var("ETCDCTL_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:2379".to_owned())
}

/// Connects, to write and read without a delay.
pub(crate) fn connect() -> Result<TcpStream> {
    let socket = TcpStream::connect(endpoint())?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

impl Connection {
    pub(crate) fn open() -> Result<Self> {
        Ok(Self { socket: connect()?, reply: vec![0; 256 << 10] })
    }

    /// Sends a request in one write, and returns the reply with its header.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.socket.write_all(request)?;
        let mut length = 0;
        loop {
            match self.socket.read(&mut self.reply[length..])? {
                0 => return Err("the server closed the connection".into()),
                read => length += read,
            }
            if is_complete(&self.reply[..length]) {
                break;
            }
            if length == self.reply.len() {
                self.reply.resize(length * 2, 0);
            }
        }
        let reply = &self.reply[..length];
        if !reply.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(reply).into());
        }
        Ok(reply)
    }
}

/// Whether the reply is whole. Long ones come in chunks, of which the last is empty.
fn is_complete(reply: &[u8]) -> bool {
    let Some(header) = memchr::memmem::find(reply, b"\r\n\r\n") else { return false };
    match number_after(&reply[..header], b"\r\nContent-Length: ") {
        Some(length) => reply.len() as u64 >= header as u64 + 4 + length,
        None => reply.ends_with(b"\r\n0\r\n\r\n"),
    }
}

/// The number that stands behind `name`.
pub(crate) fn number_after(text: &[u8], name: &[u8]) -> Option<u64> {
    let digits = &text[memchr::memmem::find(text, name)? + name.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

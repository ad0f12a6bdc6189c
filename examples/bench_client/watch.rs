//! Watching.

use std::io::{BufRead, BufReader, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::connection::{Connection, RANGE, WATCH, connect, request};
use crate::{Result, now};

/// Prints when each of `count` events came.
pub(crate) fn watch(prefix: &str, count: usize, text: &str) -> Result<()> {
    let body = format!(r#"{{"create_request":{}}}"#, range(prefix, ""));
    let mut socket = connect()?;
    socket.write_all(&request(WATCH, body.as_bytes()))?;
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let mut lines = BufReader::new(Chunked { reader, left: 0 });
    lines.read_line(&mut line)?;
    println!("ready");
    let mut seen = Vec::new();
    while seen.len() < count {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Err("the server ended the watch".into());
        }
        let at = now();
        for event in line.split(r#""kv":{"#).skip(1) {
            let key = bytes_after(event, r#""key":""#)?;
            if text.is_empty() || bytes_after(event, r#""value":""#)?.contains(text) {
                seen.push((key, at));
            }
        }
    }
    for (key, at) in seen {
        println!("{key} {at:.6}");
    }
    Ok(())
}

/// Counts the keys that were changed after a revision.
pub(crate) fn count(prefix: &str, revision: u64) -> Result<()> {
    let more = format!(r#","keys_only":true,"min_mod_revision":"{}""#, revision + 1);
    let body = range(prefix, &more);
    let mut connection = Connection::open()?;
    let reply = connection.ask(&request(RANGE, body.as_bytes()))?;
    let count = memchr::memmem::find_iter(reply, r#""key":"#).count();
    println!(r#"{{"keys":{count}}}"#);
    Ok(())
}

/// The keys that begin with `prefix`, as the gateway wants it said.
fn range(prefix: &str, more: &str) -> String {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    let (key, end) = (STANDARD.encode(prefix), STANDARD.encode(end));
    format!(r#"{{"key":"{key}","range_end":"{end}"{more}}}"#)
}

fn bytes_after(event: &str, name: &str) -> Result<String> {
    let text = event.split(name).nth(1).and_then(|rest| rest.split('"').next());
    Ok(String::from_utf8(STANDARD.decode(text.unwrap_or_default())?)?)
}

/// What the chunks of a reply carry.
struct Chunked<R> {
    reader: R,
    /// What is left of the current chunk, in bytes.
    left: usize,
}

impl<R: BufRead> Read for Chunked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.left == 0 {
            let mut size = String::new();
            if self.reader.read_line(&mut size)? == 0 {
                return Ok(0);
            }
            // The line that ends the chunk before has no size.
            self.left = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        }
        let length = buffer.len().min(self.left);
        let read = self.reader.read(&mut buffer[..length])?;
        self.left -= read;
        Ok(read)
    }
}

//! A replication connection: from connecting to the point where it takes commands.

use std::io::Write;
use std::time::Instant;

use bytes::BytesMut;
use log::debug;
use postgres_protocol::message::frontend;

use super::auth::{Authentication, with_cure};
use super::message::{self, MessageReader, take};
use super::options::{HostPort, Options};
use super::stream::Stream;
use super::tls::{self, Encryption};
use super::wait::Wait;
use crate::error::{Error, Result};
use crate::stop::Stop;

/// The settings of every session, dump and stream alike, whatever the server, the database and the
/// role have: so that both print a value the same way, and that no session ends while it is needed.
pub const SESSION_SETTINGS: &[(&str, &str)] = &[
    // What values look like, those of `regclass` and the like too.
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "3"),
    ("lc_monetary", "C"),
    ("search_path", "pg_catalog"),
    ("client_encoding", "UTF8"),
    ("quote_all_identifiers", "off"),
    // How the texts of values, of row filters and of statements are read.
    ("array_nulls", "on"),
    ("xmloption", "content"),
    ("transform_null_equals", "off"),
    ("standard_conforming_strings", "on"),
    // A dump may wait for etcd, and for locks, as long as it takes.
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    // A session outlives a refusal.
    ("exit_on_error", "off"),
    // Publications are made, and the catalog is seen as it is now.
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    // A server whose synchronous standby is this copy would have the publication wait for it.
    ("synchronous_commit", "local"),
];

/// More of them, each with the first version that has it: a server refuses a startup message with a
/// setting that it does not have.
pub(super) const LATER_SETTINGS: [(u32, &str); 2] =
    [(140_000, "SET idle_session_timeout = 0"), (170_000, "SET transaction_timeout = 0")];

/// The encoding of a database that takes any bytes for text.
pub(super) const SQL_ASCII: &str = "SQL_ASCII";

/// Has such a database send text as it is. Otherwise it would refuse to send what is no UTF-8, and
/// one such row would end the stream, again and again.
pub(super) const AS_IT_IS: &str = "SET client_encoding = 'SQL_ASCII'";

/// The settings of this connection alone: a warning says that changes are left out (see
/// [`super::copy_both`]).
const WALSENDER_SETTINGS: &[(&str, &str)] = &[("client_min_messages", "warning")];

/// The most that the rows of one answer may have, in bytes: those of replication commands, and of
/// the few queries beside them, are short.
const RESULT_LIMIT: usize = 4 << 20;

/// A connection to a walsender of one database, which takes replication commands and SQL
/// (manual, "Streaming Replication Protocol").
///
/// Whatever waits on it ends with [`Error::Stopped`] once the stop has been asked for. After any
/// error other than [`Error::PostgresServer`] it is of no more use.
#[derive(Debug)]
pub struct Connection<'a> {
    pub(super) messages: MessageReader,
    stop: &'a Stop,
    server_version_num: u32,
    /// Whether the database says nothing of what its texts are encoded in.
    sql_ascii: bool,
}

impl<'a> Connection<'a> {
    /// Connects to `address` and authenticates.
    ///
    /// # Errors
    /// [`Error::PostgresIo`] if the server cannot be reached or takes longer than
    /// `connect_timeout`; [`Error::PostgresServer`] if it refuses, with a hint at the cure;
    /// [`Error::Requirement`] if it asks for a password and none is known, or for another method
    /// than trust, password, md5 and scram-sha-256; [`Error::Credentials`] if there is no TLS as
    /// the options ask for it, or a file cannot be used; [`Error::Stopped`].
    pub fn connect(options: &Options, address: &HostPort, stop: &'a Stop) -> Result<Self> {
        tls::connect(options, address, |encryption| {
            Self::attempt(options, address, stop, encryption)
        })
    }

    fn attempt(
        options: &Options,
        address: &HostPort,
        stop: &'a Stop,
        encryption: &Encryption,
    ) -> Result<Self> {
        let Options { user, database, .. } = options;
        let doing = format!("connecting to {address} as user {user}, database {database}");
        // A time so long that no clock can say when it ends is no bound.
        let deadline = Instant::now().checked_add(options.connect_timeout);
        let wait = Wait { doing: &doing, stop: Some(stop), deadline };
        let stream = Stream::connect(address, deadline).map_err(|error| wait.io_error(error))?;
        let messages = MessageReader::new(encryption.negotiate(stream, address, &wait)?);
        let mut connection = Self { messages, stop, server_version_num: 0, sql_ascii: false };
        connection.start_up(options, address, &wait).map_err(|error| with_cure(error, options))?;
        Ok(connection)
    }

    /// The server's version as its `server_version_num` has it: 150018 for 15.18.
    #[must_use]
    pub fn server_version_num(&self) -> u32 {
        self.server_version_num
    }

    /// Runs one command or SQL statement and returns the rows of its result, each column as
    /// text, `None` for NULL. `doing` completes the phrase "while", in errors.
    ///
    /// # Errors
    /// [`Error::PostgresServer`] if the server refuses the command; the connection takes more
    /// unless it said FATAL. [`Error::PostgresProtocol`] if the result has more than 4 MiB, too.
    pub fn simple_query(&mut self, doing: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let wait = self.wait(doing);
        self.query(sql, &wait)
    }

    pub(super) fn wait<'w>(&self, doing: &'w str) -> Wait<'w>
    where
        'a: 'w,
    {
        Wait { doing, stop: Some(self.stop), deadline: None }
    }

    pub(super) fn send_query(&mut self, sql: &str, wait: &Wait<'_>) -> Result<()> {
        let mut query = BytesMut::new();
        frontend::query(sql, &mut query).map_err(|error| wait.io_error(error))?;
        self.send(&query, wait)
    }

    /// Goes on to the next message that is not a mere report, and returns its tag.
    pub(super) fn receive(&mut self, wait: &Wait<'_>) -> Result<u8> {
        loop {
            match self.messages.advance(wait)? {
                message::PARAMETER_STATUS => self.note_parameter(wait)?,
                message::NOTICE_RESPONSE => debug!("PostgreSQL: {}", self.messages.answer()),
                tag => return Ok(tag),
            }
        }
    }

    fn query(&mut self, sql: &str, wait: &Wait<'_>) -> Result<Vec<Vec<Option<String>>>> {
        self.send_query(sql, wait)?;
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut refusal = None;
        loop {
            match self.receive(wait) {
                Ok(message::DATA_ROW) => {
                    let body = self.messages.body();
                    bytes += body.len();
                    if bytes > RESULT_LIMIT {
                        return Err(wait.protocol_error("more rows than the command can have"));
                    }
                    rows.push(row(body).ok_or_else(|| wait.protocol_error("a malformed row"))?);
                }
                Ok(
                    message::ROW_DESCRIPTION
                    | message::COMMAND_COMPLETE
                    | message::EMPTY_QUERY_RESPONSE,
                ) => {}
                Ok(message::READY_FOR_QUERY) => return refusal.map_or(Ok(rows), Err),
                Ok(tag) => return Err(wait.unexpected(tag)),
                // ReadyForQuery follows, or the connection's end if it was FATAL.
                Err(error @ Error::PostgresServer { .. }) if refusal.is_none() => {
                    refusal = Some(error);
                }
                Err(error) => return Err(refusal.unwrap_or(error)),
            }
        }
    }

    fn send(&mut self, message: &[u8], wait: &Wait<'_>) -> Result<()> {
        self.messages.stream.write_all(message).map_err(|error| wait.io_error(error))
    }

    fn start_up(&mut self, options: &Options, address: &HostPort, wait: &Wait<'_>) -> Result<()> {
        let identity = [
            ("user", options.user.as_str()),
            ("database", options.database.as_str()),
            ("replication", "database"),
            ("application_name", "pg2etcd"),
        ];
        let mut startup = BytesMut::new();
        let parameters = identity.iter().chain(SESSION_SETTINGS).chain(WALSENDER_SETTINGS);
        frontend::startup_message(parameters.copied(), &mut startup)
            .map_err(|error| wait.io_error(error))?;
        self.send(&startup, wait)?;
        let end_point = self.messages.stream.end_point();
        let mut authentication = Authentication::new(options, address, end_point);
        loop {
            match self.receive(wait)? {
                message::AUTHENTICATION => {
                    let answer = authentication.answer(self.messages.body(), wait)?;
                    self.send(&answer, wait)?;
                }
                message::BACKEND_KEY_DATA => {}
                message::READY_FOR_QUERY if authentication.is_done() => break,
                tag => return Err(wait.unexpected(tag)),
            }
        }
        if self.server_version_num == 0 {
            return Err(wait.protocol_error("the server did not say its version"));
        }
        if self.sql_ascii {
            self.query(AS_IT_IS, wait)?;
        }
        for (since, statement) in LATER_SETTINGS {
            if self.server_version_num >= since {
                self.query(statement, wait)?;
            }
        }
        Ok(())
    }

    fn note_parameter(&mut self, wait: &Wait<'_>) -> Result<()> {
        let body = String::from_utf8_lossy(self.messages.body());
        let mut parts = body.split('\0');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        debug!("PostgreSQL: {name} is {value}");
        if name == "server_encoding" {
            self.sql_ascii = value == SQL_ASCII;
        }
        if name == "server_version" {
            self.server_version_num = version_num(value)
                .ok_or_else(|| wait.protocol_error(format!("server_version is {value}")))?;
        }
        Ok(())
    }
}

/// The columns of a DataRow: a count, then for each its length (-1 is NULL) and its text.
///
/// A text that is not UTF-8 can only be a remark in a timeline's history file, all else comes
/// converted; it is made UTF-8.
fn row(mut body: &[u8]) -> Option<Vec<Option<String>>> {
    let count = u16::from_be_bytes(take(&mut body)?);
    let mut columns = Vec::new();
    for _ in 0..count {
        let length = i32::from_be_bytes(take(&mut body)?);
        columns.push(match usize::try_from(length) {
            Err(_) => None,
            Ok(length) => {
                let (text, rest) = body.split_at_checked(length)?;
                body = rest;
                Some(String::from_utf8_lossy(text).into_owned())
            }
        });
    }
    body.is_empty().then_some(columns)
}

/// The number for a text such as `15.18 (Debian 15.18-0+deb12u1)`, `18beta1` or `9.6.24`.
fn version_num(text: &str) -> Option<u32> {
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let mut numbers = text[..end].split('.').map_while(|number| number.parse::<u32>().ok());
    let major = numbers.next().filter(|major| (1..1000).contains(major))?;
    let mut minor = || numbers.next().unwrap_or(0).min(99);
    // From 10 on a version has two parts, before it had three.
    Some(if major >= 10 {
        major * 10_000 + minor()
    } else {
        major * 10_000 + minor() * 100 + minor()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_numbered_as_the_server_does() {
        for (text, number) in [
            ("15.18 (Debian 15.18-0+deb12u1)", Some(150_018)),
            ("10.23", Some(100_023)),
            ("18beta1", Some(180_000)),
            ("17.2", Some(170_002)),
            ("9.6.24", Some(90_624)),
            ("", None),
            ("devel", None),
            ("0", None),
            ("4294967295.1", None),
        ] {
            assert_eq!(version_num(text), number, "{text}");
        }
    }

    #[test]
    fn a_row_has_texts_and_nulls() {
        let body = b"\0\x03\0\0\0\x02hi\xFF\xFF\xFF\xFF\0\0\0\0";
        assert_eq!(row(body), Some(vec![Some("hi".to_owned()), None, Some(String::new())]));
        assert_eq!(row(&body[..body.len() - 1]), None, "cut short");
        assert_eq!(row(b"\0\0more"), None, "bytes left over");
    }

    proptest! {
        #[test]
        fn no_row_and_no_version_panics(body: Vec<u8>, version: String) {
            let _ = (row(&body), version_num(&version));
        }
    }
}

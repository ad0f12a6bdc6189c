//! Everything that can go wrong, and whether trying again can cure it.

use std::fmt;
use std::io;

use crate::disposition::Disposition;
use crate::etcd;
use crate::lsn::Lsn;
use crate::sqlstate;

/// The result of whatever can fail with an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, where, and what pg2etcd was doing. `doing` completes the phrase "while".
#[derive(Debug)]
pub enum Error {
    /// An option or a setting that cannot be used; the text names file, line and key.
    Setting(String),
    /// What has to hold and does not, each with its cure.
    Requirement(Vec<Unmet>),
    /// A password, a key or a certificate that cannot be used, or that one side does not accept
    /// from the other; the text names the cure.
    Credentials(String),
    /// PostgreSQL could not be reached, or the connection to it broke.
    PostgresIo {
        /// What was being done.
        doing: String,
        /// The cause.
        source: io::Error,
    },
    /// PostgreSQL answered with an error.
    PostgresServer {
        /// What was being done.
        doing: String,
        /// Its answer.
        answer: Box<ServerAnswer>,
    },
    /// PostgreSQL sent bytes that its protocol does not allow here.
    PostgresProtocol {
        /// What was being done.
        doing: String,
        /// What is wrong with them.
        problem: String,
    },
    /// Every PostgreSQL server that answered is in recovery: there is no primary now.
    InRecovery {
        /// The servers asked, `host:port` each.
        servers: String,
    },
    /// The slot is in use by another process, or another daemon is dumping for it.
    SlotInUse {
        /// The slot's name.
        slot: String,
        /// The server process that holds it, if the server says.
        pid: Option<i32>,
    },
    /// What etcd holds cannot be brought up to date from the stream; the text is the reason.
    RedumpNeeded(String),
    /// The server's history is another than the one that etcd has a copy of; the text says how it
    /// was found.
    AnotherHistory(String),
    /// etcd lacks what an update of a row left out.
    RowUnknown {
        /// The row's key before the update.
        key: Vec<u8>,
        /// What is missing.
        reason: String,
    },
    /// etcd could not be reached or refused a request.
    Etcd(etcd::Error),
    /// The position in etcd is not as this process left it: another daemon has taken over.
    Fenced {
        /// The position's key.
        key: String,
    },
    /// The position in etcd is gone, or one that was there before: etcd was emptied, or restored from
    /// an older copy.
    StoreChanged {
        /// The position's key.
        key: String,
        /// The revision at which this daemon put it last.
        revision: i64,
        /// The revision that it has now; `None` if it is gone.
        found: Option<i64>,
    },
    /// The position in etcd cannot be used; it is left as it is.
    Checkpoint {
        /// The position's key.
        key: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A row that no request to etcd can hold.
    OversizedRow {
        /// Its key in etcd.
        key: String,
        /// The size of the request that it would take, in bytes.
        bytes: usize,
        /// The most that one request may have, in bytes.
        limit: usize,
        /// The transaction's commit LSN; `None` in a dump.
        lsn: Option<Lsn>,
    },
    /// A thread or a descriptor that the operating system refused.
    System {
        /// What was being done.
        doing: String,
        /// The cause.
        source: io::Error,
    },
    /// The work was left because a stop was asked for. Not a failure.
    Stopped,
}

impl Error {
    /// What follows from it.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Setting(_)
            | Self::Requirement(_)
            | Self::Checkpoint { .. }
            | Self::OversizedRow { .. } => Disposition::Fatal,
            Self::PostgresIo { .. }
            | Self::PostgresProtocol { .. }
            | Self::InRecovery { .. }
            | Self::SlotInUse { .. }
            | Self::Fenced { .. }
            | Self::StoreChanged { .. }
            | Self::System { .. }
            | Self::Stopped => Disposition::Retry,
            Self::RedumpNeeded(_) | Self::AnotherHistory(_) | Self::RowUnknown { .. } => {
                Disposition::Redump
            }
            Self::Credentials(_) => Disposition::Refused,
            Self::PostgresServer { answer, .. } => answer.disposition(),
            Self::Etcd(error) => error.disposition(),
        }
    }

    /// Whether it is of one table alone, so that those of others can be read: the role may not read
    /// it, it has gone, a value of it cannot be shown.
    #[must_use]
    pub fn is_of_table(&self) -> bool {
        match self {
            Self::Requirement(_) => true,
            Self::PostgresServer { answer, .. } => {
                answer.severity == "ERROR" && answer.code != sqlstate::QUERY_CANCELED
            }
            _ => false,
        }
    }

    /// What does not work while this lasts.
    #[must_use]
    pub fn subject(&self) -> &'static str {
        match self {
            Self::PostgresIo { .. }
            | Self::PostgresServer { .. }
            | Self::PostgresProtocol { .. }
            | Self::InRecovery { .. } => "PostgreSQL",
            Self::Credentials(text) if text.contains("etcd") => "etcd",
            Self::Credentials(_) => "PostgreSQL",
            Self::Etcd(_) | Self::Checkpoint { .. } | Self::StoreChanged { .. } => "etcd",
            Self::SlotInUse { .. } | Self::Fenced { .. } => "the slot",
            Self::RedumpNeeded(_)
            | Self::AnotherHistory(_)
            | Self::RowUnknown { .. }
            | Self::OversizedRow { .. } => "the copy",
            Self::Setting(_) | Self::Requirement(_) | Self::System { .. } | Self::Stopped => {
                "pg2etcd"
            }
        }
    }

    /// The kind of cause, in one word: one of [`CAUSES`].
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::PostgresIo { .. } => "postgres_connection",
            Self::PostgresServer { .. } => "postgres_server",
            Self::PostgresProtocol { .. } => "postgres_protocol",
            Self::Credentials(_) => "credentials",
            Self::InRecovery { .. } => "in_recovery",
            Self::SlotInUse { .. } => "slot_in_use",
            Self::RedumpNeeded(_) | Self::AnotherHistory(_) | Self::RowUnknown { .. } => "redump",
            Self::Etcd(_) => "etcd",
            Self::Fenced { .. } | Self::StoreChanged { .. } => "fenced",
            Self::Setting(_)
            | Self::Requirement(_)
            | Self::Checkpoint { .. }
            | Self::OversizedRow { .. }
            | Self::System { .. }
            | Self::Stopped => "other",
        }
    }
}

/// The causes that [`Error::cause`] tells apart.
pub const CAUSES: [&str; 10] = [
    "postgres_connection",
    "postgres_server",
    "postgres_protocol",
    "credentials",
    "in_recovery",
    "slot_in_use",
    "redump",
    "etcd",
    "fenced",
    "other",
];

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(text)
            | Self::Credentials(text)
            | Self::RedumpNeeded(text)
            | Self::AnotherHistory(text)
            | Self::RowUnknown { reason: text, .. } => f.write_str(text),
            Self::Requirement(unmet) => {
                let texts: Vec<_> = unmet.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join("; "))
            }
            Self::PostgresIo { doing, source } => write!(f, "PostgreSQL: {doing}: {source}"),
            Self::PostgresServer { doing, answer } => write!(f, "PostgreSQL: {doing}: {answer}"),
            Self::PostgresProtocol { doing, problem } => {
                write!(f, "PostgreSQL: {doing}: protocol error: {problem}")
            }
            Self::InRecovery { servers } => {
                write!(f, "database is in recovery mode ({servers}): waiting for a primary")
            }
            Self::SlotInUse { slot, pid: Some(pid) } => write!(
                f,
                "slot {slot} is in use by another daemon (server process {pid}): standing by"
            ),
            Self::SlotInUse { slot, pid: None } => {
                write!(f, "slot {slot} is in use by another daemon: standing by")
            }
            Self::Etcd(error) => write!(f, "etcd: {error}"),
            Self::Fenced { key } => {
                write!(
                    f,
                    "etcd: {key} is not as this daemon left it: another one has taken over, or a user has \
                 changed it"
                )
            }
            Self::StoreChanged { key, revision, found: Some(found) } => write!(
                f,
                "etcd went back: {key} was put at revision {revision} and is of revision {found} now, \
                 as after a restore from a snapshot"
            ),
            Self::StoreChanged { key, revision, found: None } => write!(
                f,
                "etcd went back: {key}, put at revision {revision}, is gone, as in a store that was \
                 emptied"
            ),
            Self::Checkpoint { key, problem } => write!(f, "etcd: {key}: {problem}"),
            Self::OversizedRow { key, bytes, limit, lsn } => {
                write!(f, "the row of {key}")?;
                if let Some(lsn) = lsn {
                    write!(f, " in the transaction committed at {lsn}")?;
                }
                write!(
                    f,
                    " takes a request of {bytes} bytes and etcd.max_request_bytes is {limit}: raise \
                     it here and etcd's --max-request-bytes there, or set sync.oversized = \"skip\""
                )
            }
            Self::System { doing, source } => write!(f, "{doing}: {source}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for Error {}

/// Something that has to hold and does not, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// What does not hold.
    pub problem: String,
    /// What to do about it.
    pub cure: String,
}

impl Unmet {
    /// This problem with this cure.
    #[must_use]
    pub fn new(problem: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { problem: problem.into(), cure: cure.into() }
    }

    /// Refuses to go on unless there is nothing unmet.
    ///
    /// # Errors
    /// [`Error::Requirement`] with all that is.
    pub fn none(unmet: &[Self]) -> Result<()> {
        if unmet.is_empty() { Ok(()) } else { Err(Error::Requirement(unmet.to_vec())) }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem, self.cure)
    }
}

impl From<Unmet> for Error {
    fn from(unmet: Unmet) -> Self {
        Self::Requirement(vec![unmet])
    }
}

impl From<etcd::Error> for Error {
    fn from(error: etcd::Error) -> Self {
        Self::Etcd(error)
    }
}

/// An ErrorResponse of PostgreSQL (manual, "Error and Notice Message Fields").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerAnswer {
    /// The severity, `ERROR`, `FATAL` or `PANIC`.
    pub severity: String,
    /// The SQLSTATE code, five characters.
    pub code: String,
    /// The primary message.
    pub message: String,
    /// The detail, if there is one.
    pub detail: Option<String>,
    /// The hint, if there is one.
    pub hint: Option<String>,
    /// What the server was doing, if it says.
    pub context: Option<String>,
}

impl ServerAnswer {
    /// What follows from it, by the SQLSTATE (manual, "PostgreSQL Error Codes").
    fn disposition(&self) -> Disposition {
        match self.code.as_str() {
            sqlstate::INVALID_AUTHORIZATION_SPECIFICATION | sqlstate::INVALID_PASSWORD => {
                Disposition::Refused
            }
            sqlstate::INVALID_CATALOG_NAME
            | sqlstate::INSUFFICIENT_PRIVILEGE
            | sqlstate::FEATURE_NOT_SUPPORTED
            | sqlstate::SYNTAX_ERROR
            | sqlstate::UNDEFINED_FUNCTION
            | sqlstate::INVALID_NAME => Disposition::Fatal,
            _ => Disposition::Retry,
        }
    }
}

impl fmt::Display for ServerAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (SQLSTATE {})", self.severity, self.message, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

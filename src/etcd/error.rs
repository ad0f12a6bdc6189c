//! What can go wrong between pg2etcd and etcd, and what follows from it.

use std::fmt;
use std::time::Duration;

use crate::disposition::Disposition;

/// What is done when a member is asked how it is.
pub(super) const MAINTAINING: &str = "asking how the member is";

/// The result of a request to etcd.
pub type Result<T> = std::result::Result<T, Error>;

/// A request to etcd that failed.
#[derive(Debug)]
pub struct Error {
    /// What was being done, such as `writing`.
    pub doing: &'static str,
    /// The endpoint asked, `host:port`.
    pub endpoint: String,
    /// What happened.
    pub kind: ErrorKind,
    /// What happened at the endpoints that were asked before.
    pub(super) earlier: Vec<Error>,
    /// Whether etcd had answered this client before.
    pub(super) accepted: bool,
}

/// What happened to a request.
#[derive(Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There was no connection, so nothing was sent; the text is the cause.
    NotSent(String),
    /// The connection broke before the whole answer was there; the text is the cause.
    Broken(String),
    /// The connection ended without a byte of an answer.
    Closed,
    /// No answer came in this time, `etcd.request_timeout`.
    TimedOut(Duration),
    /// etcd answered with an error.
    Answer {
        /// What the error is about.
        reason: Reason,
        /// The gRPC status code.
        code: u32,
        /// etcd's message.
        message: String,
    },
    /// The answer is larger than this number of bytes, the most that is read.
    ReplyTooLarge(usize),
    /// The answer is none of etcd's gateway.
    NotEtcd {
        /// The HTTP status.
        status: u16,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The gateway takes no client certificate with a CommonName while authentication is on: it
    /// would be a user's name (etcd source, `embed/serve.go`).
    NamedCertificate,
    /// The port speaks gRPC and has no gateway.
    GrpcOnly,
    /// The endpoint belongs to another cluster than the one that was accepted.
    OtherCluster {
        /// Its cluster's ID.
        found: u64,
        /// The accepted cluster's ID.
        accepted: u64,
    },
    /// It was left because a stop was asked for.
    Stopped,
    /// An etcd of this version, which has no v3 gateway that can be used.
    TooOld(String),
    /// A password, a key or a certificate that cannot be used, or that one side does not accept
    /// from the other; the text names the cure. Nothing was carried out.
    Credentials(String),
    /// An endpoint that is not written as one; the text is how to write it.
    Endpoint(&'static str),
}

/// What an error that etcd answered with is about (etcd source, `api/v3rpc/rpctypes/error.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No leader, a leader that changed, a request that took etcd too long, a member that stops.
    Unavailable,
    /// The member is a learner, which takes no part yet.
    Learner,
    /// etcd is behind with its work and did not take the request.
    TooManyRequests,
    /// The store has reached `--quota-backend-bytes`.
    NoSpace,
    /// The request is above `--max-request-bytes`.
    RequestTooLarge,
    /// A request or a reply above what a gRPC message may have. The gateways of old releases
    /// take no reply above 4 MiB.
    MessageTooLarge,
    /// The txn has more compares or operations than `--max-txn-ops`.
    TooManyOperations,
    /// The txn puts a key twice, or puts one that it deletes.
    DuplicateKey,
    /// The revision asked for has been compacted away.
    Compacted,
    /// The user name or the password is wrong.
    WrongPassword,
    /// There is a user name, but etcd's authentication is off.
    AuthDisabled,
    /// The token is missing or no longer good.
    Token,
    /// The user may not do this.
    PermissionDenied,
    /// Anything else.
    Other,
}

impl Error {
    /// An error of an endpoint that is asked for the first time.
    pub(crate) fn at_start(endpoint: String, kind: ErrorKind) -> Self {
        Self { doing: "connecting", endpoint, kind, earlier: Vec::new(), accepted: false }
    }

    /// The same after the failures of other endpoints.
    pub(super) fn after(mut self, earlier: Vec<Self>) -> Self {
        self.earlier = earlier;
        self
    }

    /// What follows from it. If endpoints failed one after the other, the most hopeful counts.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        let own = self.own_disposition();
        if !self.endpoint_failed() {
            return own;
        }
        let all = || self.earlier.iter().map(Self::own_disposition).chain([own]);
        let hopeful = [Disposition::Retry, Disposition::Refused];
        hopeful.into_iter().find(|hope| all().any(|one| one == *hope)).unwrap_or(own)
    }

    fn own_disposition(&self) -> Disposition {
        match &self.kind {
            ErrorKind::NotSent(_)
            | ErrorKind::Broken(_)
            | ErrorKind::Closed
            | ErrorKind::TimedOut(_)
            | ErrorKind::OtherCluster { .. }
            | ErrorKind::Stopped => Disposition::Retry,
            ErrorKind::Answer { reason, .. } => reason.disposition(),
            ErrorKind::Credentials(_) | ErrorKind::NamedCertificate => Disposition::Refused,
            // At the start no gateway, TLS asked for in clear text, and a name that the server does
            // not go by are settings. Another status may be a proxy's, in front of an etcd that
            // restarts; once there was an etcd, any may be.
            ErrorKind::GrpcOnly | ErrorKind::NotEtcd { status: 400 | 404 | 405 | 421, .. }
                if !self.accepted =>
            {
                Disposition::Fatal
            }
            ErrorKind::GrpcOnly | ErrorKind::NotEtcd { .. } => Disposition::Retry,
            ErrorKind::ReplyTooLarge(_) | ErrorKind::TooOld(_) | ErrorKind::Endpoint(_) => {
                Disposition::Fatal
            }
        }
    }

    /// Whether etcd may have carried the request out, or may still do so.
    #[must_use]
    pub fn outcome_open(&self) -> bool {
        match &self.kind {
            ErrorKind::NotSent(_)
            | ErrorKind::TooOld(_)
            | ErrorKind::Credentials(_)
            | ErrorKind::NamedCertificate
            | ErrorKind::GrpcOnly
            // If at all, then elsewhere.
            | ErrorKind::OtherCluster { .. }
            | ErrorKind::Endpoint(_) => false,
            ErrorKind::Broken(_)
            | ErrorKind::Closed
            | ErrorKind::TimedOut(_)
            | ErrorKind::ReplyTooLarge(_)
            | ErrorKind::Stopped
            | ErrorKind::NotEtcd { .. } => true,
            ErrorKind::Answer { reason, code, .. } => reason.outcome_open(*code),
        }
    }

    /// What the error is about, if it is etcd's own answer.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self.kind {
            ErrorKind::Answer { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// What happened, without the cure.
    #[must_use]
    pub fn problem(&self) -> String {
        format!("{}: {}: {}", self.endpoint, self.doing, self.kind)
    }

    /// What to do about it, if it is more than to try again.
    #[must_use]
    pub fn cure(&self) -> Option<&'static str> {
        match &self.kind {
            // Not to be had below a path.
            ErrorKind::Answer { reason: Reason::PermissionDenied, .. }
                if self.doing == MAINTAINING =>
            {
                Some("let a user with the role root ask")
            }
            ErrorKind::Answer { reason, .. } => reason.cure(),
            ErrorKind::NamedCertificate => Some(
                "name one without a CommonName in etcd.tls.certificate_path, and log in with \
                 etcd.username",
            ),
            ErrorKind::GrpcOnly => {
                Some("name the server's --listen-client-http-urls in etcd.endpoints")
            }
            ErrorKind::OtherCluster { .. } => Some(
                "correct etcd.endpoints, or restart pg2etcd if this cluster has taken the other's \
                 place",
            ),
            ErrorKind::NotEtcd { status: 413, .. } => {
                Some("raise that proxy's own limit, or lower etcd.max_request_bytes")
            }
            ErrorKind::NotEtcd { .. } => {
                Some("look at etcd.endpoints, and at the server's --enable-grpc-gateway")
            }
            ErrorKind::TooOld(_) => Some("upgrade it"),
            ErrorKind::Endpoint(_) => Some("correct etcd.endpoints"),
            ErrorKind::NotSent(_)
            | ErrorKind::Broken(_)
            | ErrorKind::Closed
            | ErrorKind::TimedOut(_)
            | ErrorKind::Stopped
            | ErrorKind::ReplyTooLarge(_)
            | ErrorKind::Credentials(_) => None,
        }
    }

    /// Whether asking for less in one request cures it.
    pub(super) fn asked_too_much(&self) -> bool {
        matches!(self.kind, ErrorKind::ReplyTooLarge(_))
            || self.reason() == Some(Reason::MessageTooLarge)
    }

    /// Whether it is this endpoint's own failure, so that another one may do better.
    pub(super) fn endpoint_failed(&self) -> bool {
        match &self.kind {
            ErrorKind::NotSent(_)
            | ErrorKind::Broken(_)
            | ErrorKind::Closed
            | ErrorKind::TimedOut(_)
            | ErrorKind::Credentials(_)
            | ErrorKind::NamedCertificate
            | ErrorKind::GrpcOnly
            | ErrorKind::OtherCluster { .. }
            | ErrorKind::NotEtcd { .. } => true,
            ErrorKind::Answer { reason, .. } => {
                matches!(reason, Reason::Unavailable | Reason::Learner)
            }
            ErrorKind::ReplyTooLarge(_)
            | ErrorKind::Stopped
            | ErrorKind::TooOld(_)
            | ErrorKind::Endpoint(_) => false,
        }
    }
}

impl Reason {
    /// What an answer with this gRPC code and message is about. One code stands for many errors,
    /// so the message has to tell them apart.
    pub(super) fn of(code: u32, message: &str) -> Self {
        const BY_MESSAGE: [(u32, &str, Reason); 14] = [
            (3, "request is too large", Reason::RequestTooLarge),
            (3, "too many operations", Reason::TooManyOperations),
            (3, "duplicate key", Reason::DuplicateKey),
            (3, "authentication failed", Reason::WrongPassword),
            (3, "revision of auth store is old", Reason::Token),
            (3, "user name is empty", Reason::Token),
            (8, "too many requests", Reason::TooManyRequests),
            (8, "database space exceeded", Reason::NoSpace),
            (8, "message larger than max", Reason::MessageTooLarge),
            (9, "authentication is not enabled", Reason::AuthDisabled),
            // Code 14 before 3.6.
            (9, "not supported for learner", Reason::Learner),
            (14, "not supported for learner", Reason::Learner),
            (9, "not capable", Reason::Unavailable),
            (11, "has been compacted", Reason::Compacted),
        ];
        let by_message = BY_MESSAGE
            .iter()
            .find(|(of_code, text, _)| *of_code == code && message.contains(text))
            .map(|(_, _, reason)| *reason);
        by_message.unwrap_or(match code {
            7 => Self::PermissionDenied,
            14 => Self::Unavailable,
            16 => Self::Token,
            _ => Self::Other,
        })
    }

    fn disposition(self) -> Disposition {
        match self {
            Self::Unavailable
            | Self::Learner
            | Self::TooManyRequests
            | Self::NoSpace
            | Self::Compacted
            | Self::Other => Disposition::Retry,
            Self::WrongPassword | Self::AuthDisabled | Self::Token | Self::PermissionDenied => {
                Disposition::Refused
            }
            Self::RequestTooLarge
            | Self::MessageTooLarge
            | Self::TooManyOperations
            | Self::DuplicateKey => Disposition::Fatal,
        }
    }

    fn outcome_open(self, code: u32) -> bool {
        match self {
            // A message may be too large on the way there or on the way back.
            Self::Unavailable | Self::MessageTooLarge => true,
            // These codes say that the request was looked at and turned down: invalid argument,
            // not found, already exists, failed precondition, out of range, unimplemented.
            Self::Other => !matches!(code, 3 | 5 | 6 | 9 | 11 | 12),
            Self::Learner
            | Self::TooManyRequests
            | Self::NoSpace
            | Self::RequestTooLarge
            | Self::TooManyOperations
            | Self::DuplicateKey
            | Self::Compacted
            | Self::WrongPassword
            | Self::AuthDisabled
            | Self::Token
            | Self::PermissionDenied => false,
        }
    }

    /// What to do about it, if it is more than to try again.
    fn cure(self) -> Option<&'static str> {
        Some(match self {
            Self::Unavailable | Self::TooManyRequests | Self::Compacted | Self::Other => {
                return None;
            }
            Self::Learner => {
                "promote it (etcdctl member promote), or leave it out of etcd.endpoints until then"
            }
            Self::NoSpace => {
                "compact and defragment etcd or raise its --quota-backend-bytes, then disarm \
                 the alarm (etcdctl alarm disarm)"
            }
            Self::RequestTooLarge | Self::MessageTooLarge => {
                "set etcd.max_request_bytes to the server's --max-request-bytes, or raise both"
            }
            Self::TooManyOperations => {
                "set etcd.max_txn_ops to the server's --max-txn-ops, or raise both"
            }
            Self::DuplicateKey => "this is a defect of pg2etcd, please report it",
            Self::WrongPassword => {
                "set etcd.username, and etcd.password or etcd.password_file, to a user of etcd"
            }
            Self::AuthDisabled => {
                "leave etcd.username out, or run etcdctl auth enable on the server"
            }
            Self::Token => "etcd wants a login, set etcd.username and a password",
            Self::PermissionDenied => {
                "grant the user a role that reads and writes below etcd.path and \
                 etcd.state_path"
            }
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for earlier in &self.earlier {
            write!(f, "{earlier}; ")?;
        }
        f.write_str(&self.problem())?;
        self.cure().map_or(Ok(()), |cure| write!(f, ": {cure}"))
    }
}

/// What happened, without the cure.
impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(cause) => write!(f, "no connection: {cause}"),
            Self::Broken(cause) => write!(f, "the connection broke: {cause}"),
            Self::Closed => f.write_str("the server closed the connection without an answer"),
            Self::TimedOut(timeout) => {
                write!(f, "no answer within {timeout:?} (etcd.request_timeout)")
            }
            Self::Answer { code, message, .. } => write!(f, "{message} (code {code})"),
            Self::ReplyTooLarge(limit) => {
                write!(f, "the answer is larger than the {limit} bytes that are read at most")
            }
            Self::NamedCertificate => f.write_str(
                "etcd's gateway refuses a client certificate with a CommonName while authentication \
                 is on",
            ),
            Self::GrpcOnly => f.write_str("this port speaks gRPC alone"),
            Self::OtherCluster { found, accepted } => write!(
                f,
                "it belongs to etcd cluster {found:x} and the copy is in {accepted:x}"
            ),
            Self::Stopped => f.write_str("left, since a stop was asked for"),
            Self::NotEtcd { status: 413, problem } => write!(
                f,
                "the request is larger than what stands before etcd takes (HTTP status 413): \
                 {problem}"
            ),
            Self::NotEtcd { status, problem } => write!(
                f,
                "this is no answer of etcd's v3 gateway (HTTP status {status}): {problem}"
            ),
            Self::TooOld(version) => {
                write!(f, "etcd {version} is too old, 3.4 or later is needed")
            }
            Self::Credentials(problem) => f.write_str(problem),
            Self::Endpoint(rule) => write!(f, "not an endpoint: {rule}"),
        }
    }
}

impl std::error::Error for Error {}

//! How connections are made.

use std::fmt;
use std::io::ErrorKind as IoErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use super::cancel::Cancel;
use super::error::ErrorKind;
use super::one_write::OneWrite;
use super::socket::Socket;
use super::tls::{self, TlsTransport, Unusable};
use crate::tls::{Tls, refusal};

/// Makes connections, and marks a failure as one before anything was sent.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) tls: Tls,
    pub(super) cancel: Arc<Cancel>,
    /// Whether a connection may be made. A request that may go to the accepted cluster alone is
    /// sent on a connection of which that is known.
    pub(super) allowed: Arc<AtomicBool>,
}

impl Connector for Dial {
    type Out = OneWrite;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let made = match self.allowed.load(Ordering::Relaxed) {
            true => self.make(details).map_err(NoConnection::Failed),
            false => Err(NoConnection::NotAllowed),
        };
        made.map(|transport| Some(OneWrite::new(transport)))
            .map_err(|error| ureq::Error::Other(Box::new(error)))
    }
}

impl Dial {
    fn make(&self, details: &ConnectionDetails<'_>) -> Result<Box<dyn Transport>, ureq::Error> {
        let begun = Instant::now();
        let (config, timeout) = (details.config, details.timeout);
        let host = details.uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        // An endpoint always has a port.
        let address = (bare, details.uri.port_u16().unwrap_or_default());
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let socket = Socket::connect(address, *timeout.after, buffers, &self.cancel);
        let socket = socket.map_err(|error| match error.kind() {
            IoErrorKind::TimedOut => ureq::Error::Timeout(timeout.reason),
            _ => ureq::Error::Io(error),
        })?;
        if !details.needs_tls() {
            return Ok(Box::new(socket));
        }
        let left = timeout.after.saturating_sub(begun.elapsed());
        let timeout = NextTimeout { after: left.into(), ..timeout };
        Ok(Box::new(TlsTransport::begin(&self.tls, Box::new(socket), details, bare, timeout)?))
    }
}

/// Leaves the looking up to [`Socket`]: ureq does it for each request, in a thread of its own.
#[derive(Debug)]
pub(super) struct Unresolved;

impl Resolver for Unresolved {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NoConnection {
    /// None was kept, and none may be made.
    NotAllowed,
    /// It could not be made.
    Failed(ureq::Error),
}

impl NoConnection {
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed(ureq::Error::Other(cause)) if cause.is::<Unusable>() => {
                ErrorKind::Credentials(cause.to_string())
            }
            Self::Failed(ureq::Error::Io(error)) => match refusal(error, &tls::NAMES) {
                Some(reason) => ErrorKind::Credentials(reason),
                None => ErrorKind::NotSent(self.to_string()),
            },
            _ => ErrorKind::NotSent(self.to_string()),
        }
    }
}

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("the server keeps none"),
            Self::Failed(ureq::Error::Timeout(_)) => {
                f.write_str("it was not made within etcd.dial_timeout")
            }
            Self::Failed(ureq::Error::Io(error)) => error.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NoConnection {}

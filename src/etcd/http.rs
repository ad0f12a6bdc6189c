//! One kept-alive HTTP connection. This file alone knows ureq.
//!
//! Before ureq takes a kept connection it looks whether the server has closed it or it has been
//! idle for 15 seconds, and if so makes a new one. It sets TCP_NODELAY.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind as IoErrorKind, Read};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::typestate::WithBody;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};
use ureq::{Agent, Body, BodyReader, RequestBuilder};

use super::error::ErrorKind;
use super::one_write::OneWrite;
use super::reply;
use super::tls::{self, TlsTransport, Unusable};
use crate::tls::{Tls, refusal};

/// The most that is read of an answer, in bytes: what a server sends must not fill the memory.
/// etcd advises against requests, and so values, above 10 MiB, which are 14 MiB in base64.
const REPLY_LIMIT: usize = 32 << 20;
/// The size of the buffer that a request leaves through, in bytes: a txn of 128 rows fits.
const OUTPUT_BUFFER: usize = 256 << 10;

/// A connection, made when it is first needed and whenever the one before has broken.
pub(super) struct Http {
    agent: Agent,
    request_timeout: Duration,
    reply: Vec<u8>,
}

impl Http {
    pub(super) fn new(dial_timeout: Duration, request_timeout: Duration, tls: Tls) -> Self {
        let config = Agent::config_builder()
            // An error of etcd's is told in the body of a status such as 400.
            .http_status_as_error(false)
            // Not to be taken from the environment, nor followed: etcd never redirects.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("pg2etcd/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(dial_timeout))
            .timeout_global(Some(request_timeout))
            .output_buffer_size(OUTPUT_BUFFER)
            .build();
        let dial = Dial {
            connector: DefaultConnector::default(),
            resolver: DefaultResolver::default(),
            tls,
        };
        let agent = Agent::with_parts(config, dial, Unresolved);
        Self { agent, request_timeout, reply: Vec::new() }
    }

    /// The last answer.
    pub(super) fn reply(&self) -> &[u8] {
        &self.reply
    }

    /// Asks for a page; the answer is in [`Self::reply`].
    pub(super) fn get(&mut self, url: &str) -> Result<(), ErrorKind> {
        let sent = self.agent.get(url).call();
        self.receive(sent)
    }

    /// Posts a JSON body; the answer is in [`Self::reply`].
    pub(super) fn post(
        &mut self,
        url: &str,
        token: Option<&str>,
        body: &[u8],
    ) -> Result<(), ErrorKind> {
        let sent = self.request(url, token).send(body);
        self.receive(sent)
    }

    /// Posts a JSON body; the answer comes a line at a time, for at most `timeout` from now on.
    pub(super) fn post_for_lines(
        &mut self,
        url: &str,
        token: Option<&str>,
        body: &[u8],
        timeout: Duration,
    ) -> Result<Lines, ErrorKind> {
        let request = self.request(url, token);
        let sent = request.config().timeout_global(Some(timeout)).build().send(body);
        let response = sent.map_err(|error| failure(error, timeout))?;
        let status = response.status().as_u16();
        let body = BufReader::new(response.into_body().into_reader());
        let mut lines = Lines { body, line: Vec::new(), timeout };
        match status {
            200 => Ok(lines),
            status => Err(reply::failure(status, lines.next()?.unwrap_or_default())),
        }
    }

    fn request(&self, url: &str, token: Option<&str>) -> RequestBuilder<WithBody> {
        let request = self.agent.post(url).content_type("application/json");
        match token {
            Some(token) => request.header("Authorization", token),
            None => request,
        }
    }

    fn receive(
        &mut self,
        sent: Result<ureq::http::Response<Body>, ureq::Error>,
    ) -> Result<(), ErrorKind> {
        self.reply.clear();
        let mut response = sent.map_err(|error| failure(error, self.request_timeout))?;
        // One byte more than the limit tells an answer that is too large from one that just fits.
        let mut reader = response.body_mut().as_reader().take(REPLY_LIMIT as u64 + 1);
        let read = reader.read_to_end(&mut self.reply);
        read.map_err(|error| failure(error.into(), self.request_timeout))?;
        if self.reply.len() > REPLY_LIMIT {
            return Err(ErrorKind::ReplyTooLarge(REPLY_LIMIT));
        }
        match response.status().as_u16() {
            200 => Ok(()),
            status => Err(reply::failure(status, &self.reply)),
        }
    }
}

/// An answer that comes a line at a time.
pub(super) struct Lines {
    body: BufReader<BodyReader<'static>>,
    line: Vec<u8>,
    timeout: Duration,
}

impl Lines {
    /// The next line, which is waited for; `None` after the last.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] once the time is over.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, ErrorKind> {
        self.line.clear();
        let mut body = (&mut self.body).take(REPLY_LIMIT as u64);
        let read = body.read_until(b'\n', &mut self.line);
        match read.map_err(|error| failure(error.into(), self.timeout))? {
            0 => Ok(None),
            REPLY_LIMIT => Err(ErrorKind::ReplyTooLarge(REPLY_LIMIT)),
            _ => Ok(Some(&self.line)),
        }
    }
}

fn failure(error: ureq::Error, timeout: Duration) -> ErrorKind {
    match error {
        ureq::Error::Other(cause) => match cause.downcast::<NoConnection>() {
            Ok(cause) => cause.kind(),
            Err(cause) => ErrorKind::Broken(cause.to_string()),
        },
        ureq::Error::Timeout(_) => ErrorKind::TimedOut(timeout),
        ureq::Error::Io(error) if error.kind() == IoErrorKind::UnexpectedEof => {
            ErrorKind::Broken("the server closed it".to_owned())
        }
        ureq::Error::Io(error) => match refusal(&error, &tls::NAMES) {
            Some(reason) => ErrorKind::Credentials(reason),
            None => ErrorKind::Broken(error.to_string()),
        },
        error => ErrorKind::Broken(error.to_string()),
    }
}

/// Makes connections. It looks the host's name up itself, since ureq does so for each request, in
/// a thread of its own, and it marks a failure as one before anything was sent.
#[derive(Debug)]
struct Dial {
    connector: DefaultConnector,
    resolver: DefaultResolver,
    tls: Tls,
}

impl Connector for Dial {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        self.resolver
            .resolve(details.uri, details.config, details.timeout)
            .and_then(|addrs| self.connector.connect(&with_addrs(details, addrs), chained))
            .and_then(|transport| match transport {
                Some(transport) if details.needs_tls() => {
                    let transport = TlsTransport::begin(&self.tls, transport, details)?;
                    Ok(Some(Box::new(transport) as Self::Out))
                }
                transport => Ok(transport),
            })
            .map(|made| made.map(|inner| Box::new(OneWrite::new(inner)) as Self::Out))
            .map_err(|error| ureq::Error::Other(Box::new(NoConnection(error))))
    }
}

fn with_addrs<'a>(
    details: &ConnectionDetails<'a>,
    addrs: ResolvedSocketAddrs,
) -> ConnectionDetails<'a> {
    ConnectionDetails {
        uri: details.uri,
        addrs,
        config: details.config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: details.now,
        timeout: details.timeout,
        current_time: details.current_time.clone(),
        run_connector: details.run_connector.clone(),
        register_shutdown: details.register_shutdown.clone(),
    }
}

/// Leaves the looking up to [`Dial`].
#[derive(Debug)]
struct Unresolved;

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
struct NoConnection(ureq::Error);

impl NoConnection {
    fn kind(&self) -> ErrorKind {
        match &self.0 {
            ureq::Error::Other(cause) if cause.is::<Unusable>() => {
                ErrorKind::Credentials(cause.to_string())
            }
            ureq::Error::Io(error) => match refusal(error, &tls::NAMES) {
                Some(reason) => ErrorKind::Credentials(reason),
                None => ErrorKind::NotSent(self.to_string()),
            },
            _ => ErrorKind::NotSent(self.to_string()),
        }
    }
}

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ureq::Error::Timeout(_) => f.write_str("it was not made within etcd.dial_timeout"),
            ureq::Error::Io(error) => error.fmt(f),
            error => error.fmt(f),
        }
    }
}

impl std::error::Error for NoConnection {}

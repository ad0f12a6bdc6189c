//! HTTP requests on a kept connection.
//!
//! Before ureq takes a kept connection it looks whether the server has closed it or it has been
//! idle for 15 seconds, and if so wants a new one.

use std::io::{BufRead, BufReader, ErrorKind as IoErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ureq::typestate::WithBody;
use ureq::{Agent, Body, BodyReader, RequestBuilder};

use super::cancel::Cancel;
use super::dial::{Dial, NoConnection, Unresolved};
use super::error::ErrorKind;
use super::one_write::Misfit;
use super::{reply, tls};
use crate::tls::{Tls, refusal};

/// The most that is read of an answer, in bytes: what a server sends must not fill the memory.
/// etcd advises against requests, and so values, above 10 MiB, which are 14 MiB in base64.
const REPLY_LIMIT: usize = 32 << 20;
/// The size of the buffer that a request leaves through, in bytes: a txn of 128 rows fits.
const OUTPUT_BUFFER: usize = 256 << 10;

/// A connection to each endpoint, kept from one request to the next.
pub(super) struct Http {
    agent: Agent,
    timeouts: Timeouts,
    cancel: Arc<Cancel>,
    may_connect: Arc<AtomicBool>,
    reply: Vec<u8>,
}

/// How long a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeouts {
    /// To take a connection.
    pub(super) dial: Duration,
    /// To answer a request, from its first byte to the answer's last.
    pub(super) request: Duration,
}

impl Timeouts {
    /// Those of an endpoint of which little is hoped.
    pub(super) fn short(self) -> Self {
        let request = self.request / 4;
        Self { dial: self.dial.min(request), request }
    }
}

/// The connection that a request is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// One that was kept, of which is known where it leads.
    Kept,
    /// The same, or a new one.
    Any,
}

/// What became of a request that may go over a kept connection only.
pub(super) enum Sent<T> {
    /// It was answered.
    Answered(T),
    /// There was no such connection.
    NotSent,
}

impl Http {
    pub(super) fn new(timeouts: Timeouts, tls: Tls, cancel: Arc<Cancel>) -> Self {
        let config = Agent::config_builder()
            // An error of etcd's is told in the body of a status such as 400.
            .http_status_as_error(false)
            // Not to be taken from the environment, nor followed: etcd never redirects.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("pg2etcd/", env!("CARGO_PKG_VERSION")))
            .output_buffer_size(OUTPUT_BUFFER)
            .build();
        let may_connect = Arc::new(AtomicBool::new(true));
        let dial = Dial { tls, cancel: Arc::clone(&cancel), allowed: Arc::clone(&may_connect) };
        let agent = Agent::with_parts(config, dial, Unresolved);
        Self { agent, timeouts, cancel, may_connect, reply: Vec::new() }
    }

    /// How long a server may take from now on.
    pub(super) fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.timeouts = timeouts;
    }

    /// The last answer.
    pub(super) fn reply(&self) -> &[u8] {
        &self.reply
    }

    /// Asks for a page; the answer is in [`Self::reply`].
    pub(super) fn get(&mut self, url: &str) -> Result<(), ErrorKind> {
        self.may_connect.store(true, Ordering::Relaxed);
        let request = self.agent.get(url).config();
        let request = request
            .timeout_connect(Some(self.timeouts.dial))
            .timeout_global(Some(self.timeouts.request))
            .build();
        self.receive(request.call()).map(drop)
    }

    /// Posts a JSON body; the answer is in [`Self::reply`].
    pub(super) fn post(
        &mut self,
        url: &str,
        token: Option<&str>,
        body: &[u8],
        over: Over,
    ) -> Result<Sent<()>, ErrorKind> {
        let request = self.request(url, token, over, self.timeouts.request);
        self.receive(request.send(body))
    }

    /// Posts a JSON body; the answer comes a line at a time, for at most `timeout` from now on.
    pub(super) fn post_for_lines(
        &mut self,
        url: &str,
        token: Option<&str>,
        body: &[u8],
        over: Over,
        timeout: Duration,
    ) -> Result<Sent<Lines>, ErrorKind> {
        let response = match self.request(url, token, over, timeout).send(body) {
            Err(error) if wants_a_connection(&error) => return Ok(Sent::NotSent),
            sent => sent.map_err(|error| failure(error, timeout, &self.cancel))?,
        };
        let status = response.status().as_u16();
        let body = BufReader::new(response.into_body().into_reader());
        let cancel = Arc::clone(&self.cancel);
        let mut lines = Lines { body, line: Vec::new(), timeout, cancel };
        match status {
            200 => Ok(Sent::Answered(lines)),
            status => Err(reply::failure(status, lines.next()?.unwrap_or_default())),
        }
    }

    fn request(
        &self,
        url: &str,
        token: Option<&str>,
        over: Over,
        timeout: Duration,
    ) -> RequestBuilder<WithBody> {
        self.may_connect.store(over == Over::Any, Ordering::Relaxed);
        let request = self.agent.post(url).content_type("application/json").config();
        let request =
            request.timeout_connect(Some(self.timeouts.dial)).timeout_global(Some(timeout)).build();
        match token {
            Some(token) => request.header("Authorization", token),
            None => request,
        }
    }

    fn receive(
        &mut self,
        sent: Result<ureq::http::Response<Body>, ureq::Error>,
    ) -> Result<Sent<()>, ErrorKind> {
        self.reply.clear();
        let timeout = self.timeouts.request;
        let mut response = match sent {
            Err(error) if wants_a_connection(&error) => return Ok(Sent::NotSent),
            sent => sent.map_err(|error| failure(error, timeout, &self.cancel))?,
        };
        // One byte more than the limit tells an answer that is too large from one that just fits.
        let mut reader = response.body_mut().as_reader().take(REPLY_LIMIT as u64 + 1);
        let read = reader.read_to_end(&mut self.reply);
        read.map_err(|error| failure(error.into(), timeout, &self.cancel))?;
        if self.reply.len() > REPLY_LIMIT {
            return Err(ErrorKind::ReplyTooLarge(REPLY_LIMIT));
        }
        match response.status().as_u16() {
            200 => Ok(Sent::Answered(())),
            status => Err(reply::failure(status, &self.reply)),
        }
    }
}

/// An answer that comes a line at a time.
pub(super) struct Lines {
    body: BufReader<BodyReader<'static>>,
    line: Vec<u8>,
    timeout: Duration,
    cancel: Arc<Cancel>,
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
        match read.map_err(|error| failure(error.into(), self.timeout, &self.cancel))? {
            0 => Ok(None),
            REPLY_LIMIT => Err(ErrorKind::ReplyTooLarge(REPLY_LIMIT)),
            _ => Ok(Some(&self.line)),
        }
    }
}

fn wants_a_connection(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Other(cause) => {
            matches!(cause.downcast_ref(), Some(NoConnection::NotAllowed))
        }
        _ => false,
    }
}

fn failure(error: ureq::Error, timeout: Duration, cancel: &Cancel) -> ErrorKind {
    // Whatever else may be wrong, nothing is to be done about it any more.
    if cancel.is_over() {
        return ErrorKind::Stopped;
    }
    match error {
        ureq::Error::Other(cause) => match cause.downcast::<NoConnection>() {
            Ok(cause) => cause.kind(),
            Err(cause) => ErrorKind::Broken(cause.to_string()),
        },
        ureq::Error::Timeout(_) => ErrorKind::TimedOut(timeout),
        ureq::Error::Io(error) if error.kind() == IoErrorKind::UnexpectedEof => {
            ErrorKind::Broken("the server closed it".to_owned())
        }
        ureq::Error::Io(error) => match (Misfit::of(&error), refusal(&error, &tls::NAMES)) {
            (Some(Misfit::Nothing), _) => ErrorKind::Closed,
            (Some(Misfit::Http2), _) => ErrorKind::GrpcOnly,
            (None, Some(reason)) => ErrorKind::Credentials(reason),
            (None, None) => ErrorKind::Broken(error.to_string()),
        },
        error => ErrorKind::Broken(error.to_string()),
    }
}

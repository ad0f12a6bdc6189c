//! How a request finds its way: to which endpoint, on a connection to the accepted cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{Client, Request, Shared};
use super::endpoint;
use super::error::{Error, ErrorKind, Result};
use super::http::{Lines, Over, Sent, Timeouts};
use super::reply;

/// The connections that a request may take, one attempt after the other. A server in between that
/// keeps none leaves no choice but a new one: its answer still names its cluster.
const CONNECTIONS: [Over; 3] = [Over::Kept, Over::Kept, Over::Any];

impl Client {
    /// Sends a request to one endpoint after the other until one answers, and says which. One
    /// that may have been carried out and must not be twice goes to no second endpoint.
    pub(super) fn send(&mut self, request: &Request<'_>) -> Result<usize> {
        let shared = Arc::clone(&self.shared);
        let timeouts = shared.options.timeouts();
        let mut earlier: Vec<Error> = Vec::new();
        for turn in shared.order.turns(Instant::now()) {
            self.http.set_timeouts(if turn.last_resort { timeouts.short() } else { timeouts });
            let begun = Instant::now();
            let Err(error) = self.send_as_user(turn.at, request) else {
                shared.order.answered(turn.at);
                for error in earlier {
                    log::warn!(
                        "etcd: {error}; {} answered instead",
                        shared.endpoints[turn.at].name
                    );
                }
                return Ok(turn.at);
            };
            if !error.endpoint_failed() {
                return Err(error.after(earlier));
            }
            let is_silent = begun.elapsed() >= timeouts.short().request;
            shared.order.failed(turn.at, is_silent, Instant::now());
            if error.outcome_open() && !request.repeatable {
                return Err(error.after(earlier));
            }
            earlier.push(error);
        }
        // There is an endpoint, or there would be no client.
        let last = earlier.pop();
        Err(last.unwrap_or_else(|| shared.error(0, request.doing, no_connection())).after(earlier))
    }

    /// Sends a request to the endpoint that answered last, and reads the answer a line at a time,
    /// for at most `timeout`.
    pub(super) fn stream<T>(
        &mut self,
        request: &Request<'_>,
        timeout: Duration,
        read: impl FnOnce(Lines) -> std::result::Result<T, ErrorKind>,
    ) -> Result<T> {
        let at = self.shared.order.first();
        let url = self.shared.url(at, request.path);
        let token = self.shared.token().clone();
        self.http.set_timeouts(self.shared.options.timeouts());
        for over in CONNECTIONS {
            let sent =
                self.http.post_for_lines(&url, token.as_deref(), request.body, over, timeout);
            match sent.map_err(|kind| self.shared.error(at, request.doing, kind))? {
                Sent::Answered(lines) => {
                    return read(lines).map_err(|kind| self.shared.error(at, request.doing, kind));
                }
                Sent::NotSent => self.identify(at, request.doing)?,
            }
        }
        Err(self.shared.error(at, request.doing, no_connection()))
    }

    /// Sends a request on a connection that leads to the accepted cluster.
    pub(super) fn post(
        &mut self,
        at: usize,
        request: &Request<'_>,
        token: Option<&str>,
    ) -> Result<()> {
        let url = self.shared.url(at, request.path);
        for over in CONNECTIONS {
            let sent = self.post_over(&url, request, token, over);
            match sent {
                Ok(Sent::Answered(())) => return Ok(()),
                Ok(Sent::NotSent) => self.identify(at, request.doing)?,
                Err(kind) => return Err(self.failed(at, request.doing, kind)),
            }
        }
        Err(self.shared.error(at, request.doing, no_connection()))
    }

    /// Sends a request once, over a connection of which is known where it leads, to the endpoint that answered
    /// last, and returns that; `None` if there is no such connection, no answer in time, or an error in it.
    pub(super) fn send_within(
        &mut self,
        request: &Request<'_>,
        patience: Duration,
    ) -> Result<Option<usize>> {
        let shared = Arc::clone(&self.shared);
        let at = shared.order.first();
        let timeouts = shared.options.timeouts();
        let request_timeout = timeouts.request.min(patience);
        self.http.set_timeouts(Timeouts { request: request_timeout, ..timeouts });
        let (url, token) = (shared.url(at, request.path), shared.token().clone());
        match self.post_over(&url, request, token.as_deref(), Over::Kept) {
            Ok(Sent::Answered(())) => Ok(Some(at)),
            Ok(Sent::NotSent) => Ok(None),
            // Such as that the token is too old.
            Err(ErrorKind::Answer { .. }) => Ok(None),
            Err(ErrorKind::TimedOut(_)) => {
                // An answer that still comes is not the next request's.
                self.http = shared.http();
                Ok(None)
            }
            Err(kind) => Err(self.failed(at, request.doing, kind)),
        }
    }

    /// Sends a request, and refuses the answer of another cluster.
    fn post_over(
        &mut self,
        url: &str,
        request: &Request<'_>,
        token: Option<&str>,
        over: Over,
    ) -> std::result::Result<Sent<()>, ErrorKind> {
        let sent = self.http.post(url, token, request.body, over)?;
        match reply::cluster(self.http.reply()) {
            Some(found) if matches!(sent, Sent::Answered(())) => {
                self.shared.accept(found).map(|()| sent)
            }
            // A few answers do not say it.
            _ => Ok(sent),
        }
    }

    /// Makes a connection, and has the member say that it belongs to the accepted cluster.
    fn identify(&mut self, at: usize, doing: &'static str) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        endpoint::cluster(&mut self.http, &shared.endpoints[at].url, shared.prefix)
            .and_then(|found| shared.accept(found))
            .map_err(|kind| {
                // The next request would go over it without a question.
                self.http = shared.http();
                shared.error(at, doing, kind)
            })
    }

    /// The error of a request that failed so. A connection on which something else than a member of
    /// the accepted cluster answers is not kept.
    fn failed(&mut self, at: usize, doing: &'static str, kind: ErrorKind) -> Error {
        if !matches!(kind, ErrorKind::Answer { .. }) {
            self.http = self.shared.http();
        }
        self.shared.error(at, doing, kind)
    }
}

impl Shared {
    /// Refuses an answer of another cluster than the accepted one.
    fn accept(&self, found: u64) -> std::result::Result<(), ErrorKind> {
        let accepted = self.cluster;
        if found == accepted { Ok(()) } else { Err(ErrorKind::OtherCluster { found, accepted }) }
    }
}

/// What a request without any connection fails with.
fn no_connection() -> ErrorKind {
    ErrorKind::NotSent("none was made".to_owned())
}

//! The client: which endpoint is asked, as which user, and what is done when that fails.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::endpoint::{self, Endpoint};
use super::error::{Error, ErrorKind, Reason, Result};
use super::http::{Http, Lines};
use super::json;
use super::range::Pages;
use super::reply::{self, KeyValue, Login, RangeReply, TxnReply};
use super::txn::{Txn, prefix_end};
use crate::secret::{Password, Secret};
use crate::tls::{Identity, NameCheck, Tls, Trust};

/// What a [`Client`] is made from.
#[derive(Clone)]
pub struct Options {
    /// The servers, `host:port`, `http://host:port` or `https://host:port`. One without a scheme
    /// is asked with TLS if there is a trusted authority or an identity, as etcdctl does.
    pub endpoints: Vec<String>,
    /// The user to log in as; `None` for an etcd without authentication.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Password>,
    /// The file with the authorities that are trusted; `None` for those that the system trusts.
    pub trusted_ca: Option<PathBuf>,
    /// The client's certificate, if it has one.
    pub identity: Option<Identity>,
    /// The longest time that a connection may take to be made.
    pub dial_timeout: Duration,
    /// The longest time that a request may take, from its first byte to the answer's last.
    pub request_timeout: Duration,
}

/// A connection to etcd, kept alive between requests.
///
/// A clone has a connection of its own, for a thread of its own. What clones share: the login, and
/// which endpoint answered last, so that one thread's failure spares the others theirs.
pub struct Client {
    http: Http,
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    /// The endpoints, in the order of the options.
    endpoints: Vec<Endpoint>,
    /// The gateway's path, such as `/v3`.
    prefix: &'static str,
    /// The index of the endpoint to ask first.
    preferred: AtomicUsize,
    token: Mutex<Option<Arc<str>>>,
}

/// What is asked of etcd.
pub(super) struct Request<'a> {
    doing: &'static str,
    /// The path below the prefix.
    path: &'static str,
    body: &'a [u8],
    /// Whether doing it twice is the same as doing it once.
    repeatable: bool,
}

impl<'a> Request<'a> {
    pub(super) fn reading(path: &'static str, body: &'a [u8]) -> Self {
        Self { doing: "reading", path, body, repeatable: true }
    }

    pub(super) fn watching(body: &'a [u8]) -> Self {
        Self { doing: "watching", path: "/watch", body, repeatable: true }
    }

    fn writing(path: &'static str, body: &'a [u8]) -> Self {
        Self { doing: "writing", path, body, repeatable: false }
    }
}

impl Client {
    /// Looks for an endpoint that answers, asks for its version and logs in if there is a user.
    ///
    /// # Errors
    /// The last endpoint's error if none answers. An etcd before 3.3, a text that is no endpoint
    /// and a refused login are errors that trying again does not cure.
    pub fn connect(options: Options) -> Result<Self> {
        let tls = options.trusted_ca.is_some() || options.identity.is_some();
        let endpoints = options
            .endpoints
            .iter()
            .map(|text| endpoint::parse(text, tls))
            .collect::<Result<Vec<_>>>()?;
        let mut http = options.http();
        let (preferred, prefix) = endpoint::find(&mut http, &endpoints)?;
        let shared = Shared {
            options,
            endpoints,
            prefix,
            preferred: AtomicUsize::new(preferred),
            token: Mutex::new(None),
        };
        let mut client = Self { http, shared: Arc::new(shared) };
        if client.shared.options.username.is_some() {
            client.renew_token(preferred, None)?;
        }
        Ok(client)
    }

    /// Reads a key; `None` if it does not exist. The answer is no older than the question: the
    /// member that is asked makes sure of it with the leader ("linearizable").
    ///
    /// # Errors
    /// When no endpoint answers it.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<KeyValue>> {
        Ok(self.read(key)?.kvs.pop())
    }

    /// Reads a key, with the store's revision.
    pub(super) fn read(&mut self, key: &[u8]) -> Result<RangeReply> {
        let mut body = b"{\"key\":".to_vec();
        json::push_bytes(&mut body, key);
        body.push(b'}');
        self.ask(&Request::reading("/kv/range", &body))
    }

    /// Reads keys, at most `max_txn_ops` of them, in one request or, when the values are more than
    /// etcd can send at once, in several. What is found stands in the order of `keys`; `None` for
    /// a key that does not exist.
    ///
    /// # Errors
    /// When no endpoint answers it.
    pub fn get_many(&mut self, keys: &[impl AsRef<[u8]>]) -> Result<Vec<Option<KeyValue>>> {
        self.get_many_at(keys, 0)
    }

    /// The same as the keys were at a revision; 0 is the newest.
    ///
    /// # Errors
    /// [`Reason::Compacted`] if etcd has forgotten that revision; when no endpoint answers it.
    pub fn get_many_at(
        &mut self,
        keys: &[impl AsRef<[u8]>],
        revision: i64,
    ) -> Result<Vec<Option<KeyValue>>> {
        let mut txn = Txn::new();
        for key in keys {
            txn.get_at(key.as_ref(), revision);
        }
        match self.ask_txn(&Request::reading("/kv/txn", txn.body())) {
            // The callers pair what is found with the keys, by position.
            Ok(reply) if reply.gets.len() != keys.len() => {
                let problem = format!("{} answers to {} gets", reply.gets.len(), keys.len());
                let at = self.shared.preferred.load(Ordering::Relaxed);
                Err(self.shared.error(at, "reading", ErrorKind::NotEtcd { status: 200, problem }))
            }
            Ok(reply) => Ok(reply.gets),
            Err(error) if error.asked_too_much() && keys.len() > 1 => {
                let (left, right) = keys.split_at(keys.len() / 2);
                let mut found = self.get_many_at(left, revision)?;
                found.extend(self.get_many_at(right, revision)?);
                Ok(found)
            }
            Err(error) => Err(error),
        }
    }

    /// Carries out a txn. A compare that does not hold is no error: see [`TxnReply::succeeded`].
    ///
    /// # Errors
    /// If [`Error::outcome_open`] says so, etcd may have carried it out, or may yet do so: it was
    /// sent to no second endpoint, and what it wrote has to be read back before it is sent again.
    pub fn txn(&mut self, txn: &mut Txn) -> Result<TxnReply> {
        self.ask_txn(&Request::writing("/kv/txn", txn.body()))
    }

    /// Finds out whether the user may read and write every key that begins with `prefix`, without
    /// doing so: etcd looks at permissions before it looks at the compare, which never holds.
    ///
    /// # Errors
    /// [`Reason::PermissionDenied`] if the user may not.
    pub fn probe(&mut self, prefix: &[u8]) -> Result<()> {
        let mut txn = Txn::new();
        txn.delete_range(prefix, &prefix_end(prefix));
        txn.get_range(prefix, &prefix_end(prefix));
        txn.compare_mod_revision(prefix, -1);
        self.ask_txn(&Request::reading("/kv/txn", txn.body())).map(drop)
    }

    /// The keys from `key` up to, but not including, `range_end`, page by page; `keys_only` leaves
    /// the values out. Nothing is sent before the first page is asked for.
    #[must_use]
    pub fn pages(&mut self, key: &[u8], range_end: &[u8], keys_only: bool) -> Pages<'_> {
        Pages::new(self, key, range_end, keys_only)
    }

    /// Whether there is a key from `key` up to, but not including, `range_end`.
    ///
    /// # Errors
    /// When no endpoint answers it.
    pub fn has_any(&mut self, key: &[u8], range_end: &[u8]) -> Result<bool> {
        let first = self.pages(key, range_end, true).at_most(1).next_page()?;
        Ok(first.is_some())
    }

    /// Sends a request and reads the answer.
    pub(super) fn ask<'a, T: Deserialize<'a>>(&'a mut self, request: &Request<'_>) -> Result<T> {
        let at = self.send(request)?;
        reply::parse(self.http.reply()).map_err(|kind| self.shared.error(at, request.doing, kind))
    }

    /// Sends a request to the endpoint that answered last, and reads the answer a line at a time,
    /// for at most `timeout`.
    pub(super) fn stream<T>(
        &mut self,
        request: &Request<'_>,
        timeout: Duration,
        read: impl FnOnce(Lines) -> std::result::Result<T, ErrorKind>,
    ) -> Result<T> {
        let shared = &self.shared;
        let at = shared.preferred.load(Ordering::Relaxed);
        let (url, token) = (shared.url(at, request.path), shared.token().clone());
        self.http
            .post_for_lines(&url, token.as_deref(), request.body, timeout)
            .and_then(read)
            .map_err(|kind| self.shared.error(at, request.doing, kind))
    }

    /// The size of the last answer, in bytes.
    pub(super) fn reply_bytes(&self) -> usize {
        self.http.reply().len()
    }

    fn ask_txn(&mut self, request: &Request<'_>) -> Result<TxnReply> {
        let at = self.send(request)?;
        reply::txn(self.http.reply()).map_err(|kind| self.shared.error(at, request.doing, kind))
    }

    /// Sends a request to one endpoint after the other until one answers, and says which. One
    /// that may have been carried out and must not be twice goes to no second endpoint.
    fn send(&mut self, request: &Request<'_>) -> Result<usize> {
        let first = self.shared.preferred.load(Ordering::Relaxed);
        let mut at = first;
        let mut earlier: Option<Error> = None;
        loop {
            let Err(error) = self.send_as_user(at, request) else {
                if let Some(earlier) = earlier {
                    log::warn!(
                        "etcd: {earlier}; {} answered instead",
                        self.shared.endpoints[at].name
                    );
                }
                return Ok(at);
            };
            if !error.endpoint_failed() {
                return Err(error);
            }
            let next = self.shared.move_on(at);
            if next == first || (error.outcome_open() && !request.repeatable) {
                return Err(error);
            }
            at = next;
            earlier = Some(error);
        }
    }

    /// Sends a request, and once more after a new login if the token is no longer good: tokens
    /// expire, and a restart or a change of users makes etcd forget them.
    fn send_as_user(&mut self, at: usize, request: &Request<'_>) -> Result<()> {
        let token = self.shared.token().clone();
        match self.post(at, request, token.as_deref()) {
            Err(error)
                if error.reason() == Some(Reason::Token)
                    && self.shared.options.username.is_some() =>
            {
                let token = self.renew_token(at, token.as_deref())?;
                self.post(at, request, Some(&token))
            }
            sent => sent,
        }
    }

    /// Logs in, unless another clone has done so since `stale` was the token. The others wait
    /// for this login rather than each log in on its own.
    fn renew_token(&mut self, at: usize, stale: Option<&str>) -> Result<Arc<str>> {
        let shared = Arc::clone(&self.shared);
        let mut token = shared.token();
        if let Some(token) = &*token
            && Some(&**token) != stale
        {
            return Ok(Arc::clone(token));
        }
        let new = self.log_in(at)?;
        *token = Some(Arc::clone(&new));
        Ok(new)
    }

    fn log_in(&mut self, at: usize) -> Result<Arc<str>> {
        #[derive(Serialize)]
        struct Credentials<'a> {
            name: &'a str,
            password: &'a str,
        }

        const DOING: &str = "logging in";
        let options = &self.shared.options;
        let password = options.password.as_ref().map(Password::reveal).transpose();
        let password = password.map_err(|problem| {
            let problem = format!("etcd.password_file: {problem}");
            self.shared.error(at, DOING, ErrorKind::Credentials(problem))
        })?;
        let credentials = Credentials {
            name: options.username.as_deref().unwrap_or_default(),
            password: password.as_ref().map_or("", Secret::reveal),
        };
        // Two strings always have a JSON form.
        let body = serde_json::to_vec(&credentials).unwrap_or_default();
        let request =
            Request { doing: DOING, path: "/auth/authenticate", body: &body, repeatable: true };
        self.post(at, &request, None)?;
        let login: Login<'_> =
            reply::parse(self.http.reply()).map_err(|kind| self.shared.error(at, DOING, kind))?;
        log::debug!("etcd: Logged in at {}", self.shared.endpoints[at].name);
        Ok(login.token.into())
    }

    /// A page beside the gateway, of the endpoint that is asked first.
    pub(super) fn page(&mut self, path: &str) -> Result<&[u8]> {
        let shared = &self.shared;
        let at = shared.preferred.load(Ordering::Relaxed);
        let url = format!("{}{path}", shared.endpoints[at].url);
        self.http.get(&url).map_err(|kind| shared.error(at, "reading", kind))?;
        Ok(self.http.reply())
    }

    fn post(&mut self, at: usize, request: &Request<'_>, token: Option<&str>) -> Result<()> {
        let shared = &self.shared;
        self.http
            .post(&shared.url(at, request.path), token, request.body)
            .map_err(|kind| shared.error(at, request.doing, kind))
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self { http: self.shared.options.http(), shared: Arc::clone(&self.shared) }
    }
}

impl Options {
    fn http(&self) -> Http {
        let trust = self.trusted_ca.clone().map_or(Trust::System, Trust::File);
        let (name, identity) = (NameCheck::AlternativeName, self.identity.clone());
        Http::new(self.dial_timeout, self.request_timeout, Tls { trust, name, identity })
    }
}

impl Shared {
    fn url(&self, at: usize, path: &str) -> String {
        format!("{}{}{path}", self.endpoints[at].url, self.prefix)
    }

    fn error(&self, at: usize, doing: &'static str, kind: ErrorKind) -> Error {
        Error { doing, endpoint: self.endpoints[at].name.clone(), kind }
    }

    /// Lets requests begin with the endpoint after the one `at` fault, unless another clone has
    /// done so, and says which one follows.
    fn move_on(&self, at: usize) -> usize {
        let next = (at + 1) % self.endpoints.len();
        let _ = self.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        next
    }

    fn token(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        // The token is replaced in one assignment: a thread that panicked left it whole.
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

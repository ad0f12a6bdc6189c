//! The client: which endpoint is asked, as which user, and what is done when that fails.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::cancel::Cancel;
use super::endpoint::{self, Endpoint};
use super::error::{Error, ErrorKind, MAINTAINING, Result};
use super::http::{Http, Timeouts};
use super::json;
use super::order::Order;
use super::reply::{self, KeyValue, RangeReply, TxnReply};
use super::txn::{AsOf, Txn, prefix_end};
use crate::secret::Password;
use crate::stop::Stop;
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
/// which endpoints answer, so that one thread's failure spares the others theirs.
///
/// It stays with the cluster whose member answered first. Nothing is sent on a connection before
/// that member has said that it belongs to it.
pub struct Client {
    pub(super) http: Http,
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) options: Options,
    /// The endpoints, in the order of the options.
    pub(super) endpoints: Vec<Endpoint>,
    /// The gateway's path, such as `/v3`.
    pub(super) prefix: &'static str,
    /// The cluster's ID.
    pub(super) cluster: u64,
    pub(super) order: Order,
    token: Mutex<Option<Arc<str>>>,
    cancel: Arc<Cancel>,
}

/// What is asked of etcd.
pub(super) struct Request<'a> {
    pub(super) doing: &'static str,
    /// The path below the prefix.
    pub(super) path: &'static str,
    pub(super) body: &'a [u8],
    /// Whether doing it twice is the same as doing it once.
    pub(super) repeatable: bool,
}

impl<'a> Request<'a> {
    pub(super) fn reading(path: &'static str, body: &'a [u8]) -> Self {
        Self::repeatable("reading", path, body)
    }

    pub(super) fn watching(body: &'a [u8]) -> Self {
        Self::repeatable("watching", "/watch", body)
    }

    pub(super) fn maintaining(path: &'static str, body: &'a [u8]) -> Self {
        Self::repeatable(MAINTAINING, path, body)
    }

    pub(super) fn repeatable(doing: &'static str, path: &'static str, body: &'a [u8]) -> Self {
        Self { doing, path, body, repeatable: true }
    }

    fn writing(path: &'static str, body: &'a [u8]) -> Self {
        Self { doing: "writing", path, body, repeatable: false }
    }
}

impl Client {
    /// Looks for an endpoint that answers, asks for its version and its cluster, and logs in if
    /// there is a user.
    ///
    /// # Errors
    /// What each endpoint failed with if none answers. An etcd before 3.3, a text that is no
    /// endpoint and a refused login are errors that trying again does not cure.
    pub fn connect(options: Options) -> Result<Self> {
        Self::connect_with(options, Arc::default())
    }

    /// The same, with a client of which each request, a clone's too, ends soon after `stop`.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`ErrorKind::Stopped`] too.
    pub fn connect_until(options: Options, stop: &Stop) -> Result<Self> {
        let cancel = Cancel::with(stop).map_err(|error| {
            Error::at_start("etcd".to_owned(), ErrorKind::NotSent(error.to_string()))
        })?;
        Self::connect_with(options, Arc::new(cancel))
    }

    fn connect_with(options: Options, cancel: Arc<Cancel>) -> Result<Self> {
        let tls = options.trusted_ca.is_some() || options.identity.is_some();
        let endpoints = options
            .endpoints
            .iter()
            .map(|text| endpoint::parse(text, tls))
            .collect::<Result<Vec<_>>>()?;
        let (http, found) = endpoint::find(|| options.http(&cancel), &endpoints)?;
        let shared = Shared {
            order: Order::new(endpoints.len(), found.at),
            options,
            endpoints,
            prefix: found.prefix,
            cluster: found.cluster,
            token: Mutex::new(None),
            cancel,
        };
        let mut client = Self { http, shared: Arc::new(shared) };
        if client.shared.options.username.is_some() {
            client.renew_token(found.at, None)?;
        }
        Ok(client)
    }

    /// The ID of the cluster that this client stays with.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.shared.cluster
    }

    /// Asks all endpoints at once which cluster they belong to. One that does not answer soon is
    /// left out: it is asked again before anything else is sent to it.
    #[must_use]
    pub fn clusters(&self) -> Vec<(String, u64)> {
        let shared = &*self.shared;
        let ask = |endpoint: &Endpoint| {
            let mut http = shared.http();
            http.set_timeouts(shared.options.timeouts().short());
            let cluster = endpoint::cluster(&mut http, &endpoint.url, shared.prefix);
            cluster.ok().map(|cluster| (endpoint.name.clone(), cluster))
        };
        thread::scope(|scope| {
            let asked: Vec<_> = shared
                .endpoints
                .iter()
                .map(|endpoint| scope.spawn(move || ask(endpoint)))
                .collect();
            asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
        })
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
        self.get_many_as_of(keys, AsOf::Now)
    }

    /// The same as of a revision.
    ///
    /// # Errors
    /// [`Reason::Compacted`](super::Reason::Compacted) if etcd has forgotten that revision; when no endpoint answers it.
    pub fn get_many_as_of(
        &mut self,
        keys: &[impl AsRef<[u8]>],
        as_of: AsOf,
    ) -> Result<Vec<Option<KeyValue>>> {
        let mut txn = Txn::new();
        for key in keys {
            txn.get_as_of(key.as_ref(), as_of);
        }
        match self.ask_txn(&Request::reading("/kv/txn", txn.body())) {
            // This member is behind the others.
            Ok(reply) if as_of.is_after(reply.revision) => self.get_many(keys),
            // The callers pair what is found with the keys, by position.
            Ok(reply) if reply.gets.len() != keys.len() => {
                let problem = format!("{} answers to {} gets", reply.gets.len(), keys.len());
                let at = self.shared.order.first();
                Err(self.shared.error(at, "reading", ErrorKind::NotEtcd { status: 200, problem }))
            }
            Ok(reply) => Ok(reply.gets),
            Err(error) if error.asked_too_much() && keys.len() > 1 => {
                let (left, right) = keys.split_at(keys.len() / 2);
                let mut found = self.get_many_as_of(left, as_of)?;
                found.extend(self.get_many_as_of(right, as_of)?);
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

    /// The same, once, on a connection that was used before, with an answer within `patience`. `None` if there is no
    /// such connection, no answer by then, or one with an error: [`Self::txn`] can be asked with the same txn then,
    /// of which etcd may have two copies.
    ///
    /// # Errors
    /// When the connection breaks, or something else than etcd answers.
    pub fn txn_within(&mut self, txn: &mut Txn, patience: Duration) -> Result<Option<TxnReply>> {
        let request = Request::writing("/kv/txn", txn.body());
        let Some(at) = self.send_within(&request, patience)? else { return Ok(None) };
        self.txn_reply(at, &request).map(Some)
    }

    /// Finds out whether the user may read and write every key that begins with `prefix`, without
    /// doing so: etcd looks at permissions before it looks at the compare, which never holds.
    ///
    /// # Errors
    /// [`Reason::PermissionDenied`](super::Reason::PermissionDenied) if the user may not.
    pub fn probe(&mut self, prefix: &[u8]) -> Result<()> {
        let mut txn = Txn::new();
        txn.delete_range(prefix, &prefix_end(prefix));
        txn.get_range(prefix, &prefix_end(prefix));
        txn.compare_mod_revision(prefix, -1);
        self.ask_txn(&Request::reading("/kv/txn", txn.body())).map(drop)
    }

    /// Sends a request and reads the answer.
    pub(super) fn ask<'a, T: Deserialize<'a>>(&'a mut self, request: &Request<'_>) -> Result<T> {
        let at = self.send(request)?;
        reply::parse(self.http.reply()).map_err(|kind| self.shared.error(at, request.doing, kind))
    }

    /// The size of the last answer, in bytes.
    pub(super) fn reply_bytes(&self) -> usize {
        self.http.reply().len()
    }

    fn ask_txn(&mut self, request: &Request<'_>) -> Result<TxnReply> {
        let at = self.send(request)?;
        self.txn_reply(at, request)
    }

    fn txn_reply(&self, at: usize, request: &Request<'_>) -> Result<TxnReply> {
        reply::txn(self.http.reply()).map_err(|kind| self.shared.error(at, request.doing, kind))
    }

    /// A page beside the gateway, of the endpoint that is asked first.
    pub(super) fn page(&self, path: &str) -> Result<Vec<u8>> {
        let shared = &self.shared;
        let at = shared.order.first();
        // A connection of its own: nothing on it says which cluster it leads to.
        let mut http = shared.http();
        let page = http.get(&format!("{}{path}", shared.endpoints[at].url));
        page.map_err(|kind| shared.error(at, "reading", kind))?;
        Ok(http.reply().to_vec())
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self { http: self.shared.http(), shared: Arc::clone(&self.shared) }
    }
}

impl Options {
    fn http(&self, cancel: &Arc<Cancel>) -> Http {
        let trust = self.trusted_ca.clone().map_or(Trust::System, Trust::File);
        let (name, identity) = (NameCheck::AlternativeName, self.identity.clone());
        Http::new(self.timeouts(), Tls { trust, name, identity }, Arc::clone(cancel))
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        Timeouts { dial: self.dial_timeout, request: self.request_timeout }
    }
}

impl Shared {
    /// Connections that are not made yet.
    pub(super) fn http(&self) -> Http {
        self.options.http(&self.cancel)
    }

    pub(super) fn url(&self, at: usize, path: &str) -> String {
        format!("{}{}{path}", self.endpoints[at].url, self.prefix)
    }

    pub(super) fn error(&self, at: usize, doing: &'static str, kind: ErrorKind) -> Error {
        let endpoint = self.endpoints[at].name.clone();
        Error { doing, endpoint, kind, earlier: Vec::new(), accepted: true }
    }

    pub(super) fn token(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        // The token is replaced in one assignment: a thread that panicked left it whole.
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

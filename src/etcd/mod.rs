//! A client for etcd's v3 JSON gateway. It knows nothing of PostgreSQL.
//!
//! [`Client`] says what is asked of etcd, at which endpoint and as which user; `http` carries the
//! bytes, with connections that `dial` makes, and these with `socket`, `tls` and `one_write` below
//! them alone know ureq. A [`Txn`] is written as JSON while it is put together, and
//! `reply` reads what comes back (etcd manual, "gRPC gateway" and "KV API").

mod cancel;
mod client;
mod dial;
mod endpoint;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
mod json;
mod login;
mod maintenance;
mod one_write;
mod order;
mod range;
mod reply;
mod send;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod txn;
mod watch;

pub use client::{Client, Options};
pub use error::{Error, ErrorKind, Reason, Result};
pub use maintenance::MemberStatus;
pub use range::{Page, Pages};
pub use reply::{KeyValue, TxnReply};
pub use txn::{AsOf, Txn, prefix_end};

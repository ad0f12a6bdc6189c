//! A client for etcd's v3 JSON gateway. It knows nothing of PostgreSQL.
//!
//! [`Client`] says what is asked of etcd, at which endpoint and as which user; `http` carries the
//! bytes, and it alone knows ureq. A [`Txn`] is written as JSON while it is put together, and
//! `reply` reads what comes back (etcd manual, "gRPC gateway" and "KV API").

mod client;
mod endpoint;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
mod json;
mod maintenance;
mod one_write;
mod range;
mod reply;
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
pub use txn::{Txn, prefix_end};

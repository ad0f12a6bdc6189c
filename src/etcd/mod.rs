//! A client for etcd's v3 JSON gateway. It knows nothing of PostgreSQL.

mod error;

pub use error::Error;

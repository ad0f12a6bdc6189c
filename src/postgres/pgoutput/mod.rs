//! Decodes the messages of PostgreSQL's output plugin `pgoutput`, protocol version 1.
//!
//! Bytes in, types out: no socket and no thread here.

mod decode;
mod message;
mod relation;
#[cfg(test)]
mod tests;

pub(crate) use decode::decode;
pub(crate) use message::{Message, OldTuple};
#[cfg(test)]
pub(crate) use relation::Column;
pub(crate) use relation::{Relation, ReplicaIdentity};

//! Decodes the messages of PostgreSQL's output plugin `pgoutput`, protocol version 1.
//!
//! Bytes in, types out: no socket and no thread here.

mod decode;
mod message;
mod relation;
#[cfg(test)]
mod tests;

pub use decode::{DecodeError, decode};
pub use message::{Message, OldTuple, Tuple};
pub use relation::{Column, Relation, ReplicaIdentity};

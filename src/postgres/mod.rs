//! The connections to PostgreSQL.
//!
//! [`connection`] speaks the wire protocol itself, since logical replication needs its CopyBoth
//! mode, which no SQL client offers. The modules stand in the order in which a start walks through
//! them: connect and authenticate, replication commands, then the stream.

pub mod options;

pub mod pgoutput;

pub mod primary;

pub mod connection;
pub mod passfile;

pub mod replication;

pub mod catalog;
pub mod health;
pub mod preflight;
pub mod session;

pub mod administration;

pub mod copy_both;

mod auth;
mod client;
mod end_point;
mod message;
mod quoting;
mod stream;
mod tls;
mod tls_options;
mod tls_stream;
mod wait;

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod hostile_peer_tests;
#[cfg(test)]
mod hostile_result_tests;

pub use catalog::{PublishedTable, Shape};
pub use client::{Canceller, copy_error};
pub use connection::{Connection, SESSION_SETTINGS};
pub use copy_both::{Frame, FrameReader, StatusWriter};
pub use health::{Capacity, Published, SlotHealth};
pub use options::{HostPort, Options};
pub use primary::find_primary;
pub use quoting::quoted;
pub use replication::{CreatedSlot, SlotKind, SystemIdentity, TimelineSwitch};
pub use session::{Session, SlotFacts};
pub use tls_options::{SYSTEM_ROOTS, SslMode, TlsOptions};

//! The connections to PostgreSQL.
//!
//! `connection` speaks the wire protocol itself, since logical replication needs its CopyBoth
//! mode, which no SQL client offers. The modules stand in the order in which a start walks through
//! them: connect and authenticate, replication commands, then the stream.

pub(crate) mod options;

pub(crate) mod pgoutput;

pub(crate) mod primary;

pub(crate) mod connection;
pub(crate) mod passfile;

pub(crate) mod replication;

pub(crate) mod catalog;
pub(crate) mod followed_publication;
mod health;
mod new_publication;
pub(crate) mod preflight;
pub(crate) mod session;

pub(crate) mod administration;

pub(crate) mod copy_both;

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

pub use catalog::{
    ForeignKey, NamedTable, PublishedTable, Relatives, Shape, TableColumn, TableFacts,
};
pub use client::{Canceller, copy_error};
pub use connection::{Connection, SESSION_SETTINGS};
pub use copy_both::{Frame, FrameReader, StatusWriter};
pub use health::{Capacity, Published, SlotHealth};
pub use options::{HostPort, Options};
pub use primary::find_primary;
pub use quoting::{quoted, quoted_name};
pub use replication::{CreatedSlot, SlotKind, SystemIdentity, TimelineSwitch};
pub use session::{Session, SlotFacts};
pub use tls_options::{SYSTEM_ROOTS, SslMode, TlsOptions};

//! The commands beside the daemon.

pub mod check;
pub mod config;
pub mod drop;
pub mod resync;
pub mod status;
pub mod verify;
pub mod wait;

mod follower;
pub mod output;
mod stream;
mod tables;

use crate::error::{Error, Result};
use crate::stop::Stop;

/// A stop for a command, which has none of its own: a signal ends it.
///
/// # Errors
/// [`Error::System`] when the system refuses a socket pair.
fn no_stop() -> Result<Stop> {
    Stop::never()
        .map_err(|source| Error::System { doing: "making a socket pair".to_owned(), source })
}

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

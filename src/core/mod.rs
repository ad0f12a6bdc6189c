//! What makes the copy exact, with no thread, socket, channel or clock in it.

pub mod packer;

pub mod change;
pub mod history;
mod listing;
mod recording;

mod view;
mod waiting;

pub mod batch;
mod parts;

pub mod ledger;

mod mutation;
#[cfg(test)]
mod sim;

pub use packer::{Answer, Input, Output, Packer, Request, Rules};
pub use recording::Overruled;
pub use view::Lane;

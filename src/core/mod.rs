//! What makes the copy exact, with no thread, socket, channel or clock in it.

pub mod batch;
pub mod change;
pub mod history;

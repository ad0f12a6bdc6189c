//! How a table is brought up to date with a snapshot of the database.

mod compare;
mod copy_text;
pub(crate) mod dump;
mod loader;
mod progress;
mod rows;
mod stored;
mod stretch;

pub(crate) use compare::{Finding, compare};
pub(crate) use rows::Rows;
pub(crate) use stored::Stored;

//! How a table is brought up to date with a snapshot of the database.

mod compare;
mod copy_text;
mod finding;
mod query;
mod rows;
mod side;
mod stored;
mod stretch;

pub(crate) use compare::compare;
pub(crate) use finding::{Counts, Finding};
pub(crate) use rows::{Rows, Which};
pub(crate) use stored::Stored;

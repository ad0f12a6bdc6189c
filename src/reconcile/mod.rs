//! How a table is brought up to date with a snapshot of the database.

mod compare;
mod copy_text;
mod finding;
mod query;
mod rows;
mod side;
mod stored;
mod stretch;
mod which;

pub(crate) use compare::compare;
pub(crate) use finding::{Counts, Finding};
pub(crate) use rows::Rows;
pub(crate) use stored::Stored;
pub(crate) use which::Which;

//! Renders the rows of a table as keys and JSON documents, by the table's plan.
//!
//! The dump and the stream both come through here, so that a row looks the same whichever way
//! it came.

mod array;
mod casts;
mod composite;
mod hole;
mod row;
mod splice;
mod value;

pub use casts::Casts;
pub use hole::{Body, Hole, Holed, MissingColumn};
pub use row::{
    KeyOf, Presence, Row, RowKey, left_out, want_casts, write_document, write_identity,
    write_unchanged,
};
pub use splice::{element_of, emptied, member_of, splice, splice_member, write_member};
pub use value::write_value;

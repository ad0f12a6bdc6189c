//! How the rows of a table become keys and JSON documents.
//!
//! The dump and the stream both go through [`Table`], so that a row looks the same whichever way
//! it came.

mod array;
mod composite;
mod hole;
mod key;
mod table;
mod types;
mod value;

pub use hole::{Body, Hole, Holed, MissingColumn};
pub use key::{decoded_key_column, table_name, table_prefix, write_key_column};
pub use table::{Table, TableColumn, json_string};
pub use types::Kind;
pub use value::write_value;

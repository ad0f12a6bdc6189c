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

use crate::error::{Error, Result};
use crate::table_name::TableName;

/// A table's name; without a schema one of the schema public.
fn named_table(text: &str) -> Result<TableName> {
    text.parse().or_else(|problem| {
        let name = format!("public.{text}").parse();
        name.map_err(|_| Error::Setting(problem))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_may_be_named_without_the_schema_public() {
        for (text, schema, name) in [
            ("a", "public", "a"),
            ("s.a", "s", "a"),
            ("\"a.b\"", "public", "a.b"),
            ("s.\"a.b\"", "s", "a.b"),
        ] {
            let expected = TableName { schema: schema.to_owned(), name: name.to_owned() };
            assert_eq!(named_table(text).unwrap(), expected);
        }
        for text in ["", "a.b.c", "."] {
            assert!(matches!(named_table(text), Err(Error::Setting(_))), "{text:?}");
        }
    }
}

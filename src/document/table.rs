//! A table as its keys and documents see it.

use super::hole::{Hole, write_hole};
use super::key::{table_prefix, write_key_column};
use super::types::Kind;
use super::value::{write_string, write_value};
use crate::cell::Cell;

/// What it takes to turn rows of one table into keys and documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What its keys begin with, `/PATH/TABLE/`.
    pub prefix: Vec<u8>,
    columns: Vec<DocumentColumn>,
    key: Vec<usize>,
}

/// A published column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// How its values become JSON.
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct DocumentColumn {
    name: String,
    /// The name as JSON, quotes included.
    json_name: Vec<u8>,
    kind: Kind,
}

impl Table {
    /// A table whose rows are the values of `columns`, in order, and whose keys those of the
    /// columns that `key` names, in key order. `None` if `columns` lacks one of the key.
    #[must_use]
    pub fn new(
        path: &str,
        schema: &str,
        name: &str,
        columns: Vec<TableColumn>,
        key: &[String],
    ) -> Option<Self> {
        let key = key
            .iter()
            .map(|name| columns.iter().position(|column| column.name == *name))
            .collect::<Option<_>>()?;
        let columns = columns
            .into_iter()
            .map(|TableColumn { name, kind }| {
                let json_name = json_string(&name);
                DocumentColumn { name, json_name, kind }
            })
            .collect();
        Some(Self { prefix: table_prefix(path, schema, name), columns, key })
    }

    /// The columns of which the server has to make JSON, with their types' OIDs.
    pub fn casts(&self) -> impl Iterator<Item = (usize, u32)> {
        self.columns.iter().enumerate().filter_map(|(position, column)| match column.kind {
            Kind::Cast { type_oid } => Some((position, type_oid)),
            _ => None,
        })
    }

    /// Those of them that are in the key too, where the value's own text stands.
    pub fn key_casts(&self) -> impl Iterator<Item = usize> {
        self.casts().map(|(column, _)| column).filter(|column| self.key.contains(column))
    }

    /// How many columns a row has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The names of the key's columns, in key order.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(|&column| self.columns[column].name.as_str())
    }

    /// Writes the key of a row. A key column that an update left out is in its old tuple.
    pub fn write_key(&self, cells: &[Cell<'_>], old: Option<&[Cell<'_>]>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        for (position, &column) in self.key.iter().enumerate() {
            if position > 0 {
                out.push(b'/');
            }
            if let Cell::Text(text) = cell(cells, old, column) {
                write_key_column(out, text);
            }
        }
    }

    /// Writes the document of a row: the JSON object that `row_to_json` prints, with a hole for
    /// each value that is neither in the row nor in `old`, the whole row as it was.
    pub fn write_document(
        &self,
        cells: &[Cell<'_>],
        old: Option<&[Cell<'_>]>,
        out: &mut Vec<u8>,
        holes: &mut Vec<Hole>,
    ) {
        let start = out.len();
        out.push(b'{');
        for (position, column) in self.columns.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            match cell(cells, old, position) {
                Cell::UnchangedToast => write_hole(out, holes, start, &column.json_name),
                Cell::Null => {
                    out.extend_from_slice(&column.json_name);
                    out.extend_from_slice(b":null");
                }
                Cell::Text(text) => {
                    out.extend_from_slice(&column.json_name);
                    out.push(b':');
                    write_value(out, &column.kind, text);
                }
            }
        }
        out.push(b'}');
    }
}

/// The cell of a column, from the old tuple if the update left it out.
fn cell<'a>(cells: &[Cell<'a>], old: Option<&[Cell<'a>]>, column: usize) -> Cell<'a> {
    match cells.get(column).copied().unwrap_or(Cell::Null) {
        Cell::UnchangedToast => {
            old.and_then(|old| old.get(column)).copied().unwrap_or(Cell::UnchangedToast)
        }
        cell => cell,
    }
}

/// A text as a JSON string.
pub fn json_string(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(key: &[&str]) -> Option<Table> {
        let columns = [("a", Kind::Number), ("b \"q\"", Kind::Text), ("c", Kind::Boolean)]
            .map(|(name, kind)| TableColumn { name: name.to_owned(), kind });
        let key: Vec<String> = key.iter().map(|&name| name.to_owned()).collect();
        Table::new("p", "public", "t", columns.into(), &key)
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn keys_follow_the_key_order() {
        let table = table(&["c", "a"]).expect("the key's columns are there");
        let cells = [Cell::Text(b"1"), Cell::Null, Cell::Text(b"t")];
        assert_eq!(written(|out| table.write_key(&cells, None, out)), "/p/t/t/1");
    }

    #[test]
    fn a_key_column_that_is_not_published_is_noticed() {
        assert_eq!(table(&["a", "z"]), None);
    }

    #[test]
    fn unchanged_values_come_from_the_old_tuple() {
        let table = table(&["a"]).expect("the key's columns are there");
        let new = [Cell::UnchangedToast, Cell::UnchangedToast, Cell::Null];
        let old = [Cell::Text(b"7"), Cell::Text(b"x"), Cell::Text(b"t")];
        assert_eq!(written(|out| table.write_key(&new, Some(&old), out)), "/p/t/7");
        assert_eq!(
            written(|out| table.write_document(&new, Some(&old), out, &mut Vec::new())),
            r#"{"a":7,"b \"q\"":"x","c":null}"#
        );
    }
}

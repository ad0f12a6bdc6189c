//! Texts that are no UTF-8, which only a SQL_ASCII database can send.

use crate::cell::Cell;
use crate::table_name::TableName;

/// The texts of these cells that are no UTF-8, with U+FFFD for what is not.
pub(crate) fn repaired<'c>(cells: impl IntoIterator<Item = &'c Cell<'c>>) -> Vec<String> {
    let texts = cells.into_iter().filter_map(invalid);
    texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// The cells with those texts in their places.
pub(crate) fn with_repaired<'c>(
    cells: &[Cell<'c>],
    texts: &mut impl Iterator<Item = &'c String>,
) -> Vec<Cell<'c>> {
    let repaired = |cell: &Cell<'c>| match invalid(cell) {
        None => *cell,
        Some(text) => Cell::Text(texts.next().map_or(text, |text| text.as_bytes())),
    };
    cells.iter().map(repaired).collect()
}

/// What is said of a table with such texts.
pub(crate) fn not_utf8(table: &TableName) -> String {
    format!(
        "Table {table} has text that is no UTF-8, in a database of the encoding SQL_ASCII: U+FFFD \
         stands in etcd for what is not"
    )
}

fn invalid<'c>(cell: &Cell<'c>) -> Option<&'c [u8]> {
    match cell {
        Cell::Text(text) if std::str::from_utf8(text).is_err() => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_utf8_is_replaced_and_the_rest_stays() {
        let cells =
            [Cell::Text(b"a\xE9b"), Cell::Null, Cell::Text("ü".as_bytes()), Cell::Text(b"\xFF")];
        let texts = repaired(&cells);
        let expected = [
            Cell::Text("a\u{FFFD}b".as_bytes()),
            Cell::Null,
            cells[2],
            Cell::Text("\u{FFFD}".as_bytes()),
        ];
        assert_eq!(with_repaired(&cells, &mut texts.iter()), expected);
    }
}

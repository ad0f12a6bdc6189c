//! Rows as keys and documents.

use super::casts::Casts;
use super::hole::{Hole, write_hole};
use super::value::write_value;
use crate::cell::Cell;
use crate::mapping::{Plan, write_key_column};

/// The key of a row of which all columns of the key are known.
#[derive(Clone, Copy, Debug)]
pub struct RowKey<'r> {
    plan: &'r Plan,
    cells: &'r [Cell<'r>],
    old: Option<&'r [Cell<'r>]>,
}

impl<'r> RowKey<'r> {
    /// The key of the row of these cells; a column that an update left out is in `old`. `None`
    /// where a column of the key is NULL, or neither here nor there: the row is not known then. The
    /// old tuple of a partition, for example, can lack columns of the root's key.
    #[must_use]
    pub fn new(plan: &'r Plan, cells: &'r [Cell<'r>], old: Option<&'r [Cell<'r>]>) -> Option<Self> {
        let known = |&column: &usize| matches!(cell(cells, old, column), Cell::Text(_));
        plan.key().iter().all(known).then_some(Self { plan, cells, old })
    }

    /// Writes the key.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.plan.keyspace());
        for (position, &column) in self.plan.key().iter().enumerate() {
            if position > 0 {
                out.push(b'/');
            }
            if let Cell::Text(text) = cell(self.cells, self.old, column) {
                write_key_column(out, text);
            }
        }
    }
}

/// Writes the document of a row: the JSON object that `row_to_json` prints, with a hole for each
/// value that is neither in the row nor in `old`, the whole row as it was.
pub fn write_document(
    plan: &Plan,
    cells: &[Cell<'_>],
    old: Option<&[Cell<'_>]>,
    casts: &mut Casts,
    out: &mut Vec<u8>,
    holes: &mut Vec<Hole>,
) {
    let start = out.len();
    out.push(b'{');
    for (position, member) in plan.members().iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        match cell(cells, old, position) {
            Cell::UnchangedToast => write_hole(out, holes, start, &member.json_name),
            Cell::Null => {
                out.extend_from_slice(&member.json_name);
                out.extend_from_slice(b":null");
            }
            Cell::Text(text) => {
                out.extend_from_slice(&member.json_name);
                out.push(b':');
                write_value(out, &member.kind, text, casts);
            }
        }
    }
    out.push(b'}');
}

/// Has `casts` take note of the values of a row that the server has to cast and that are not known.
pub fn want_casts(plan: &Plan, cells: &[Cell<'_>], old: Option<&[Cell<'_>]>, casts: &mut Casts) {
    let mut nowhere = Vec::new();
    for column in plan.casts() {
        if let Cell::Text(text) = cell(cells, old, column) {
            nowhere.clear();
            write_value(&mut nowhere, &plan.members()[column].kind, text, casts);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use crate::postgres::TableColumn;
    use crate::table_name::TableName;

    fn plan(key: &[&str]) -> Plan {
        let cast = Kind::Array { element: Box::new(Kind::Cast { type_oid: 7 }), delimiter: b',' };
        let columns = [("a", Kind::Number), ("b \"q\"", cast), ("c", Kind::Boolean)]
            .map(|(name, kind)| TableColumn { name: name.to_owned(), type_oid: 0, kind });
        let name = TableName { schema: "public".to_owned(), name: "t".to_owned() };
        let key: Vec<String> = key.iter().map(|&name| name.to_owned()).collect();
        Plan::new("p", &name, &columns, Some(&key)).expect("the key's columns are there")
    }

    fn key(plan: &Plan, cells: &[Cell<'_>], old: Option<&[Cell<'_>]>) -> Option<String> {
        let mut out = Vec::new();
        RowKey::new(plan, cells, old)?.write(&mut out);
        Some(String::from_utf8_lossy(&out).into_owned())
    }

    fn document(plan: &Plan, cells: &[Cell<'_>], casts: &mut Casts) -> String {
        let mut out = Vec::new();
        write_document(plan, cells, None, casts, &mut out, &mut Vec::new());
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn keys_follow_the_key_order_and_are_known_or_not() {
        let plan = plan(&["c", "a"]);
        let (a, t, left_out) = (Cell::Text(b"1"), Cell::Text(b"t"), Cell::UnchangedToast);
        let old = [Cell::Text(b"7"), Cell::Null, Cell::Text(b"f")];
        let without = [Cell::Null; 3];
        for (cells, old, expected) in [
            ([a, Cell::Null, t], None, Some("/p/t/t/1")),
            ([left_out, Cell::Null, t], Some(&old[..]), Some("/p/t/t/7")),
            ([left_out, Cell::Null, t], Some(&without[..]), None),
            ([left_out, Cell::Null, t], None, None),
            ([Cell::Null, Cell::Null, t], None, None),
        ] {
            assert_eq!(key(&plan, &cells, old).as_deref(), expected, "{cells:?} {old:?}");
        }
        assert_eq!(key(&plan, &[a], None), None);
    }

    #[test]
    fn unchanged_values_come_from_the_old_row() {
        let plan = plan(&["a"]);
        let new = [Cell::Text(b"1"), Cell::UnchangedToast, Cell::UnchangedToast];
        let old = [Cell::Text(b"7"), Cell::Text(b"{}"), Cell::Text(b"t")];
        let (mut out, mut casts) = (Vec::new(), Casts::default());
        write_document(&plan, &new, Some(&old), &mut casts, &mut out, &mut Vec::new());
        assert_eq!(String::from_utf8_lossy(&out), r#"{"a":1,"b \"q\"":[],"c":true}"#);
    }

    #[test]
    fn values_that_the_server_has_to_cast_are_asked_for_once() {
        let plan = plan(&["a"]);
        let cells = [Cell::Text(b"1"), Cell::Text(b"{x,NULL,y,x}"), Cell::Null];
        let mut casts = Casts::default();
        want_casts(&plan, &cells, None, &mut casts);
        assert!(casts.are_wanted());
        for (type_oid, mut texts) in casts.take_wanted() {
            texts.sort();
            assert_eq!((type_oid, &texts[..]), (7, &[b"x".to_vec(), b"y".to_vec()][..]));
            casts.learn(7, b"x".to_vec(), Some(br#"{"x":1}"#.to_vec()));
            casts.learn(7, b"y".to_vec(), None);
        }
        want_casts(&plan, &cells, None, &mut casts);
        assert!(!casts.are_wanted());
        let expected = r#"{"a":1,"b \"q\"":[{"x":1},null,"y",{"x":1}],"c":null}"#;
        assert_eq!(document(&plan, &cells, &mut casts), expected);
    }
}

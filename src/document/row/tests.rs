use std::collections::BTreeMap;

use super::*;
use crate::kind::Kind;
use crate::mapping::Shapes;
use crate::postgres::TableColumn;
use crate::table_name::TableName;

fn plan(key: &[&str]) -> Plan {
    let cast = Kind::Array { element: Box::new(Kind::Cast { type_oid: 7 }), delimiter: b',' };
    let columns = [("a", Kind::Number), ("b \"q\"", cast), ("c", Kind::Boolean)]
        .map(|(name, kind)| TableColumn { name: name.to_owned(), type_oid: 0, kind });
    let name = TableName { schema: "public".to_owned(), name: "t".to_owned() };
    let key: Vec<String> = key.iter().map(|&name| name.to_owned()).collect();
    let shapes = Shapes::new("p", BTreeMap::new());
    Plan::new(&shapes, &name, &columns, Some(&key), false).expect("the key's columns are there")
}

fn key(plan: &Plan, cells: &[Cell<'_>], old: Option<&[Cell<'_>]>) -> Option<String> {
    let mut out = Vec::new();
    match Row::new(cells, old).key(&plan.outputs()[0]) {
        KeyOf::Known(key) => key.write(&mut out),
        KeyOf::None => return Some("none".to_owned()),
        KeyOf::Unknown => return None,
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn document(plan: &Plan, cells: &[Cell<'_>], casts: &mut Casts) -> String {
    let mut out = Vec::new();
    let value = &plan.outputs()[0].value;
    write_document(plan, value, &Row::new(cells, None), casts, &mut out, &mut Vec::new());
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
    let (value, row) = (&plan.outputs()[0].value, Row::new(&new, Some(&old)));
    write_document(&plan, value, &row, &mut casts, &mut out, &mut Vec::new());
    assert_eq!(String::from_utf8_lossy(&out), r#"{"a":1,"b \"q\"":[],"c":true}"#);
}

#[test]
fn values_that_the_server_has_to_cast_are_asked_for_once() {
    let plan = plan(&["a"]);
    let cells = [Cell::Text(b"1"), Cell::Text(b"{x,NULL,y,x}"), Cell::Null];
    let mut casts = Casts::default();
    want_casts(&plan, &Row::new(&cells, None), &mut casts);
    assert!(casts.are_wanted());
    for (type_oid, mut texts) in casts.take_wanted() {
        texts.sort();
        assert_eq!((type_oid, &texts[..]), (7, &[b"x".to_vec(), b"y".to_vec()][..]));
        casts.learn(7, b"x".to_vec(), Some(br#"{"x":1}"#.to_vec()));
        casts.learn(7, b"y".to_vec(), None);
    }
    want_casts(&plan, &Row::new(&cells, None), &mut casts);
    assert!(!casts.are_wanted());
    let expected = r#"{"a":1,"b \"q\"":[{"x":1},null,"y",{"x":1}],"c":null}"#;
    assert_eq!(document(&plan, &cells, &mut casts), expected);
}

/// The plan of a table `t` of the columns `id`, `n` and `s` with this block.
fn shaped(block: &str) -> Plan {
    let columns = [("id", Kind::Number), ("n", Kind::Number), ("s", Kind::Text)]
        .map(|(name, kind)| TableColumn { name: name.to_owned(), type_oid: 0, kind });
    let name = TableName { schema: "public".to_owned(), name: "t".to_owned() };
    let shapes = Shapes::new("p", crate::config::block::tables_of(block));
    Plan::new(&shapes, &name, &columns, Some(&["id".to_owned()]), true).expect(block)
}

/// What each output of a plan gives of a row: its key, and what is under it.
fn given(plan: &Plan, row: &Row<'_>) -> Vec<String> {
    let output = |output: &Output| {
        let key = match row.key(output) {
            KeyOf::Known(key) => key,
            KeyOf::None => return "none".to_owned(),
            KeyOf::Unknown => return "unknown".to_owned(),
        };
        let (mut out, mut holes) = (Vec::new(), Vec::new());
        key.write(&mut out);
        out.push(b' ');
        match row.presence(output) {
            Presence::There => {
                let casts = &mut Casts::default();
                write_document(plan, &output.value, row, casts, &mut out, &mut holes);
            }
            other => out.extend(format!("{other:?}").bytes()),
        }
        format!("{}{}", String::from_utf8_lossy(&out), if holes.is_empty() { "" } else { " holed" })
    };
    plan.outputs().iter().map(output).collect()
}

#[test]
fn shapes_give_keys_and_values() {
    let row = [Cell::Text(b"1"), Cell::Null, Cell::Text(b"a\"/")];
    for (block, expected) in [
        ("", r#"/p/t/1 {"id":1,"n":null,"s":"a\"/"}"#),
        ("nulls = 'omit'", r#"/p/t/1 {"id":1,"s":"a\"/"}"#),
        ("columns = ['s', 'n']", r#"/p/t/1 {"s":"a\"/","n":null}"#),
        ("omit = ['id']\nnulls = 'omit'", r#"/p/t/1 {"s":"a\"/"}"#),
        ("key = '/k/{id}'\nvalue = '{s}'", "/k/1 a\"/"),
        ("key = 'k/{s}/{id}'\nvalue = ''", "k/a\"%2F/1 "),
        ("key = 'k/{n}/{id}'", "none"),
        ("value = '{s}-{n}'", "/p/t/1 Absent"),
        (
            "value = { a = 's', b = '{s}', c = '{s}!', d = '{n}', e = '{n}!', f = 1 }",
            r#"/p/t/1 {"a":"s","b":"a\"/","c":"a\"/!","d":null,"e":null,"f":1}"#,
        ),
        (
            "nulls = 'omit'\nvalue = { a = { n = '{n}', e = '{n}!' }, b = ['{n}', true, { n = '{n}' }], c = 1.0 }",
            r#"/p/t/1 {"a":{},"b":[null,true,{}],"c":1.0}"#,
        ),
        ("value = { n = '{{n}}' }", r#"/p/t/1 {"n":"{n}"}"#),
    ] {
        let plan = shaped(block);
        assert_eq!(given(&plan, &Row::new(&row, None)), [expected], "{block}");
    }
}

#[test]
fn several_keys_are_each_there_or_not() {
    let plan = shaped(
        "keys.'k/{id}/n' = '{n}'\nkeys.'k/{id}/s' = '{s}'\nkeys.'k/{n}/{id}' = { s = '{s}' }",
    );
    let row = [Cell::Text(b"1"), Cell::Null, Cell::Text(b"x")];
    assert_eq!(given(&plan, &Row::new(&row, None)), ["k/1/n Absent", "k/1/s x", "none"]);
    // Of an old key, what is not in it is not known.
    let old = Row { whole: false, ..Row::new(&row, None) };
    assert_eq!(given(&plan, &old), ["k/1/n Absent", "k/1/s x", "unknown"]);
    let without = [Cell::Null; 3];
    assert_eq!(given(&plan, &Row::new(&without, None)), ["unknown", "unknown", "unknown"]);
}

#[test]
fn values_that_were_not_sent() {
    let row = [Cell::Text(b"1"), Cell::Text(b"2"), Cell::UnchangedToast];
    for (block, expected) in [
        ("value = '{s}'", "/p/t/1  holed"),
        ("value = '{s}.'", "/p/t/1 Open"),
        ("value = { s = '{s}', n = '{n}.' }", r#"/p/t/1 {"s":,"n":"2."} holed"#),
        ("value = { s = '{s}.' }", "/p/t/1 Open"),
        ("value = { n = ['{s}', 1] }", r#"/p/t/1 {"n":[,1]} holed"#),
    ] {
        assert_eq!(given(&shaped(block), &Row::new(&row, None)), [expected], "{block}");
    }
}

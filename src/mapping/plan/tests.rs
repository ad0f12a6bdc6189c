use super::*;

fn columns() -> Vec<TableColumn> {
    [("a", Kind::Number), ("b \"q\"", Kind::Text), ("c", Kind::Cast { type_oid: 7 })]
        .map(|(name, kind)| TableColumn { name: name.to_owned(), type_oid: 0, kind })
        .into()
}

fn plan(shape: Option<TableShape>, key: &[&str], full: bool) -> Result<Plan, Unmet> {
    let name = TableName { schema: "public".to_owned(), name: "t".to_owned() };
    let key: Vec<String> = key.iter().map(|&name| name.to_owned()).collect();
    let shapes = Shapes::new("p", shape.map(|shape| (name.clone(), shape)).into_iter().collect());
    Plan::new(&shapes, &name, &columns(), (!key.is_empty()).then_some(&key), full)
}

fn keyed(templates: &[&str]) -> TableShape {
    let keys =
        templates.iter().map(|text| (KeyTemplate::parse(text).expect(text), ValueShape::default()));
    TableShape { place: "f:1".to_owned(), keys: keys.collect(), ..TableShape::default() }
}

#[test]
fn a_table_without_a_whole_key_is_left_out() {
    for (key, problem) in [
        (&[][..], "it has neither a primary key nor an identity index"),
        (&["a", "z"], "not all columns of its key (a, z) are published"),
    ] {
        assert_eq!(plan(None, key, false).expect_err("left out").problem, problem);
    }
}

#[test]
fn templates_hold_the_key_and_nothing_that_is_not_sent() {
    for (template, full, problem) in [
        ("/r/{a}", false, ""),
        ("/r/{a}/{c}", true, ""),
        ("/r/{c}", true, "/r/{c} lacks column a of the table's key (a)"),
        ("/r/x", false, "/r/x lacks column a"),
        ("/r/{a}/{c}", false, "has column c, which PostgreSQL does not send"),
    ] {
        let found = plan(Some(keyed(&[template])), &["a"], full);
        let found = found.err().map(|unmet| unmet.to_string()).unwrap_or_default();
        assert!(found.contains(problem), "{template}: {found}");
        assert_eq!(found.is_empty(), problem.is_empty(), "{template}: {found}");
    }
    let unsent = plan(Some(keyed(&["/r/{a}/{c}"])), &["a"], false).expect_err("unsent");
    assert!(unsent.problem.starts_with("f:1: tables.public.t: "), "{unsent}");
    let cure = "ALTER TABLE \"public\".\"t\" REPLICA IDENTITY FULL";
    assert!(unsent.cure.starts_with(cure), "{unsent}");
    let named = vec![("cc".to_owned(), "f:2".to_owned())];
    let unknown = plan(Some(TableShape { named, ..keyed(&["/r/{a}"]) }), &["a"], false);
    let unknown = unknown.expect_err("unknown").problem;
    assert_eq!(unknown, "f:2: tables.public.t: the table has no column cc, did you mean c?");
}

#[test]
fn columns_and_keys_as_sql() {
    let plan = plan(None, &["c", "a"], false).expect("a plan");
    assert_eq!(plan.sql_columns(), r#""a", "b ""q""", to_json("c"), "c""#);
    let keys = [&b"/p/t/x%2F'/1"[..], b"/p/t/x", b"/p/t/x/y/z", b"/p/u/x/1", b"/p/t/%/1"];
    let outputs: Vec<_> = plan.outputs().iter().collect();
    let condition = plan.sql_with_keys(&outputs, &keys);
    assert_eq!(condition.as_deref(), Some(r#"("c", "a") IN ((E'x/''', E'1'))"#));
    assert_eq!(plan.sql_with_keys(&outputs, &keys[1..]), None);
    let by_text = plan.sql_with_key_texts(&outputs, &keys[..2]);
    let end = "|| E'/' || replace(replace(format('%s', \"a\"), '%', '%25'), '/', '%2F') IN (E'x%2F''/1', E'x')";
    assert!(by_text.ends_with(end), "{by_text}");
    assert_eq!(plan.with_casts_made().columns()[2].kind, Kind::Json);
}

#[test]
fn keys_of_several_templates_as_sql() {
    let plan = plan(Some(keyed(&["/r/{a}/x", "/s/{a:dns}"])), &["a"], false).expect("a plan");
    let keys = [&b"/r/1/x"[..], b"/s/b/a", b"/r/1"];
    let outputs: Vec<_> = plan.outputs().iter().collect();
    assert_eq!(
        plan.sql_with_keys(&outputs, &keys).as_deref(),
        Some(r#"("a") IN ((E'1')) OR ("a") IN ((E'a.b'))"#)
    );
    assert!(plan.sql_with_key_texts(&outputs, &keys[..1]).contains("|| E'/x' IN (E'1/x')"));
    assert_eq!(plan.sql_with_key_texts(&outputs, &keys[3..]), "false");
    assert_eq!(plan.keyspaces().len(), 2);
    assert!(plan.covers(b"/r/") && !plan.covers(b"/p/t/1"));
}

//! What tables lack that are to be nested.

use super::*;

#[test]
fn what_the_tables_lack() {
    let items = || owned(&ITEMS);
    let by_line = foreign_key(1, 0, "line=id");
    let by_order = foreign_key(1, 0, "order_id=id");
    let with = |change: fn(&mut ForeignKey)| {
        let mut changed = by_order.clone();
        change(&mut changed);
        vec![changed]
    };
    let ok = || vec![by_order.clone()];
    for (block, items, keys, problem, cure) in [
        ("nest.i = { table = 'items' }", items(), ok(), "", ""),
        (
            "nest.i = { table = 'items' }",
            items(),
            vec![],
            "f.toml:1: tables.public.orders: nest.i: table public.items has no foreign key to table public.orders",
            "ALTER TABLE \"public\".\"items\" ADD FOREIGN KEY (...) REFERENCES \"public\".\"orders\" (\"id\")",
        ),
        (
            "nest.i = { table = 'items' }",
            items(),
            vec![by_order.clone(), by_line.clone()],
            "several foreign keys to table public.orders: (line), (order_id)",
            "by = [\"line\"]",
        ),
        ("nest.i = { table = 'items' }", items(), vec![by_order.clone(), by_order.clone()], "", ""),
        (
            "nest.i = { table = 'items', by = ['line'] }",
            items(),
            ok(),
            "has no foreign key (line) to",
            "FOREIGN KEY (\"line\")",
        ),
        (
            "nest.i = { table = 'items', by = ['lin'] }",
            items(),
            ok(),
            "f.toml:2: tables.public.orders: nest.i: table public.items has no column lin, did you mean line?",
            "",
        ),
        (
            "nest.i = { table = 'items' }",
            items(),
            with(|key| key.validated = false),
            "foreign key fk_1 of table public.items is not validated",
            "ALTER TABLE \"public\".\"items\" VALIDATE CONSTRAINT \"fk_1\"",
        ),
        (
            "nest.i = { table = 'items' }",
            items(),
            with(|key| key.columns[0].1 = "note".to_owned()),
            "references (note), and the key of table public.orders is (id)",
            "REFERENCES \"public\".\"orders\" (\"id\")",
        ),
        (
            "nest.i = { table = 'items' }",
            items(),
            with(|key| key.unlike = vec!["order_id".to_owned()]),
            "column order_id of foreign key fk_1 is of a type with equal values that are printed differently",
            "integers, oid",
        ),
        (
            "nest.i = { table = 'items', by = ['order_id'] }",
            owned(&("items", ITEMS.1, "line")),
            ok(),
            "PostgreSQL does not send column order_id of foreign key fk_1 for a deleted row of table public.items",
            "ALTER TABLE \"public\".\"items\" REPLICA IDENTITY FULL",
        ),
        ("nest.i = { table = 'items' }", full(&("items", ITEMS.1, "line")), ok(), "", ""),
        (
            "nest.i = { table = 'items' }",
            owned(&("items", ITEMS.1, "")),
            ok(),
            "nest.i: table public.items is left out: it has neither a primary key",
            "give it a primary key",
        ),
        (
            "nest.i = { table = 'itens' }",
            items(),
            ok(),
            "table public.itens is not published",
            "ALTER PUBLICATION ... ADD TABLE public.itens",
        ),
        (
            "nest.note = { table = 'items' }",
            items(),
            ok(),
            "nest.note: the document has a member note already",
            "leave note out of the object",
        ),
        ("omit = ['note']\nnest.note = { table = 'items' }", items(), ok(), "", ""),
        (
            "key = '/o/{id}/{note}'\nnest.i = { table = 'items' }",
            items(),
            ok(),
            "the key /o/{id}/{note} has column note, which is not in the key of table public.orders (id)",
            "take {note} out of it",
        ),
        (
            "nest.i = { table = 'items', omit = ['line'] }",
            items(),
            ok(),
            "an element has no member with column line alone, which is of the key of table public.items \
             (order_id, line)",
            "add line to it",
        ),
        ("nest.i = { table = 'items', omit = ['order_id'] }", items(), ok(), "", ""),
        ("nest.i = { table = 'items', value = '{sku}' }", items(), ok(), "column line alone", ""),
        ("nest.i = { table = 'items', value = 'l{line}' }", items(), ok(), "column line alone", ""),
        (
            "nest.i = { table = 'items', columns = ['line'], order = ['sku'] }",
            items(),
            ok(),
            "no member with column sku alone, which is of order",
            "add sku",
        ),
        (
            "nest.i = { table = 'items', order = ['doc'] }",
            items(),
            ok(),
            "order: column doc is of a type that elements cannot be ordered by",
            "order by integers",
        ),
        (
            "nest.i = { table = 'items' }",
            owned(&("items", ITEMS.1, "order_id h")),
            ok(),
            "column h of table public.items is of a type that only the server can print",
            "columns of other types",
        ),
        (
            "nest.i = { table = 'items', as = 'map', member = 'x' }",
            items(),
            ok(),
            "member lacks column line of the key of table public.items (order_id, line)",
            "add {line} to it",
        ),
        (
            "nest.i = { table = 'items', as = 'map', member = '{sku}:{line}' }",
            items(),
            ok(),
            "member has column sku, which PostgreSQL does not send for a deleted row",
            "REPLICA IDENTITY FULL",
        ),
        (
            "nest.i = { table = 'items', as = 'map', member = '{line}-{tag}' }",
            full(&ITEMS),
            ok(),
            "member does not say where a column ends",
            "put a text between the columns",
        ),
    ] {
        let settings = format!("[tables.orders]\n{block}\n");
        let orders = Owned { full: block.contains("{note}"), ..owned(&ORDERS) };
        let found = plans(&settings, &[orders, items], &keys);
        let reason = found[0].as_ref().err();
        let nests = found[1].as_ref().map_or(0, |items| items.nests().len());
        // Neither of the two knows of the other then.
        assert_eq!(nests, usize::from(problem.is_empty()), "{block}: {found:?}");
        let (said, told) =
            reason.map(|unmet| (unmet.problem.as_str(), unmet.cure.as_str())).unwrap_or_default();
        assert_eq!(reason.is_none(), problem.is_empty(), "{block}: {reason:?}");
        assert!(said.contains(problem) && told.contains(cure), "{block}: {reason:?}");
    }
    let filtered = Owned { filtered: true, ..owned(&ORDERS) };
    let block = "[tables.orders]\nnest.i = { table = 'items' }\n";
    let found = plans(block, &[filtered, items()], &ok());
    let reason = found[0].as_ref().expect_err("a filter").to_string();
    assert!(reason.contains("table public.orders has a row filter"), "{reason}");
    let filtered = Owned { filtered: true, ..items() };
    assert!(plans(block, &[owned(&ORDERS), filtered], &ok())[0].is_ok());
}

#[test]
fn names_of_members_that_say_what_each_column_is() {
    let table = |types: [u32; 3]| {
        let columns: &'static [_] = match types {
            [INT, TEXT, UUID] => &[("order_id", INT), ("a", INT), ("b", TEXT), ("c", UUID)],
            [TEXT, TEXT, INT] => &[("order_id", INT), ("a", TEXT), ("b", TEXT), ("c", INT)],
            _ => &[("order_id", INT), ("a", INT), ("b", INT), ("c", INT)],
        };
        owned(&("items", columns, "order_id a b c"))
    };
    for (types, member, fits) in [
        ([INT, TEXT, UUID], "{a}:{b}:{c}", true),
        ([INT, TEXT, UUID], "{a}:{b}-{c}", false),
        ([INT, TEXT, UUID], "{a}1{b}:{c}", false),
        ([INT, TEXT, UUID], "{a}.{c}.{b}", true),
        ([INT, TEXT, UUID], "{b}{a}:{c}", false),
        ([TEXT, TEXT, INT], "{a}:{b}:{c}", false),
        ([INT, INT, INT], "{a}:{b}/{c}", true),
        ([INT, INT, INT], "x{a}-x{b}:{c}", true),
        ([INT, INT, INT], "{a}-{b}:{c}", false),
    ] {
        let found = nested(&format!("as = 'map', member = '{member}'"), table(types));
        assert_eq!(found[0].is_ok(), fits, "{types:?} {member}: {:?}", found[0]);
    }
}

#[test]
fn who_lacks_a_child_is_left_out_with_those_above() {
    let a: Sketch = ("a", &[("id", INT)], "id");
    let b: Sketch = ("b", &[("a", INT), ("id", INT)], "a id");
    let c: Sketch = ("c", &[("a", INT), ("b", INT), ("id", INT)], "a b id");
    let blocks = "[tables.a]\nnest.b = { table = 'b' }\n[tables.b]\nnest.c = { table = 'c' }\n";
    let tables = || [owned(&a), owned(&b), owned(&c)];
    let keys = [foreign_key(1, 0, "a=id"), foreign_key(2, 1, "a=a b=id")];
    assert!(plans(blocks, &tables(), &keys).iter().all(Result::is_ok));
    let found = plans(blocks, &tables(), &keys[..1]);
    let reasons: Vec<_> =
        found.iter().map(|plan| plan.as_ref().err().map(ToString::to_string)).collect();
    let [Some(a), Some(b), None] = &reasons[..] else { panic!("{reasons:?}") };
    assert!(
        b.starts_with("f.toml:3: tables.public.b: nest.c: table public.c has no foreign key"),
        "{b}"
    );
    assert!(
        a.starts_with("f.toml:1: tables.public.a: nest.b: table public.b is left out: f.toml:3"),
        "{a}"
    );
    assert!(
        found[2].as_ref().is_ok_and(|plan| plan.nests().is_empty() && !plan.outputs().is_empty())
    );
}

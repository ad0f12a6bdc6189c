use super::*;
use crate::config::block::shapes_of;
use crate::kind::Kind;
use crate::mapping::{Content, Form, Step, TextPart, Value};
use crate::postgres::TableColumn;
use crate::table_name::TableName;

const INT: u32 = 23;
const TEXT: u32 = 25;
const UUID: u32 = 2950;
const JSONB: u32 = 3802;
/// A type with a cast of its own.
const HSTORE: u32 = 20_000;

/// A table: its name, its columns, and the columns of its key.
type Sketch = (&'static str, &'static [(&'static str, u32)], &'static str);

const ORDERS: Sketch = ("orders", &[("id", INT), ("note", TEXT)], "id");
const ITEMS: Sketch = (
    "items",
    &[
        ("order_id", INT),
        ("line", INT),
        ("sku", TEXT),
        ("tag", UUID),
        ("doc", JSONB),
        ("h", HSTORE),
    ],
    "order_id line",
);
/// Its key is found in no foreign key.
const NOTES: Sketch = ("notes", &[("id", TEXT), ("order_id", INT), ("other", INT)], "id");

struct Owned {
    name: TableName,
    columns: Vec<TableColumn>,
    key: Option<Vec<String>>,
    full: bool,
    filtered: bool,
}

fn owned(&(name, columns, key): &Sketch) -> Owned {
    let kind = |type_oid| match type_oid {
        HSTORE => Kind::Cast { type_oid },
        _ => Kind::of_builtin(type_oid).expect("a type"),
    };
    let column = |&(name, type_oid): &(&str, u32)| TableColumn {
        name: name.to_owned(),
        type_oid,
        kind: kind(type_oid),
    };
    let key: Vec<_> = key.split_whitespace().map(str::to_owned).collect();
    Owned {
        name: name.parse().expect(name),
        columns: columns.iter().map(column).collect(),
        key: Some(key).filter(|key| !key.is_empty()),
        full: false,
        filtered: false,
    }
}

fn full(sketch: &Sketch) -> Owned {
    Owned { full: true, ..owned(sketch) }
}

/// A foreign key of the table at one place to the one at another: `order_id=id`.
fn foreign_key(table: u32, parent: u32, columns: &str) -> ForeignKey {
    let pair = |pair: &str| {
        let (own, parent) = pair.split_once('=').expect(pair);
        (own.to_owned(), parent.to_owned())
    };
    ForeignKey {
        name: format!("fk_{table}"),
        table,
        parent,
        columns: columns.split_whitespace().map(pair).collect(),
        validated: true,
        unlike: Vec::new(),
        facts: String::new(),
    }
}

/// The plans of these tables, whose OIDs are their places.
fn plans(blocks: &str, tables: &[Owned], foreign_keys: &[ForeignKey]) -> Vec<Result<Plan, Unmet>> {
    let shapes = Shapes::new("p", shapes_of(blocks));
    let table = |(oid, owned)| {
        let Owned { name, columns, key, full, filtered }: &Owned = owned;
        Table {
            oid,
            name,
            columns,
            key: key.as_deref(),
            full_identity: *full,
            is_filtered: *filtered,
        }
    };
    let tables = (0..).zip(tables).map(table).collect();
    let plans = Family { shapes: &shapes, tables, foreign_keys }.plans();
    plans.into_iter().map(|planned| planned.map(|planned| planned.plan)).collect()
}

/// The plans of orders and items, of which items are nested as `nest` says.
fn nested(nest: &str, items: Owned) -> Vec<Result<Plan, Unmet>> {
    let block = format!("[tables.orders]\nnest.items = {{ table = 'items', {nest} }}\n");
    plans(&block, &[owned(&ORDERS), items], &[foreign_key(1, 0, "order_id=id")])
}

fn way(members: &[&str]) -> Vec<Step> {
    let step = |name: &&str| Step::Member(format!("\"{name}\"").into_bytes());
    members.iter().map(step).collect()
}

#[test]
fn what_rows_become_in_the_documents_of_others() {
    let found = nested("order = ['sku']", owned(&ITEMS));
    let [Ok(orders), Ok(items)] = &found[..] else { panic!("{found:?}") };
    let Value::Json(Content::Object(members), false) = &orders.outputs()[0].value else {
        panic!("{orders:?}")
    };
    let names: Vec<_> =
        members.iter().map(|member| String::from_utf8_lossy(&member.json_name)).collect();
    assert_eq!(names, ["\"id\"", "\"note\"", "\"items\""]);
    assert_eq!(items.keyspaces()[0].prefix(), b"/p/items/");
    let [nest] = items.nests() else { panic!("{items:?}") };
    assert_eq!((&nest.parent, &nest.keyspace), (&owned(&ORDERS).name, &orders.keyspaces()[0]));
    assert_eq!(orders.nested().collect::<Vec<_>>(), [&nest.nested]);
    // The key of the order is written from the item's own column.
    assert_eq!((&nest.element.placeholders[..], &nest.element.key[..]), (&[0][..], &[][..]));
    assert_eq!(nest.element.template, orders.outputs()[0].template);
    assert_eq!((&nest.key[..], &nest.name[..]), (&[1][..], &[][..]));
    let Form::Array { key, order } = &nest.nested.form else { panic!("{nest:?}") };
    assert_eq!((&key[0][..], key.len()), (&way(&["line"])[..], 1));
    let order: Vec<_> = order.iter().map(|rank| (rank.way.to_vec(), rank.is_integer)).collect();
    assert_eq!(order, [(way(&["sku"]), false), (way(&["line"]), true)]);
}

#[test]
fn elements_of_other_shapes() {
    let element = |nest: &str| {
        let found = nested(nest, owned(&ITEMS));
        let items = found[1].as_ref().expect(nest);
        items.nests().first().expect(nest).clone()
    };
    let scalar = element("value = '{line}'");
    assert_eq!(scalar.element.value, Value::Json(Content::Column(1, [].into()), false));
    let Form::Array { key, .. } = &scalar.nested.form else { panic!("{scalar:?}") };
    assert_eq!(key[0].len(), 0);
    let deep = element("value = { a = { b = '{line}' }, t = '{sku}-{line}' }, nulls = 'omit'");
    let Form::Array { key, .. } = &deep.nested.form else { panic!("{deep:?}") };
    assert_eq!(key[0][..], way(&["a", "b"])[..]);
    assert!(!deep.element.certain);
    let map = element("as = 'map', member = 'l{line}', value = '{sku}:{line}'");
    assert_eq!(map.nested.form, Form::Map);
    assert_eq!(map.name, [TextPart::Literal("l".to_owned()), TextPart::Column(1)]);
    let text = vec![TextPart::Column(2), TextPart::Literal(":".to_owned()), TextPart::Column(1)];
    assert_eq!(map.element.value, Value::Json(Content::Text(text), false));
}

#[test]
fn a_table_in_several_documents_in_its_own_and_in_none_of_its_own() {
    let keys = [
        foreign_key(2, 0, "order_id=id"),
        foreign_key(2, 0, "other=id"),
        foreign_key(2, 1, "order_id=order_id other=line"),
    ];
    let notes = || [owned(&ORDERS), owned(&ITEMS), full(&NOTES)];
    let found = plans(
        "[tables.orders]\nkey = '/o/{id}'\nnest.b = { table = 'notes', by = ['other'] }\n\
         nest.a = { table = 'notes', by = ['order_id'], value = '{id}' }\n\
         [tables.items]\nnest.n = { table = 'notes' }\n[tables.notes]\nstandalone = false\n",
        &notes(),
        &keys,
    );
    let notes_plan = found[2].as_ref().expect("a plan");
    assert!(notes_plan.outputs().is_empty() && notes_plan.keyspaces().is_empty());
    let nests: Vec<_> = notes_plan
        .nests()
        .iter()
        .map(|nest| {
            let name = String::from_utf8_lossy(&nest.nested.json_name).into_owned();
            (nest.parent.name.as_str(), name, nest.element.placeholders.clone())
        })
        .collect();
    let expected = [
        ("orders", "\"b\"".to_owned(), vec![2]),
        ("orders", "\"a\"".to_owned(), vec![1]),
        ("items", "\"n\"".to_owned(), vec![1, 2]),
    ];
    assert_eq!(nests, expected);
    let nested: Vec<_> = found[0].as_ref().expect("a plan").nested().collect();
    assert_eq!(nested, [&notes_plan.nests()[0].nested, &notes_plan.nests()[1].nested]);
    // The members of what is nested are not in it.
    let itself = plans(
        "[tables.notes]\nnest.answers = { table = 'notes' }\n",
        &[full(&("notes", &[("id", TEXT), ("of", TEXT)], "id"))],
        &[foreign_key(0, 0, "of=id")],
    );
    let itself = itself[0].as_ref().expect("a plan");
    assert_eq!((itself.nests().len(), itself.nested().count()), (1, 1));
    let Value::Json(Content::Object(members), _) = &itself.nests()[0].element.value else {
        panic!("{itself:?}")
    };
    assert_eq!(members.len(), 2);
}

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

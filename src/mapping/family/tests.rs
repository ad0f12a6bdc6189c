mod lacks;

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

use super::*;
use crate::config::file;
use crate::mapping::{FormShape, Node, TextPart};

fn read(text: &str) -> Result<BTreeMap<TableName, TableShape>, String> {
    let contents = file::parse(std::path::Path::new("f.toml"), text.as_bytes());
    contents.map(|contents| contents.tables).map_err(|error| error.to_string())
}

#[test]
fn names_of_tables() {
    for (header, expected) in [
        ("tables.routes", "public.routes"),
        ("tables.\"sales.orders\"", "sales.orders"),
        ("tables.sales.orders", "sales.orders"),
        ("tables.'\"a.b\".\"c d\"'", "\"a.b\".\"c d\""),
        ("tables.sales.\"a.b\"", "sales.\"a.b\""),
    ] {
        let shapes = read(&format!("[{header}]\nkey = '/k/{{id}}'")).expect(header);
        let names: Vec<_> = shapes.keys().map(ToString::to_string).collect();
        assert_eq!(names, [expected], "{header}");
    }
}

#[test]
fn what_a_block_says() {
    let shapes = read(
        "[tables.a]\nkey = '/a/{id}'\nomit = ['x']\nnulls = 'omit'\n\
         [tables.b.keys]\n'b/{id}/z' = '{rule}'\n'b/{id}/a' = { n = '{n}', t = 'x{n}', c = [1, 'x', { y = 1.5 }] }\n",
    )
    .expect("blocks");
    let (a, b) = (shapes.values().next().expect("a"), shapes.values().last().expect("b"));
    assert!(a.omit_nulls && !b.omit_nulls);
    let omit = ValueShape::Columns(Columns::Omit(vec!["x".to_owned()]));
    assert_eq!((a.templates(), &a.keys[0].1), (vec!["/a/{id}".to_owned()], &omit));
    assert_eq!(b.templates(), ["b/{id}/z", "b/{id}/a"]);
    let literal = |text: &str| TextPart::Literal(text.to_owned());
    let column = |name: &str| TextPart::Column(name.to_owned());
    assert_eq!(b.keys[0].1, ValueShape::Text(vec![column("rule")]));
    let y = Node::Object(vec![("y".to_owned(), Node::Constant(b"1.5".to_vec()))]);
    let c = vec![Node::Constant(b"1".to_vec()), Node::Text(vec![literal("x")]), y];
    let members = [
        ("n", Node::Column("n".to_owned())),
        ("t", Node::Text(vec![literal("x"), column("n")])),
        ("c", Node::Array(c)),
    ];
    let members = members.map(|(name, node)| (name.to_owned(), node));
    assert_eq!(b.keys[1].1, ValueShape::Object(members.into()));
    let named: Vec<_> = b.named.iter().map(|(name, at)| format!("{name} {at}")).collect();
    assert_eq!(named, ["id f.toml:6", "rule f.toml:6", "id f.toml:7", "n f.toml:7", "n f.toml:7"]);
    let again: String =
        b.words.iter().map(|word| format!("{}={}\n", word.name, word.value)).collect();
    let again = read(&format!("[tables.b]\n{again}")).expect(&again);
    assert_eq!(again.values().next().expect("b").fingerprint(), b.fingerprint());
    assert_ne!(a.fingerprint(), b.fingerprint());
}

#[test]
fn what_is_refused() {
    for (text, problem) in [
        (
            "[tables.t]\n\nkye = 1",
            "f.toml:3: tables.public.t: unknown setting kye, did you mean key?",
        ),
        (
            "[tables.t]\nkey = '/a/{id}'\nkeys.'/b/{id}' = ''",
            "f.toml:1: tables.public.t: key and keys exclude",
        ),
        (
            "[tables.t]\nomit = ['a']\ncolumns = ['b']",
            "f.toml:1: tables.public.t: columns and omit exclude",
        ),
        ("[tables.t]\ncolumns = ['b', 'b']", "columns: names column b twice"),
        ("[tables.t]\ncolumns = 'b'", "columns: expected a list of columns"),
        ("[tables.t]\nkey = 1", "key: expected a string"),
        (
            "[tables.t]\nkey = '/a/{id:roar}'",
            "f.toml:2: tables.public.t: key: has the unknown filter roar",
        ),
        ("[tables.t]\nvalue = '{id:raw}'", "value: has a filter in {id:raw}: filters are for keys"),
        ("[tables.t]\nvalue = { a = inf }", "value: inf is no number that JSON has"),
        ("[tables.t]\nvalue = { a = 2024-01-01 }", "a date or a time"),
        ("[tables.t]\nvalue = 1", "value: expected a text or an object"),
        ("[tables.t]\nvalue = '{a'", "value: has a lone {"),
        ("[tables.t]\nnulls = 'drop'", "nulls: expected keep or omit, got \"drop\""),
        ("[tables.t]\nkeys = {}", "keys: expected a table of templates"),
        ("[tables.t]\n[tables.'public.t']", "f.toml:2: tables.public.t: there are two blocks"),
        ("[tables.'a.b.c']", "f.toml:1: tables.a.b.c: expected schema.table"),
        ("[tables]\nt = 1", "f.toml:2: tables.t: expected a block of settings"),
        ("tables = 1", "f.toml:1: unknown setting tables"),
    ] {
        let found = read(text).expect_err(text);
        assert!(found.contains(problem), "{text}: {found}");
    }
}

#[test]
fn what_is_nested() {
    let shapes = read(
        "[tables.t]\nnest.z = { table = 'sales.u', by = ['a', 'b'], order = ['n'], omit = ['x'], nulls = 'omit' }\n\
         [tables.t.nest.\"a b\"]\ntable = 'v'\nas = 'map'\nmember = '{h}:{p}'\nvalue = '{h}'\n\
         [tables.v]\nstandalone = false\n",
    )
    .expect("blocks");
    let (t, v) = (shapes.values().next().expect("t"), shapes.values().last().expect("v"));
    assert!(v.only_nested && !t.only_nested);
    let [z, a] = &t.nests[..] else { panic!("{t:?}") };
    assert_eq!((z.member.as_str(), z.table.to_string()), ("z", "sales.u".to_owned()));
    assert_eq!(z.by, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(z.form, FormShape::Array(vec!["n".to_owned()]));
    assert_eq!(z.value, ValueShape::Columns(Columns::Omit(vec!["x".to_owned()])));
    assert!(z.omit_nulls && !a.omit_nulls);
    assert_eq!((z.place.as_str(), z.block.as_str()), ("f.toml:2", "f.toml:1"));
    assert_eq!((a.member.as_str(), a.by.as_ref()), ("a b", None));
    let column = |name: &str| TextPart::Column(name.to_owned());
    let colon = TextPart::Literal(":".to_owned());
    assert_eq!(a.form, FormShape::Map(vec![column("h"), colon, column("p")]));
    assert_eq!(a.value, ValueShape::Scalar(Node::Column("h".to_owned())));
    let named: Vec<_> = a.named.iter().map(|(name, at)| format!("{name} {at}")).collect();
    assert_eq!(named, ["h f.toml:6", "p f.toml:6", "h f.toml:7"]);
    let again: String =
        t.words.iter().map(|word| format!("{}={}\n", word.name, word.value)).collect();
    let again = read(&format!("[tables.t]\n{again}")).expect(&again);
    let again = again.values().next().expect("t");
    assert_eq!((again.fingerprint(), again.nests.len()), (t.fingerprint(), 2));
}

#[test]
fn what_is_refused_of_nested_rows() {
    for (block, problem) in [
        (
            "nest.a = { tabel = 'b' }",
            "f.toml:2: tables.public.t: nest.a: unknown setting tabel, did you mean table?",
        ),
        (
            "nest.a = { table = 'b', nest = {} }",
            "f.toml:2: tables.public.t: nest.a: nest: what is nested has nothing nested",
        ),
        ("\nnest.a = { key = '/a' }", "f.toml:3: tables.public.t: nest.a: unknown setting key"),
        ("\nnest.a = { order = ['b'] }", "f.toml:1: tables.public.t: nest.a: table is missing"),
        ("nest.a = { table = 'a.b.c' }", "nest.a: table: expected schema.table"),
        ("nest.a = { table = 1 }", "nest.a: table: expected a string"),
        ("nest.a = 'b'", "nest.a: expected { table = ... }"),
        ("nest = {}", "nest: expected members"),
        ("nest.a = { table = 'b', by = [] }", "nest.a: by: expected the columns of a foreign key"),
        ("nest.a = { table = 'b', by = ['c', 'c'] }", "nest.a: by: names column c twice"),
        (
            "nest.a = { table = 'b', as = 'list' }",
            "nest.a: as: expected array or map, got \"list\"",
        ),
        (
            "nest.a = { table = 'b', member = '{c}' }",
            "f.toml:1: tables.public.t: nest.a: member is for maps",
        ),
        (
            "nest.a = { table = 'b', as = 'map' }",
            "f.toml:1: tables.public.t: nest.a: member is missing",
        ),
        (
            "nest.a = { table = 'b', as = 'map', member = '{c}', order = ['d'] }",
            "nest.a: order is for arrays",
        ),
        (
            "nest.a = { table = 'b', as = 'map', member = '{c:raw}' }",
            "nest.a: member: has a filter in {c:raw}",
        ),
        (
            "nest.a = { table = 'b', columns = ['c'], omit = ['d'] }",
            "nest.a: columns and omit exclude each other",
        ),
        (
            "nest.a = { table = 'b', value = '{c}', omit = ['d'] }",
            "nest.a: omit and value exclude each other",
        ),
        ("nest.a = { table = 'b', nulls = 'no' }", "nest.a: nulls: expected keep or omit"),
        ("keys.'/a/{id}' = ''\nnest.a = { table = 'b' }", "keys and nest exclude each other"),
        ("value = '{doc}'\nnest.a = { table = 'b' }", "nest.a: value is a text"),
        ("columns = ['a']\nnest.a = { table = 'b' }", "nest.a: the object has a member a already"),
        (
            "value = { a = 1 }\nnest.a = { table = 'b' }",
            "nest.a: the object has a member a already",
        ),
        ("standalone = 'no'", "standalone: expected true or false"),
        (
            "standalone = false\nkey = '/a/{id}'",
            "f.toml:1: tables.public.t: standalone = false and key exclude each other",
        ),
        ("standalone = false\nomit = ['a']", "standalone = false and omit exclude each other"),
        (
            "standalone = false\nnest.a = { table = 'b' }",
            "standalone = false and nest exclude each other",
        ),
    ] {
        let found = read(&format!("[tables.t]\n{block}\n")).expect_err(block);
        assert!(found.contains(problem), "{block}: {found}");
    }
}

#[test]
fn keys_that_are_among_others() {
    let check = |text: &str| {
        let shapes = crate::mapping::Shapes::new("p", read(text).expect(text));
        shapes.check("state").err().unwrap_or_default()
    };
    for (text, problem) in [
        ("[tables.t]\nkey = '/a/{id}'\n[tables.u]\nkey = '/b/{id}'", ""),
        ("[tables.t]\nkeys.'a/{id}/x' = ''\nkeys.'a/{id}/y' = ''", ""),
        ("[tables.t]\nkey = '/p/t/x{id}'", ""),
        (
            "[tables.t]\nkey = '/a/{id}'\n[tables.u]\nkey = '/a/b/{id}'",
            "among those of table public.",
        ),
        ("[tables.t]\nkey = '/p/u/{id}'\n[tables.u]", "among those of table public.t"),
        ("[tables.t]\nkey = '/state/x{id}'", "/state/ is for etcd.state_path"),
        (
            "[tables.t]\nstandalone = false",
            "f.toml:1: tables.public.t: standalone = false, and no block nests the table",
        ),
        ("[tables.t]\nstandalone = false\n[tables.u]\nnest.a = { table = 't' }", ""),
        ("[tables.t]\nkey = '/s{id}'", "/state/ is for etcd.state_path"),
        ("[tables.t]\nkey = '/.pg2etcd/claims/{id}'", "the claims of pg2etcd"),
        (
            "[tables.t]\nkeys.'a/{id}/x' = ''\nkeys.'a/{id}/{id}' = ''",
            "f.toml:1: tables.public.t: the keys a/{id}/x and a/{id}/{id} may be the same",
        ),
    ] {
        let found = check(text);
        assert!(found.contains(problem), "{text}: {found}");
        assert_eq!(found.is_empty(), problem.is_empty(), "{text}: {found}");
    }
}

//! Each word of a block, on rows that come by dump and stream, change their keys, swap them, go by TRUNCATE, and
//! come again by a redump.

use std::collections::BTreeSet;

use super::copy::Copy;
use crate::support::Servers;

/// A table with a block.
struct Case {
    table: &'static str,
    /// The columns of its key.
    key: &'static str,
    /// What makes its identity another one.
    identity: &'static str,
    /// The words.
    block: &'static str,
    /// Each key with its value, as SQL; `@name` is a column's text with `%` and `/` percent-encoded.
    outputs: &'static [(&'static str, &'static str)],
    /// A key that the templates can give, and no row has.
    stray: &'static str,
    /// One that stands there and that they cannot give.
    other: &'static str,
}

const fn case(table: &'static str, key: &'static str, block: &'static str) -> Case {
    Case { table, key, identity: "", block, outputs: &[], stray: "", other: "" }
}

const DNS: &str =
    "(SELECT string_agg(replace(replace(l, '%', '%25'), '/', '%2F'), '/' ORDER BY o DESC)
    FROM unnest(string_to_array(name, '.')) WITH ORDINALITY u (l, o))";

const CASES: &[Case] = &[
    Case {
        outputs: &[("'/plain/' || id", "row_to_json(t)::text")],
        stray: "/plain/x y",
        other: "/plain/1/x",
        ..case("plain_key", "id", "key = '/plain/{id}'")
    },
    Case {
        outputs: &[("'/raw/r-' || name", "row_to_json(t)::text")],
        stray: "/raw/r-a//b",
        other: "/raw/r-",
        ..case("raw_key", "name", "key = '/raw/r-{name:raw}'")
    },
    Case {
        outputs: &[("'/dns/' || @dns || '/x' || id", "row_to_json(t)::text")],
        stray: "/dns/a/b/x1",
        other: "/dns/a//x1",
        ..case("dns_key", "name, id", "key = '/dns/{name:dns}/x{id}'")
    },
    Case {
        outputs: &[("'{b}/' || @name || '-{}/' || id", "row_to_json(t)::text")],
        stray: "{b}/a-{}/1",
        other: "{b}/a/1",
        ..case("braces", "id, name", "key = '{{b}}/{name}-{{}}/{id}'")
    },
    Case {
        outputs: &[("'no/slash-' || @name", "row_to_json(t)::text")],
        stray: "no/slash-x",
        other: "no/slash-",
        ..case("no_slash", "name", "key = 'no/slash-{name}'")
    },
    Case {
        outputs: &[
            ("'k/' || id || '/note'", "note"),
            ("'k/' || id || '/all'", "json_build_object('n', n, 'doc', doc)::text"),
            ("'/kk-' || id", "'on {}'"),
        ],
        stray: "k/-1/note",
        other: "k/1/more",
        ..case(
            "several",
            "id",
            "[tables.several.keys]\n'k/{id}/note' = '{note}'\n'k/{id}/all' = { n = '{n}', doc = '{doc}' }\n'/kk-{id}' = 'on {{}}'",
        )
    },
    Case {
        outputs: &[("'/copy/columns/' || id", "json_build_object('note', note, 'n', n)::text")],
        stray: "/copy/columns/-1",
        other: "/copy/columns",
        ..case("columns", "id", "columns = ['note', 'n']")
    },
    Case {
        outputs: &[(
            "'/copy/omit/' || id",
            "json_strip_nulls(json_build_object('name', name, 'n', n, 'note', note))::text",
        )],
        stray: "/copy/omit/-1/-1",
        other: "/copy/omitted",
        ..case("omit", "id", "omit = ['doc', 'id']\nnulls = 'omit'")
    },
    Case {
        outputs: &[("'/text/' || id", "n || ': ' || note || ' {' || name || '}'")],
        stray: "/text/-1",
        other: "/text/",
        ..case("value_text", "id", "key = '/text/{id}'\nvalue = '{n}: {note} {{{name}}}'")
    },
    Case {
        outputs: &[("'/lone/' || id", "doc::text")],
        stray: "/lone/-1",
        other: "/lone/",
        ..case("value_lone", "id", "key = '/lone/{id}'\nvalue = '{doc}'")
    },
    Case {
        outputs: &[("'/nothing/' || id", "''")],
        stray: "/nothing/-1",
        other: "/nothing/",
        ..case("value_empty", "id", "key = '/nothing/{id}'\nvalue = ''")
    },
    Case {
        outputs: &[(
            "'/object/' || id",
            "json_build_object('id', id, 'sub', json_build_object('n', n, 'note', note, 'deep',
                json_build_array(doc, json_build_object('k', 'v ' || name, 'z', note))), 'f', 1.5, 't', true, 's', '{}', 'both', note || n)::text",
        )],
        stray: "/object/-1",
        other: "/object/",
        ..case(
            "value_object",
            "id",
            "key = '/object/{id}'\nvalue = { id = '{id}', sub = { n = '{n}', note = '{note}', deep = ['{doc}', { k = 'v {name}', z = '{note}' }] }, f = 1.5, t = true, s = '{{}}', both = '{note}{n}' }",
        )
    },
    Case {
        outputs: &[(
            "'/nulls/' || id",
            r#"concat('{', '"note":' || to_json(note) || ',', '"sub":{', '"note":' || to_json(note) || ',"both":' || to_json(note || '/' || n),
                '},"list":[', coalesce(to_json(note)::text, 'null'), ',{', '"note":' || to_json(note), '}]', ',"doc":' || doc::text, '}')"#,
        )],
        stray: "/nulls/-1",
        other: "/nulls/",
        ..case(
            "nulls_omit",
            "id",
            "nulls = 'omit'\nkey = '/nulls/{id}'\nvalue = { note = '{note}', sub = { note = '{note}', both = '{note}/{n}' }, list = ['{note}', { note = '{note}' }], doc = '{doc}' }",
        )
    },
    Case {
        identity: "FULL",
        outputs: &[("'/full/' || @note || '/' || id", "row_to_json(t)::text")],
        stray: "/full/x/-1",
        other: "/full/x",
        ..case("full_identity", "id", "key = '/full/{note}/{id}'")
    },
    Case {
        identity: "USING INDEX by_index_name_n_key",
        outputs: &[("'/index/' || @name || '/' || n", "n || '/' || id")],
        stray: "/index/x/-1",
        other: "/index/x",
        ..case("by_index", "id", "key = '/index/{name}/{n}'\nvalue = '{n}/{id}'")
    },
];

/// What happens to the rows of each table `@`, and then all that a table's rows can go through.
const CHANGES: &[&str] = &[
    // Two rows swap their keys in one transaction.
    "BEGIN; UPDATE @ SET id = 0, name = 'between' WHERE id = 6; UPDATE @ SET id = 6, name = 'n6/x' WHERE id = 7;
        UPDATE @ SET id = 7, name = 'n7%' WHERE id = 0; COMMIT",
    "INSERT INTO @ SELECT i, 'n' || i, i, 'new', '[]' FROM generate_series(100, 160) i",
    "UPDATE @ SET n = n + 1, note = CASE WHEN id % 3 > 0 THEN coalesce(note, 'is') END, doc = NULL WHERE id < 50",
    "UPDATE @ SET note = 'back', doc = '{\"a\": [null]}' WHERE id % 6 = 3",
    "UPDATE @ SET id = id + 1000 WHERE id % 4 = 0",
    "UPDATE @ SET name = name || '.k%' WHERE id % 4 = 1",
    "UPDATE @ SET id = id + 2000, name = 'm/' || id, n = n + 500, note = NULL WHERE id % 4 = 2",
    "DELETE FROM @ WHERE id % 5 = 0",
];

const TRUNCATES: &[&str] = &[
    "BEGIN; DELETE FROM @ WHERE id = 7; TRUNCATE @; INSERT INTO @ VALUES (1, 'n1', 1, 'x'), (2, 'n/2', 2, NULL); COMMIT",
    "TRUNCATE @",
    "INSERT INTO @ SELECT i, 'n' || i, i, 'x', '1' FROM generate_series(1, 9) i",
];

/// What nobody sees.
const UNSEEN: &str = "DELETE FROM @ WHERE id = 3; UPDATE @ SET id = id + 10, name = 'o' || id, n = n + 10 WHERE id = 4;
    UPDATE @ SET note = 'unseen', n = 77 WHERE id = 5; INSERT INTO @ VALUES (20, 'new', 20, 'new')";

#[test]
fn each_word_by_dump_stream_key_change_truncate_redump_and_verify() {
    let schema: String = CASES.iter().map(Case::schema).collect();
    let blocks: String =
        CASES.iter().map(|case| format!("[tables.{}]\n{}\n", case.table, case.block)).collect();
    let oracle: Vec<_> = CASES.iter().flat_map(Case::oracles).collect();
    let others: Vec<_> = CASES.iter().map(|case| case.other).collect();
    let copy = Copy::new(&schema, &blocks, &oracle.join(" UNION ALL ")).with_others(&others);
    let daemon = copy.start();
    copy.await_equal();
    copy.verify();
    let truncates = copy.servers.has(11, "TRUNCATE in the stream");
    for change in CHANGES.iter().chain(TRUNCATES.iter().filter(|_| truncates)) {
        copy.change(&of_each(change));
    }
    copy.verify();
    daemon.stop();

    damage(&copy);
    nothing_is_written(&copy);
    copy.servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    copy.servers.execute(&of_each(UNSEEN));
    CASES.iter().for_each(|case| copy.servers.put(case.stray, "stray"));
    let daemon = copy.start();
    copy.await_equal();
    copy.verify();
    daemon.stop();
    nothing_is_written(&copy);
}

#[test]
fn several_keys_of_a_partitioned_table() {
    let copy = Copy::new(
        "",
        "[tables.log.keys]\n'log/{id}/a' = '{a}'\n'log/{id}' = { a = '{a}' }\n",
        "SELECT 'log/' || id || '/a', a FROM low UNION ALL SELECT 'log/' || id, json_build_object('a', a)::text FROM low",
    );
    if copy.servers.lacks(13, "publish_via_partition_root") {
        return;
    }
    copy.servers.execute(
        "CREATE TABLE log (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);
         CREATE TABLE low PARTITION OF log FOR VALUES FROM (0) TO (100);
         CREATE UNLOGGED TABLE top PARTITION OF log FOR VALUES FROM (100) TO (200);
         INSERT INTO log SELECT i, nullif('a' || i, 'a2') FROM generate_series(1, 105) i",
    );
    let daemon = copy.start();
    copy.await_equal();
    copy.change("UPDATE log SET a = 'b' WHERE id < 4; UPDATE log SET id = 0 WHERE id = 5; INSERT INTO log VALUES (150)");
    copy.servers.delete("log/7");
    copy.servers.put("log/8/a", "other");
    let (status, found, said) = copy.launch.ask(&["verify"]);
    assert_eq!((status, found.as_str()), (1, "missing log/7\ndiffers log/8/a\n"), "{said}");
    daemon.stop();
    copy.servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    let daemon = copy.start();
    copy.await_equal();
    copy.verify();
    daemon.stop();
}

/// `verify` names what is missing, differs or is stale, and nothing else, and `resync` mends it. The daemon is away
/// meanwhile: behind a TRUNCATE it compares the tables by itself.
fn damage(copy: &Copy) {
    let mut expected = BTreeSet::new();
    for case in CASES {
        for oracle in case.oracles() {
            let keys = keys(&copy.servers, &oracle);
            let [missing, differs, ..] = &keys[..] else { panic!("{}: {keys:?}", case.table) };
            copy.servers.delete(missing);
            copy.servers.put(differs, "other");
            expected.extend([format!("missing {missing}"), format!("differs {differs}")]);
        }
        copy.servers.put(case.stray, "stray");
        expected.insert(format!("stale {}", case.stray));
    }
    let (status, found, said) = copy.launch.ask(&["verify"]);
    let found: BTreeSet<_> = found.lines().map(str::to_owned).collect();
    assert_eq!((status, found), (1, expected), "{said}");
    let (status, ..) = copy.launch.ask(&["resync"]);
    assert_eq!(status, 0);
    let daemon = copy.start();
    copy.await_equal();
    daemon.stop();
}

/// Neither a restart nor a redump of what is right writes anything.
fn nothing_is_written(copy: &Copy) {
    let before = copy.revisions();
    copy.start().stop();
    assert_eq!(copy.revisions(), before, "by a restart");
    copy.servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    copy.start().stop();
    assert_eq!(copy.revisions(), before, "by a redump");
}

fn keys(servers: &Servers, oracle: &str) -> Vec<String> {
    let rows = servers.sql().query(oracle, &[]).expect(oracle);
    rows.iter().filter_map(|row| Some((row.get(0), row.get::<_, Option<&str>>(1)?).0)).collect()
}

fn of_each(sql: &str) -> String {
    CASES.iter().map(|case| sql.replace('@', case.table) + ";\n").collect()
}

impl Case {
    fn schema(&self) -> String {
        let Self { table, key, identity, .. } = self;
        let identity = match *identity {
            "" => String::new(),
            identity => format!("ALTER TABLE {table} REPLICA IDENTITY {identity};"),
        };
        format!(
            "CREATE TABLE {table} (id int NOT NULL, name text NOT NULL, n int NOT NULL, note text, doc jsonb,
                PRIMARY KEY ({key}), UNIQUE (name, n));
             {identity}
             INSERT INTO {table} SELECT i, 'n' || i || (ARRAY['', '/x', '%', '.b.c', ' é'])[i % 5 + 1], i, nullif('note/' || i, 'note/3'),
                CASE WHEN i % 2 = 0 THEN jsonb_build_object('i', i, 'z', NULL) END FROM generate_series(1, 60) i;"
        )
    }

    /// What each of its templates gives.
    fn oracles(&self) -> impl Iterator<Item = String> {
        self.outputs.iter().map(|(key, value)| {
            let mut key = key.replace("@dns", DNS);
            for column in ["name", "note"] {
                let encoded = format!("replace(replace({column}, '%', '%25'), '/', '%2F')");
                key = key.replace(&format!("@{column}"), &encoded);
            }
            format!(
                "SELECT * FROM (SELECT {key}, {value} FROM {} t) o (key, value) WHERE key IS NOT NULL",
                self.table
            )
        })
    }
}

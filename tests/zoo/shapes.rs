//! Every type in keys and values of its table's own: as JSON inside of an object, as text, and in keys.

use std::collections::BTreeMap;
use std::fs;

use super::{changes, servers_with_every_type, tables};
use crate::support::{ORACLE_SETTINGS, Servers, canonical, caught_up};

/// What every key of these tests begins with.
const KEYS: &str = "/zoo/";

/// The block of a table of values, whose keys begin with `@`.
const VALUES: &str = "
    '@json/{id}' = { v = '{v}', in = ['{a}', { domain = '{domain}', deep = '{deep}' }, '{bounds}'], list = '{list}', outside = '{outside}' }
    '@v/{id}' = '{v}'
    '@a/{id}' = '{a}'
    '@list/{id}' = '{list}'
    '@inside/{id}' = '{inside}'
    '@parts/{id}' = '<{domain}|{outside}>{id}'
    '@json/{id}/parts' = { parts = '{v}: {deep}' }";
/// The SQL of each of them, for a table `#`.
const VALUES_ORACLE: &[&str] = &[
    "SELECT '@json/' || id, json_build_object('v', v, 'in', json_build_array(a, json_build_object('domain', domain, 'deep', deep), bounds),
        'list', list, 'outside', outside)::text FROM #",
    "SELECT '@v/' || id, CASE WHEN v IS DISTINCT FROM NULL THEN format('%s', v) END FROM #",
    "SELECT '@a/' || id, CASE WHEN a IS DISTINCT FROM NULL THEN format('%s', a) END FROM #",
    "SELECT '@list/' || id, CASE WHEN list IS DISTINCT FROM NULL THEN format('%s', list) END FROM #",
    "SELECT '@inside/' || id, CASE WHEN inside IS DISTINCT FROM NULL THEN format('%s', inside) END FROM #",
    "SELECT '@parts/' || id, CASE WHEN domain IS DISTINCT FROM NULL AND outside IS DISTINCT FROM NULL
        THEN format('<%s|%s>%s', domain, outside, id) END FROM #",
    "SELECT '@json/' || id || '/parts', json_build_object('parts', CASE WHEN v IS DISTINCT FROM NULL AND deep IS DISTINCT FROM NULL
        THEN format('%s: %s', v, deep) END)::text FROM #",
];
/// The same of a table of keys. One that is empty leaves its row out.
const PLACEHOLDERS: &str = "
    '@plain/{k}/{n}' = '{k}'
    '@raw/{n}/{k:raw}' = { k = '{k}' }";
const PLACEHOLDERS_ORACLE: &[&str] = &[
    "SELECT '@plain/' || replace(replace(format('%s', k), '%', '%25'), '/', '%2F') || '/' || n, format('%s', k)
       FROM # WHERE format('%s', k) <> ''",
    "SELECT '@raw/' || n || '/' || format('%s', k), json_build_object('k', k)::text FROM # WHERE format('%s', k) <> ''",
];

#[test]
fn every_type_in_shapes() {
    let servers = servers_with_every_type();
    let tables = tables(&servers);
    let tables: Vec<&str> = tables.lines().filter(|table| *table != "relation").collect();
    let (mut blocks, mut oracle) = (String::new(), Vec::new());
    for (number, table) in tables.iter().enumerate() {
        let (block, queries) = match table.starts_with("\"key ") {
            true => (PLACEHOLDERS, PLACEHOLDERS_ORACLE),
            false => (VALUES, VALUES_ORACLE),
        };
        let keys = format!("{KEYS}{number}/");
        blocks += &format!("[tables.'{table}'.keys]{}\n", block.replace('@', &keys));
        let table = format!("public.{table}");
        oracle.extend(queries.iter().map(|query| query.replace('@', &keys).replace('#', &table)));
    }
    let file = servers.folder.join("shapes.toml");
    fs::write(&file, blocks).unwrap();
    let launch = servers.daemon().argument("-c").argument(file.to_str().unwrap());

    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    assert_same(&servers, &oracle);
    for table in &tables {
        servers.execute(&changes(table));
    }
    assert_same(&servers, &oracle);
    let (status, differing, said) = launch.ask(&["verify"]);
    assert_eq!((status, differing.as_str()), (0, ""), "{said}");
    daemon.stop();

    // What the stream has written is to the byte what a dump writes.
    let written = servers.mod_revisions(KEYS);
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    let mut daemon = launch.start();
    daemon.await_line("Resuming from ");
    let again = servers.mod_revisions(KEYS);
    let rewritten: Vec<_> =
        again.iter().filter(|(key, at)| written.get(*key) != Some(at)).collect();
    assert!(rewritten.is_empty(), "written again: {rewritten:?}");
    assert_same(&servers, &oracle);
    daemon.stop();
}

/// etcd has to have what the queries say, the texts to the byte.
#[track_caller]
fn assert_same(servers: &Servers, oracle: &[String]) {
    caught_up(servers);
    let mut sql = servers.sql();
    sql.batch_execute(ORACLE_SETTINGS).unwrap();
    let mut wanted = BTreeMap::new();
    for query in oracle {
        let rows = sql.query(query, &[]).expect(query);
        assert!(!rows.is_empty(), "{query}");
        for row in rows {
            wanted.extend(row.get::<_, Option<String>>(1).map(|value| (row.get(0), value)));
        }
    }
    let found = servers.keys(KEYS);
    let same = |key: &str, wanted: &str, found: &str| match key.contains("/json/")
        || key.contains("/raw/")
    {
        true => canonical(wanted) == canonical(found),
        false => wanted == found,
    };
    let keys = wanted.keys().chain(found.keys().filter(|key| !wanted.contains_key(*key)));
    let differing = keys.filter_map(|key: &String| match (wanted.get(key), found.get(key)) {
        (Some(wanted), Some(found)) if same(key, wanted, found) => None,
        (wanted, found) => Some(format!("{key}: wanted {wanted:?}, found {found:?}")),
    });
    let differing: Vec<_> = differing.collect();
    assert!(
        differing.is_empty(),
        "{} keys\n{}",
        differing.len(),
        differing[..differing.len().min(20)].join("\n")
    );
}

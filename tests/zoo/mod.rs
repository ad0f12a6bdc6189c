//! Documents are what `row_to_json` prints, whatever the type, by dump and by stream.

mod encodings;
mod own_types;
mod shapes;
mod types;

use self::types::{SAMPLES, Sample};
use crate::support::{Servers, assert_equal};

/// What pg2etcd's sessions have to override.
const ODD_SETTINGS: &str = "
    ALTER DATABASE postgres SET TimeZone = 'America/St_Johns';
    ALTER DATABASE postgres SET DateStyle = 'German, DMY';
    ALTER DATABASE postgres SET IntervalStyle = 'iso_8601';
    ALTER DATABASE postgres SET bytea_output = 'escape';
    ALTER DATABASE postgres SET extra_float_digits = -3;
    ALTER DATABASE postgres SET xmlbinary = 'hex'";

const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'a \"b\",{c}\\', 'NULL', 'ö/%');
    CREATE TABLE relation (id int PRIMARY KEY);";

#[test]
fn every_type_by_dump_and_stream() {
    let servers = servers_with_every_type();
    let tables = tables(&servers);
    let tables: Vec<&str> = tables.lines().collect();

    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &tables);

    for table in &tables {
        servers.execute(&changes(table));
    }
    assert_equal(&servers, &tables);
    daemon.stop();

    // What the stream has written is to the byte what a dump writes, and the keys are in the order of a dump.
    let written = servers.mod_revisions("/copy/");
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    let mut daemon = servers.daemon().start();
    daemon.await_line("Dump finished");
    assert_equal(&servers, &tables);
    let again = servers.mod_revisions("/copy/");
    let rewritten: Vec<_> =
        again.iter().filter(|(key, at)| written.get(*key) != Some(at)).collect();
    assert!(rewritten.is_empty(), "written again: {rewritten:?}");
}

/// Servers with tables of every type, and with settings that pg2etcd's sessions have to override.
fn servers_with_every_type() -> Servers {
    let servers = Servers::start();
    servers.execute(SCHEMA);
    let hstore = servers.sql().batch_execute("CREATE EXTENSION hstore").is_ok();
    if !hstore {
        println!("left out: hstore: the extension is not installed");
    }
    let of_version = |sample: &&Sample| {
        (sample.name != "hstore" || hstore) && servers.has(sample.since, &values_of(sample))
    };
    let samples: Vec<&Sample> = SAMPLES.iter().filter(of_version).collect();
    let domains_in_arrays = servers.has(11, "arrays of domains and domains over composites");
    for sample in &samples {
        servers.execute(&schema(sample, domains_in_arrays));
    }
    servers.execute(ODD_SETTINGS);
    servers
}

fn values_of(sample: &Sample) -> String {
    match SAMPLES.iter().any(|other| other.name == sample.name && other.since < sample.since) {
        true => format!("{} {}", sample.name, sample.values.join(" ")),
        false => sample.name.to_owned(),
    }
}

fn tables(servers: &Servers) -> String {
    let sql = "SELECT string_agg(quote_ident(relname), E'\\n') FROM pg_class
                WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    servers.value(sql).unwrap()
}

/// A table with the values, alone and as parts of arrays, domains and composites; and one with them as keys, where the type
/// has an order.
fn schema(sample: &Sample, domains_in_arrays: bool) -> String {
    let Sample { name, since, values } = sample;
    let values = values.iter().enumerate();
    let values: Vec<_> = values
        .map(|(number, value)| format!("({number}, '{}'::{name})", value.replace('\'', "''")))
        .collect();
    let values = values.join(", ");
    let [inner, outer, domain, list, pair] = ["inner", "outer", "domain", "list", "pair"]
        .map(|kind| format!("\"{kind} {} {since}\"", name.replace('"', "")));
    // What is an array itself already would become one of more dimensions.
    let array = match *name {
        "int2vector" | "oidvector" => format!("('{{\"' || v::text || '\",NULL}}')::{name}[]"),
        _ => "ARRAY[v, NULL]".to_owned(),
    };
    let (more_columns, more_values) = match domains_in_arrays {
        true => (
            format!(", more {domain}[], pair {pair}, pairs {pair}[]"),
            format!(
                ", {array}::{domain}[], ROW(v, {array}, v)::{inner}::{pair}, ARRAY[ROW(v, NULL, v)::{inner}::{pair}]"
            ),
        ),
        false => (String::new(), String::new()),
    };
    let more_types = match domains_in_arrays {
        true => format!("CREATE DOMAIN {pair} AS {inner};"),
        false => String::new(),
    };
    format!(
        "SET extra_float_digits = 3;
         CREATE DOMAIN {domain} AS {name};
         CREATE DOMAIN {list} AS {name}[];
         CREATE TYPE {inner} AS (v {name}, a {name}[], \"the \"\"domain\"\"\" {domain});
         CREATE TYPE {outer} AS (b text, rows {inner}[]);
         {more_types}
         CREATE TABLE {table} (id int PRIMARY KEY, v {name}, a {name}[], bounds {name}[], domain {domain}, list {list},
            inside {inner}, outside {outer}, deep {outer}[] {more_columns});
         INSERT INTO {table}
         SELECT n, v, {array}, ('[-1:-1][5:6]={{' || {array}::text || '}}')::{name}[], v, {array}, ROW(v, {array}, v)::{inner},
                ROW('a \"b\" \\', ARRAY[ROW(v, {array}, v)::{inner}, NULL])::{outer},
                ARRAY[ROW(NULL, ARRAY[ROW(v, {array}, v)::{inner}])::{outer}] {more_values}
           FROM (VALUES {values}) s (n, v);
         INSERT INTO {table} VALUES (90);
         INSERT INTO {table} (id, a, list, inside, outside) VALUES (91, '{{}}', '{{}}', ROW(NULL, NULL, NULL), ROW('', '{{}}'));
         DO $$ BEGIN
            CREATE TABLE {key} (n int, k {name}, PRIMARY KEY (k, n));
            INSERT INTO {key} VALUES {values};
         EXCEPTION WHEN undefined_object THEN NULL;
         END $$",
        table = named("", sample),
        key = named("key ", sample),
    )
}

fn named(kind: &str, sample: &Sample) -> String {
    format!("\"{kind}{} {}\"", sample.name.replace('"', "\"\""), sample.since)
}

/// Rows that come with other keys, change their keys, and stay as they are.
fn changes(table: &str) -> String {
    let key = if table.starts_with("\"key ") { "n" } else { "id" };
    format!(
        "CREATE TEMP TABLE copy AS SELECT * FROM {table};
         UPDATE copy SET {key} = {key} + 100;
         INSERT INTO {table} SELECT * FROM copy;
         UPDATE {table} SET {key} = {key} + 1000 WHERE {key} % 2 = 0;
         UPDATE {table} SET {key} = {key} WHERE {key} % 3 = 0;"
    )
}

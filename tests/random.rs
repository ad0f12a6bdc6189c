//! Random transactions on random tables.
//!
//! A run is a few transactions, maybe with a restart among them, after which PostgreSQL and etcd have to be equal. Every few runs
//! the tables and the settings are others, and a dump compares what is left of the earlier ones.

use std::fmt::Write;

use postgres::Client;

use crate::support::{Daemon, Launch, Random, Servers, assert_equal};

const ROUNDS: usize = 14;
const RUNS: usize = 8;
const TABLES: [&str; 3] = ["t0", "s.t1", "\"t/2 %\""];

#[test]
fn first_hundred_runs() {
    runs();
}

#[test]
fn second_hundred_runs() {
    runs();
}

fn runs() {
    let mut random = Random::new();
    let servers = Servers::start();
    let truncates = servers.has(11, "TRUNCATE in the stream");
    let mut sql = servers.sql();
    sql.batch_execute(
        "CREATE SCHEMA s; CREATE TYPE mood AS ENUM ('sad', 'ok/%'); CREATE TYPE pair AS (a text, b numeric[])",
    )
    .unwrap();
    for round in 0..ROUNDS {
        let tables = TABLES.map(|name| Table::new(name, &mut random));
        for table in &tables {
            sql.batch_execute(&table.schema).expect(&table.schema);
            let insert = table.insert(20, &mut random);
            sql.batch_execute(&insert).expect(&insert);
        }
        let launch = launch(&servers, &mut random);
        let mut daemon = Some(launch.start());
        for run in 0..RUNS {
            println!("round {round}, run {run}");
            for _ in 0..=random.below(4) {
                if random.below(6) == 0 {
                    end(daemon.take(), &mut random);
                }
                transaction(&mut sql, &tables, truncates, &mut random);
                if daemon.is_none() && random.below(2) == 0 {
                    daemon = Some(launch.start());
                }
            }
            daemon.get_or_insert_with(|| launch.start());
            assert_equal(&servers, &TABLES);
        }
        end(daemon, &mut random);
        sql.batch_execute(&format!("DROP TABLE {}", TABLES.join(", "))).unwrap();
        drop_slot(&mut sql);
    }
}

/// The daemon with some settings or others.
fn launch(servers: &Servers, random: &mut Random) -> Launch {
    let mut any = |choices: &[&'static str]| choices[random.below(choices.len() as u64) as usize];
    servers
        .daemon()
        .set("etcd.max_txn_ops", any(&["4", "16", "128"]))
        .set("sync.coalesce", any(&["false", "true"]))
        .set("sync.writers", any(&["1", "4"]))
}

/// Ends it, in order or not.
fn end(daemon: Option<Daemon>, random: &mut Random) {
    if let Some(mut daemon) = daemon {
        // Before it has begun, a signal would just kill it.
        daemon.await_line("INFO");
        match random.below(2) {
            0 => drop(daemon.stop()),
            _ => daemon.kill(),
        }
    }
}

/// Drops the slot as soon as the server has seen that nobody streams from it.
fn drop_slot(sql: &mut Client) {
    crate::support::wait_until("the slot to be idle", || {
        sql.batch_execute("SELECT pg_drop_replication_slot('pg2etcd')").is_ok()
    });
}

struct Table {
    name: &'static str,
    /// What makes it, as SQL.
    schema: String,
    columns: Vec<&'static Column>,
    /// How many of the columns are in a key, the first ones.
    keys: usize,
}

struct Column {
    type_name: &'static str,
    /// As SQL; `$` is a small number.
    value: &'static str,
}

const fn column(type_name: &'static str, value: &'static str) -> Column {
    Column { type_name, value }
}

/// What can be in a key. Some of these have equal values that print differently.
const KEYS: &[Column] = &[
    column("int", "$"),
    column("text", "chr(34 + $) || '/%é'"),
    column("bool", "$ % 2 = 0"),
    column("numeric", "round($, $ % 3)"),
    column("float8", "CASE $ % 3 WHEN 0 THEN '-0' WHEN 1 THEN '0' ELSE '0.1' END::float8 * $"),
    column("timestamptz", "timestamptz '2024-01-01 00:00:00Z' + $ * interval '1.5 s'"),
    column("char(3)", "$::text"),
    column("mood", "CASE $ % 2 WHEN 0 THEN 'sad' ELSE 'ok/%' END::mood"),
];

const OTHERS: &[Column] = &[
    column("text", "repeat(chr(65 + $), $ * 400)"),
    column("text", "repeat(md5($::text), $ * 30)"),
    column("jsonb", "jsonb_build_object('a', $, 'b', ARRAY['\"', NULL, '\\'])"),
    column("json", "'{ \"a\" : [1.10 , ' || $ || '] }'"),
    column("int[]", "CASE $ % 4 WHEN 0 THEN '{}' ELSE ARRAY[$, NULL, -$] END"),
    column("pair", "ROW('a \"b\" \\ ' || $, ARRAY[$, 1.10])::pair"),
    column("pair[]", "ARRAY[ROW('(,)', ARRAY[$])::pair, NULL]"),
    column("bytea", "decode(md5($::text), 'hex')"),
    column("interval", "$ * interval '1 day -1 s'"),
    column("int4range", "int4range($, 2 * $)"),
    column("bigint", "$ * 1000000000000"),
    column("text[]", "ARRAY[repeat(md5($::text), 100), 'NULL', NULL]"),
];

impl Table {
    fn new(name: &'static str, random: &mut Random) -> Self {
        let mut some = |of: &'static [Column], most: u64| -> Vec<&'static Column> {
            (0..=random.below(most)).map(|_| &of[random.below(of.len() as u64) as usize]).collect()
        };
        let mut columns = some(KEYS, 4);
        let keys = columns.len();
        columns.extend(some(OTHERS, 5));
        let mut schema = format!("CREATE TABLE {name} (");
        for (number, column) in columns.iter().enumerate() {
            let not_null = if number < keys { " NOT NULL" } else { "" };
            write!(schema, "c{number} {}{not_null}, ", column.type_name).unwrap();
        }
        // In any order, and not always with all of them.
        let start = random.below(keys as u64) as usize;
        let count = 1 + random.below(keys as u64) as usize;
        let key: Vec<_> =
            (start..start + count).map(|place| format!("c{}", place % keys)).collect();
        let key = key.join(", ");
        let identity =
            "key_".to_owned() + &name.replace(|letter: char| !letter.is_alphanumeric(), "_");
        schema += &match random.below(3) {
            0 => format!("PRIMARY KEY ({key}))"),
            1 => format!("PRIMARY KEY ({key})); ALTER TABLE {name} REPLICA IDENTITY FULL"),
            _ => format!(
                "CONSTRAINT {identity} UNIQUE ({key}));
                 ALTER TABLE {name} REPLICA IDENTITY USING INDEX {identity}"
            ),
        };
        for (number, column) in columns.iter().enumerate().skip(keys) {
            if column.type_name == "text" && random.below(2) == 0 {
                write!(schema, "; ALTER TABLE {name} ALTER c{number} SET STORAGE EXTERNAL")
                    .unwrap();
            }
        }
        Self { name, schema, columns, keys }
    }

    fn value(&self, column: usize, random: &mut Random) -> String {
        if column >= self.keys && random.below(5) == 0 {
            return "NULL".to_owned();
        }
        let Column { type_name, value } = self.columns[column];
        format!("({})::{type_name}", value.replace('$', &random.below(30).to_string()))
    }

    fn insert(&self, rows: u64, random: &mut Random) -> String {
        let rows: Vec<_> = (0..rows)
            .map(|_| {
                let values: Vec<_> =
                    (0..self.columns.len()).map(|column| self.value(column, random)).collect();
                format!("({})", values.join(", "))
            })
            .collect();
        format!("INSERT INTO {} VALUES {} ON CONFLICT DO NOTHING", self.name, rows.join(", "))
    }

    fn statement(&self, truncates: bool, random: &mut Random) -> String {
        let name = self.name;
        let some = format!("length(t::text) % 5 = {}", random.below(5));
        let one = format!(
            "ctid = (SELECT ctid FROM {name} t ORDER BY t::text COLLATE \"C\" OFFSET {} LIMIT 1)",
            random.below(20)
        );
        let set = |column: usize, random: &mut Random| {
            format!("UPDATE {name} t SET c{column} = {}", self.value(column, random))
        };
        let (keys, all) = (self.keys as u64, self.columns.len() as u64);
        match random.below(20) {
            0..5 => {
                let rows = 1 + random.below(5);
                self.insert(rows, random)
            }
            5 => self.insert(60, random),
            6..10 => set((keys + random.below(all - keys)) as usize, random) + " WHERE " + &some,
            10 => set((keys + random.below(all - keys)) as usize, random),
            11..15 => set(random.below(keys) as usize, random) + " WHERE " + &one,
            15..18 => format!("DELETE FROM {name} t WHERE {one}"),
            18 => format!("DELETE FROM {name} t WHERE {some}"),
            _ if truncates => format!("TRUNCATE {name}"),
            _ => format!("DELETE FROM {name}"),
        }
    }
}

/// A few statements, some of them undone. One that PostgreSQL refuses, since its key is taken, is undone too.
fn transaction(sql: &mut Client, tables: &[Table], truncates: bool, random: &mut Random) {
    sql.batch_execute("BEGIN").unwrap();
    for _ in 0..=random.below(6) {
        let table = &tables[random.below(tables.len() as u64) as usize];
        let statement = table.statement(truncates, random);
        sql.batch_execute("SAVEPOINT before").unwrap();
        let refused = sql.batch_execute(&statement).err();
        let reason = refused.as_ref().and_then(|error| error.code()).map(|code| code.code());
        assert!(refused.is_none() || reason == Some("23505"), "{statement}: {refused:?}");
        if refused.is_some() || random.below(8) == 0 {
            sql.batch_execute("ROLLBACK TO before").unwrap();
        }
    }
    let end = if random.below(10) == 0 { "ROLLBACK" } else { "COMMIT" };
    sql.batch_execute(end).unwrap();
}

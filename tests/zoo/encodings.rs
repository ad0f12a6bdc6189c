//! Databases in other encodings than UTF-8.

use crate::support::{Servers, assert_equal, wait_until};

#[test]
fn latin1() {
    arrives_as_utf8("LATIN1", &["ÿ", "é/%", "A", "\u{80}", "\u{a0}"]);
}

/// The order of € and ÿ, of Œ and ü is another one in UTF-8.
#[test]
fn win1252() {
    arrives_as_utf8("WIN1252", &["€", "ÿ", "Œ", "ü", "z"]);
}

/// Here half-width katakana come before hiragana.
#[test]
fn euc_jp() {
    arrives_as_utf8("EUC_JP", &["ｱ", "あ", "漢字", "ア", "~"]);
}

#[test]
fn sql_ascii() {
    arrives_as_utf8("SQL_ASCII", &["!", "a", "Z", "", "\u{1}\t", "/%"]);
}

fn arrives_as_utf8(encoding: &str, texts: &[&str]) {
    let servers = Servers::with(&["--encoding", encoding]);
    let last = texts[0];
    let values: Vec<_> =
        texts.iter().enumerate().map(|(n, text)| format!("('{text}', {n})")).collect();
    let values = values.join(", ");
    servers.execute(&format!(
        "CREATE TYPE kind AS ENUM ('{last}x');
         CREATE TYPE pair AS (\"{last}y\" text, \"list\" text[]);
         CREATE TABLE \"table{last}\" (\"key{last}\" text, n int, kind kind, pair pair, data json,
            PRIMARY KEY (\"key{last}\", n));
         INSERT INTO \"table{last}\" SELECT k, n, '{last}x', ROW(k, ARRAY[k, '\"'])::pair, to_json(k) FROM (VALUES {values}) s (k, n)"
    ));
    let table = format!("\"table{last}\"");
    let daemon = servers.daemon().start();
    assert_equal(&servers, &[&table]);
    servers.execute(&format!(
        "INSERT INTO {table} SELECT \"key{last}\" || '{last}', n, kind, pair, data FROM {table};
         UPDATE {table} SET n = n + 10 WHERE n % 2 = 0"
    ));
    assert_equal(&servers, &[&table]);
    daemon.stop();

    let written = servers.mod_revisions("/copy/");
    servers.execute("SELECT pg_drop_replication_slot('pg2etcd')");
    servers.daemon().start().await_line("Dump finished");
    assert_eq!(servers.mod_revisions("/copy/"), written, "a redump changes nothing");
}

/// Such a database takes any bytes: what is no UTF-8 has U+FFFD in its place, and stops nothing.
#[test]
fn sql_ascii_with_bytes_that_are_no_utf8() {
    let servers = Servers::with(&["--encoding", "SQL_ASCII"]);
    servers.execute(
        r#"CREATE TABLE t (id int PRIMARY KEY, s text, a text[], j json);
           CREATE TABLE other (id int PRIMARY KEY);
           INSERT INTO t VALUES (1, E'caf\xE9', ARRAY[E'\xFF', 'ok'], ('{"a":"' || E'\xE9' || '"}')::json)"#,
    );
    let mut daemon = servers.daemon().set("sync.catalog_period", "200ms").start();
    daemon.await_line("Dump finished");
    servers.execute(r"INSERT INTO t VALUES (2, E'\xE9t\xC3\xA9', NULL, NULL); UPDATE t SET a = NULL; INSERT INTO other VALUES (1)");
    let expected = [
        ("/copy/other/1", r#"{"id":1}"#),
        ("/copy/t/1", "{\"id\":1,\"s\":\"caf\u{FFFD}\",\"a\":null,\"j\":{\"a\":\"\u{FFFD}\"}}"),
        ("/copy/t/2", "{\"id\":2,\"s\":\"\u{FFFD}té\",\"a\":null,\"j\":null}"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    wait_until("the rows", || servers.keys("/copy/").into_iter().eq(expected.clone()));
    let log = daemon.stop();
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("Table public.t has text that is no UTF-8"), "{log}");
}

/// The order of keys in etcd is not that of the rows, where bytes of the keys are no UTF-8.
#[test]
fn sql_ascii_with_keys_that_are_no_utf8() {
    let servers = Servers::with(&["--encoding", "SQL_ASCII"]);
    servers.execute(
        r"CREATE TABLE t (k text PRIMARY KEY);
          INSERT INTO t VALUES ('a'), (E'a\x80'), (E'a\xC3\xA9'), (E'a\xFF1'), (E'a\xF0\x9D\x84\x9E'), (E'\xE92'), ('z'), (E'b\\200')",
    );
    let mut daemon = servers.daemon().set("sync.catalog_period", "200ms").start();
    daemon.await_line("Dump finished");
    let keys = ["a", "aé", "a\u{FFFD}", "a\u{FFFD}1", "a𝄞", r"b\200", "z", "\u{FFFD}2"];
    assert!(servers.keys("/copy/t/").into_keys().eq(keys.map(|key| format!("/copy/t/{key}"))));
    servers.delete("/copy/t/a\u{FFFD}1");
    servers.put("/copy/t/a\u{FFFD}2", "{}");
    servers.execute("ALTER TABLE t SET (fillfactor = 90)");
    daemon.await_line("Compared table public.t: 7 rows the same, 1 missing, 0 different, 1 keys");
    assert!(servers.keys("/copy/t/").into_keys().eq(keys.map(|key| format!("/copy/t/{key}"))));
    daemon.stop();
}

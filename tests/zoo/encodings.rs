//! Databases in other encodings than UTF-8.

use crate::support::{Servers, assert_equal};

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

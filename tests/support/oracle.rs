//! Whether etcd is a faithful copy: rows and keys as PostgreSQL itself prints them, against what `etcdctl` gets.

use std::collections::BTreeMap;

use postgres::Client;

use super::etcd::lsn;
use super::servers::{PATH, Servers};
use super::wait_for;

/// The settings that documents are printed under (CONTRACT 4).
pub(crate) const ORACLE_SETTINGS: &str =
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
    SET bytea_output = 'hex'; SET extra_float_digits = 3; SET lc_monetary = 'C';
    SET search_path = pg_catalog";

/// Waits until etcd holds all that has committed by now; then the keys below `/PATH/` must be exactly the published rows of
/// `tables` (as SQL names them; without a schema those of `public`). Nothing may write to them meanwhile.
#[track_caller]
pub(crate) fn assert_equal(servers: &Servers, tables: &[&str]) {
    caught_up(servers);
    if let Some(difference) = difference(servers, tables) {
        panic!("PostgreSQL and etcd differ: {difference}");
    }
}

/// The same where the position does not follow the WAL: what differs must not do so for long.
#[track_caller]
pub(crate) fn await_equal(servers: &Servers, tables: &[&str]) {
    wait_for("PostgreSQL and etcd to be equal", || difference(servers, tables).map_or(Ok(()), Err));
}

/// Waits until etcd holds all that has committed by now.
#[track_caller]
pub(crate) fn caught_up(servers: &Servers) {
    let now = servers.value("SELECT pg_current_wal_lsn()").unwrap();
    wait_for("etcd to catch up", || match servers.position() {
        Some(position) if position.phase == "sync" && position.lsn() >= lsn(&now) => Ok(()),
        position => Err(format!("PostgreSQL is at {now}, and etcd's position is {position:?}")),
    });
}

/// The first few keys that differ.
pub(crate) fn difference(servers: &Servers, tables: &[&str]) -> Option<String> {
    let mut sql = servers.sql();
    sql.batch_execute(ORACLE_SETTINGS).unwrap();
    let mut wanted = BTreeMap::new();
    for table in tables {
        let name =
            if table.contains('.') { (*table).to_owned() } else { format!("public.{table}") };
        wanted.extend(rows(&mut sql, &name));
    }
    let found = servers.keys(&format!("/{PATH}/"));
    let mut differences = Vec::new();
    for (key, value) in &wanted {
        match found.get(key) {
            Some(found) if canonical(found) == canonical(value) => {}
            found => differences.push(format!("{key}: wanted {value}, found {found:?}")),
        }
    }
    let stale = found.iter().filter(|(key, _)| !wanted.contains_key(*key));
    differences.extend(stale.map(|(key, value)| format!("{key}: no row, found {value}")));
    let count = differences.len();
    differences.truncate(10);
    (count > 0).then(|| format!("{count} keys\n{}", differences.join("\n")))
}

/// The rows of a table as keys and documents.
fn rows(sql: &mut Client, table: &str) -> Vec<(String, String)> {
    // Version 15 knows which columns are published, but before 18 none that is generated ever is.
    let facts = sql
        .query_one(
            "SELECT nspname::text, relname::text, relkind = 'p',
                (SELECT array_agg(quote_ident(attname) ORDER BY attnum) FROM pg_attribute a
                  WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
                    AND coalesce((SELECT to_jsonb(p)->'attnames' ? attname FROM pg_publication_tables p
                                   WHERE pubname = 'pg2etcd' AND schemaname = nspname AND tablename = relname), true)
                    AND (coalesce(to_jsonb(a)->>'attgenerated', '') = ''
                         OR current_setting('server_version_num')::int >= 180000)),
                (SELECT array_agg(quote_ident(attname) ORDER BY place)
                   FROM pg_index i, unnest(indkey::int2[]) WITH ORDINALITY k (number, place), pg_attribute
                  WHERE indrelid = c.oid AND attrelid = c.oid AND attnum = number
                    AND place <= coalesce((to_jsonb(i)->>'indnkeyatts')::int, indnatts)
                    AND CASE relreplident WHEN 'i' THEN indisreplident ELSE indisprimary END),
                (SELECT ' WHERE ' || (to_jsonb(p)->>'rowfilter') FROM pg_publication_tables p
                  WHERE pubname = 'pg2etcd' AND schemaname = nspname AND tablename = relname)
               FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
              WHERE c.oid = to_regclass($1)",
            &[&table],
        )
        .expect(table);
    let (schema, name, partitioned): (&str, &str, bool) =
        (facts.get(0), facts.get(1), facts.get(2));
    let (columns, key): (Vec<String>, Vec<String>) = (facts.get(3), facts.get(4));
    let filter = facts.get::<_, Option<&str>>(5).unwrap_or_default();
    let encoded = |name: &str| name.replace('%', "%25").replace('/', "%2F").replace('.', "%2E");
    let schema = if schema == "public" { String::new() } else { encoded(schema) + "." };
    let prefix = format!("/{PATH}/{schema}{}/", encoded(name));
    // The output function's text, which a cast to text is not for boolean.
    let part = |column: &String| {
        format!("replace(replace(format('%s', r.{column}), '%', '%25'), '/', '%2F')")
    };
    let key: Vec<_> = key.iter().map(part).collect();
    let query = format!(
        "SELECT {}, row_to_json(r)::text FROM (SELECT {} FROM {}{table}{filter}) r",
        key.join(" || '/' || "),
        columns.join(", "),
        if partitioned { "" } else { "ONLY " },
    );
    let rows = sql.query(&query, &[]).expect(&query);
    rows.iter().map(|row| (format!("{prefix}{}", row.get::<_, &str>(0)), row.get(1))).collect()
}

/// JSON without white space and with each string escaped in one way. Numbers stay as they are: 1.10 and 1.1 differ.
pub(crate) fn canonical(json: &str) -> String {
    let mut canonical = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' { string_length(rest) } else { first.len_utf8() };
        let (token, after) = rest.split_at(length);
        if first == '"' {
            // One that names half of a character, which `json` lets pass, stays as it is.
            let text = serde_json::from_str::<String>(token);
            let text = text.map_or(token.to_owned(), |text| serde_json::to_string(&text).unwrap());
            canonical.push_str(&text);
        } else if !first.is_whitespace() {
            canonical.push_str(token);
        }
        rest = after;
    }
    canonical
}

/// The length of the string literal that `json` begins with.
fn string_length(json: &str) -> usize {
    let mut escaped = false;
    let end = json[1..].bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.expect("a closing quote") + 2
}

#[test]
fn the_comparison_sees_digits_and_not_white_space() {
    assert_eq!(
        canonical("{\"a\" : 1.10,\n\"b\\u0041\":\"x \\\" y\"}"),
        r#"{"a":1.10,"bA":"x \" y"}"#
    );
    assert_ne!(canonical("1.10"), canonical("1.1"));
}

//! The TOML file: every key in it, with the line where it stands.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::field::Written;
use super::origin::{Given, Origin};
use super::{KEYS, block};
use crate::error::{Error, Result};
use crate::mapping::TableShape;
use crate::nearest;
use crate::table_name::TableName;

/// The table of the file that has the tables' blocks.
const TABLES: &str = "tables";

/// What a file says.
#[derive(Default)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Contents {
    /// The values of keys.
    pub(super) given: Vec<Given>,
    /// The blocks of tables.
    pub(super) tables: BTreeMap<TableName, TableShape>,
}

/// Reads a file that has to be there.
pub(super) fn read(path: &Path) -> Result<Contents> {
    let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
    parse(path, &bytes)
}

/// Reads a file that may be absent.
pub(super) fn read_if_present(path: &Path) -> Result<Contents> {
    match fs::read(path) {
        Ok(bytes) => parse(path, &bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Contents::default()),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::Setting(format!("cannot read {}: {error}", path.display()))
}

pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Contents> {
    let place = |at: usize| format!("{}:{}", path.display(), line_of(bytes, at));
    let problem = |at: usize, text: &str| Error::Setting(format!("{}: {text}", place(at)));
    let text =
        std::str::from_utf8(bytes).map_err(|error| problem(error.valid_up_to(), "is not UTF-8"))?;
    // The message alone: the error's Display shows the line, which may have a password in it.
    let table = DeTable::parse(text)
        .map_err(|error| problem(error.span().map_or(0, |span| span.start), error.message()))?;
    let mut entries = Vec::new();
    flatten("", table.get_ref(), &mut entries);
    entries.sort_by_key(|entry| entry.at);
    let mut tables = BTreeMap::new();
    if let Some(at) = entries.iter().position(|entry| entry.name == TABLES)
        && let DeValue::Table(blocks) = entries[at].value
    {
        tables = block::read(blocks, &place).map_err(|(at, text)| problem(at, &text))?;
        entries.remove(at);
    }
    let given = entries
        .into_iter()
        .map(|Entry { name, value, at }| {
            let key = KEYS
                .iter()
                .find(|key| key.name == name)
                .ok_or_else(|| problem(at, &unknown(&name)))?;
            let origin = Origin::File { path: path.to_owned(), line: line_of(bytes, at) };
            Ok(Given { key, value: written(value), origin })
        })
        .collect::<Result<_>>()?;
    Ok(Contents { given, tables })
}

fn line_of(bytes: &[u8], at: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', &bytes[..at.min(bytes.len())]).count()
}

/// A key and its value as the file has them.
struct Entry<'t> {
    name: String,
    value: &'t DeValue<'t>,
    /// Where the key begins, in bytes.
    at: usize,
}

/// Lists the keys of `table` and of the tables in it that have settings.
fn flatten<'t>(prefix: &str, table: &'t DeTable<'t>, entries: &mut Vec<Entry<'t>>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        let inner = format!("{name}.");
        match value.get_ref() {
            DeValue::Table(table) if KEYS.iter().any(|key| key.name.starts_with(&inner)) => {
                flatten(&inner, table, entries);
            }
            value => entries.push(Entry { name, value, at: key.span().start }),
        }
    }
}

fn written(value: &DeValue<'_>) -> Written {
    match value {
        DeValue::String(text) => Written::Text(text.clone().into_owned()),
        DeValue::Integer(number) => integer(number),
        DeValue::Boolean(value) => Written::Boolean(*value),
        DeValue::Array(items) => {
            Written::List(items.iter().map(Spanned::get_ref).map(written).collect())
        }
        DeValue::Float(_) => Written::Other("a number with a fraction"),
        DeValue::Datetime(_) => Written::Other("a date or a time"),
        DeValue::Table(_) => Written::Other("a table"),
    }
}

fn integer(number: &DeInteger<'_>) -> Written {
    i64::from_str_radix(number.as_str(), number.radix())
        .map_or(Written::Other("a number that is too large"), Written::Integer)
}

/// Says that no setting has this name, and which one may be meant.
pub(super) fn unknown(name: &str) -> String {
    let names = || KEYS.iter().map(|key| key.name);
    let last = name.rsplit('.').next();
    let namesake = || names().find(|known| known.rsplit('.').next() == last);
    let hint = nearest::nearest(name, names()).or_else(namesake);
    let hint = hint.map(|meant| format!(", did you mean {meant}?"));
    format!("unknown setting {name}{}", hint.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &[u8]) -> String {
        parse(Path::new("f.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn every_key_has_its_line() {
        let text = b"log_level = \"info\"\n# \xC3\xA4\n[sync]\nwriters = 0x10\ntables = [\n\"a.b\",\n]\nslot = \"s\"\n\
            [database]\nhost = [\"a\"]\n";
        let given = parse(Path::new("f.toml"), text).unwrap().given;
        let seen: Vec<String> = given
            .iter()
            .map(|given| format!("{} {} {:?}", given.key.name, given.origin, given.value))
            .collect();
        assert_eq!(
            seen,
            [
                "log_level f.toml:1 Text(\"info\")",
                "sync.writers f.toml:4 Integer(16)",
                "sync.tables f.toml:5 List([Text(\"a.b\")])",
                "sync.slot f.toml:8 Text(\"s\")",
                "database.host f.toml:10 List([Text(\"a\")])",
            ]
        );
        let dotted = parse(Path::new("f.toml"), b"sync.dump = false").unwrap();
        assert_eq!(dotted.given[0].key.name, "sync.dump");
    }

    #[test]
    fn errors_name_file_line_and_key() {
        for (text, expected) in [
            (
                "[sync]\n\nwriter = 1",
                "f.toml:3: unknown setting sync.writer, did you mean sync.writers?",
            ),
            (
                "[database]\nslot = 1",
                "f.toml:2: unknown setting database.slot, did you mean sync.slot?",
            ),
            ("\n[databse]\nhost = 1", "f.toml:2: unknown setting databse"),
            ("[databse]", "f.toml:1: unknown setting databse"),
            ("etcd = 1", "f.toml:1: unknown setting etcd"),
            ("x = 1\ny = 2", "f.toml:1: unknown setting x"),
            ("y = 1\nx = 2", "f.toml:1: unknown setting y"),
        ] {
            assert_eq!(problem(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(problem(b"log_level = \"info\"\n# \xFF"), "f.toml:2: is not UTF-8");
        assert!(
            problem(b"[sync]\nslot = \"a\"\nslot = \"b\"").starts_with("f.toml:3: duplicate key")
        );
    }

    #[test]
    fn a_syntax_error_does_not_show_the_line() {
        let shown = problem(b"[database]\npassword = \"hunter2\n");
        assert!(shown.starts_with("f.toml:2: ") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn only_a_file_that_may_be_absent_may() {
        let path = Path::new("/nonexistent/pg2etcd.toml");
        assert!(read_if_present(path).unwrap().given.is_empty());
        let error = read(path).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nonexistent/pg2etcd.toml: "), "{error}");
    }
}

//! Keys: `/PATH/TABLE/KEY`.

use crate::table_name::TableName;

/// A table's name as it stands in keys.
#[must_use]
pub fn name_in_keys(table: &TableName) -> Vec<u8> {
    let TableName { schema, name } = table;
    let mut out = Vec::with_capacity(schema.len() + name.len() + 1);
    if schema != "public" {
        write_encoded(&mut out, schema.as_bytes(), |byte| matches!(byte, b'%' | b'/' | b'.'));
        out.push(b'.');
    }
    write_encoded(&mut out, name.as_bytes(), |byte| matches!(byte, b'%' | b'/' | b'.'));
    out
}

/// What the keys of a table begin with, `/PATH/TABLE/`; `name` is its name as it stands in keys.
pub(super) fn keyspace(path: &str, name: &[u8]) -> Vec<u8> {
    [b"/", path.as_bytes(), b"/", name, b"/"].concat()
}

/// The name, as it stands in keys, of the table that has a key; `None` for a key of none.
#[must_use]
pub fn table_of_key<'k>(path: &str, key: &'k [u8]) -> Option<&'k [u8]> {
    let rest = key.strip_prefix(b"/")?.strip_prefix(path.as_bytes())?.strip_prefix(b"/")?;
    Some(&rest[..memchr::memchr(b'/', rest)?])
}

/// The table of a name as it stands in keys; `None` if no table's does so.
#[must_use]
pub fn table_named(name: &[u8]) -> Option<TableName> {
    let decoded = |part: &[u8]| {
        let dots = String::from_utf8(part.to_vec()).ok()?.replace("%2E", ".");
        decoded_key_column(dots.as_bytes())
    };
    let (schema, name) = match memchr::memchr(b'.', name) {
        Some(dot) => (decoded(&name[..dot])?, &name[dot + 1..]),
        None => ("public".to_owned(), name),
    };
    Some(TableName { schema, name: decoded(name)? })
}

/// A keyspace as one part of another key: each `%` and `/` is percent-encoded.
#[must_use]
pub fn keyspace_in_key(keyspace: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_key_column(&mut out, keyspace);
    out
}

/// The keyspace that stands so in a key; `None` if none does.
#[must_use]
pub fn keyspace_of(encoded: &[u8]) -> Option<Vec<u8>> {
    decoded_key_column(encoded).map(String::into_bytes)
}

/// Writes one column of a key.
pub(super) fn write_key_column(out: &mut Vec<u8>, text: &[u8]) {
    write_encoded(out, text, |byte| matches!(byte, b'%' | b'/'));
}

/// The text of a column that was written as `encoded`; `None` if nothing is written so.
pub(super) fn decoded_key_column(encoded: &[u8]) -> Option<String> {
    let mut text = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&byte, after)) = rest.split_first() {
        (rest, _) = match (byte, after) {
            (b'%', [b'2', b'5', after @ ..]) => (after, text.push(b'%')),
            (b'%', [b'2', b'F', after @ ..]) => (after, text.push(b'/')),
            // No text of PostgreSQL has a zero byte.
            (b'%' | b'/' | 0, _) => return None,
            _ => (after, text.push(byte)),
        };
    }
    String::from_utf8(text).ok()
}

/// Writes `text` with the bytes that `special` names percent-encoded.
fn write_encoded(out: &mut Vec<u8>, text: &[u8], special: impl Fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        if special(byte) {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.push(b'%');
            out.extend_from_slice(&digits);
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyspaces() {
        for (schema, name, expected) in [
            ("public", "accounts", "/a/b/accounts/"),
            ("sales", "accounts", "/a/b/sales.accounts/"),
            ("public", "50%/a.b", "/a/b/50%25%2Fa%2Eb/"),
            ("x.y", "z", "/a/b/x%2Ey.z/"),
            ("public", "naïve name", "/a/b/naïve name/"),
        ] {
            let table = TableName { schema: schema.to_owned(), name: name.to_owned() };
            let keyspace = keyspace("a/b", &name_in_keys(&table));
            assert_eq!(keyspace, expected.as_bytes(), "{table}");
            let key = [&keyspace[..], b"1/2"].concat();
            assert_eq!(table_of_key("a/b", &key), Some(&name_in_keys(&table)[..]));
            assert_eq!(table_named(&name_in_keys(&table)), Some(table));
            let encoded = keyspace_in_key(keyspace.as_slice());
            assert!(!encoded.contains(&b'/'));
            assert_eq!(keyspace_of(&encoded), Some(keyspace));
        }
    }

    #[test]
    fn keys_of_no_table() {
        for key in ["/a/b", "/a/b/", "/a/b/t", "/a/bc/t/1", "/a/t/1", ""] {
            assert_eq!(table_of_key("a/b", key.as_bytes()), None, "{key}");
        }
    }

    #[test]
    fn key_columns() {
        for (text, expected) in [("1", "1"), ("", ""), ("a/b%c.d", "a%2Fb%25c.d"), ("ü", "ü")] {
            let mut out = Vec::new();
            write_key_column(&mut out, text.as_bytes());
            assert_eq!(out, expected.as_bytes());
            assert_eq!(decoded_key_column(&out).as_deref(), Some(text));
        }
        for other in [&b"%"[..], b"%2", b"%2e", b"a/b", b"\0", b"\xff"] {
            assert_eq!(decoded_key_column(other), None, "{other:?}");
        }
    }
}

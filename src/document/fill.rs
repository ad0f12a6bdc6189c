//! Holes: the columns of a document that an update left as they were.
//!
//! A hole stands in the document in the place of the column's member, as its name between two
//! bytes that UTF-8, and so JSON, never has: `{"id":1,␀"body"␀,"n":2}` with ␀ for 0xFF.

use std::fmt;

/// Stands on both sides of a hole's name.
const HOLE: u8 = 0xFF;

/// Writes the document with its holes filled from `stored`, an earlier document of the row.
///
/// # Errors
/// When `stored` lacks a column that a hole names, or is no document.
pub fn fill(document: &[u8], stored: &[u8], out: &mut Vec<u8>) -> Result<(), MissingColumn> {
    for (position, part) in document.split(|&byte| byte == HOLE).enumerate() {
        if position % 2 == 0 {
            out.extend_from_slice(part);
        } else {
            let value = member(stored, part)
                .ok_or_else(|| MissingColumn(String::from_utf8_lossy(part).into_owned()))?;
            out.extend_from_slice(part);
            out.push(b':');
            out.extend_from_slice(value);
        }
    }
    Ok(())
}

/// Whether the document has holes.
#[must_use]
pub fn has_holes(document: &[u8]) -> bool {
    memchr::memchr(HOLE, document).is_some()
}

/// The column, as JSON, that the stored document lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingColumn(pub String);

impl fmt::Display for MissingColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stored document has no column {}", self.0)
    }
}

impl std::error::Error for MissingColumn {}

/// Writes a hole for the column of this name, which is JSON with its quotes.
pub(super) fn write_hole(out: &mut Vec<u8>, name: &[u8]) {
    out.push(HOLE);
    out.extend_from_slice(name);
    out.push(HOLE);
}

/// The value of the member of this name, as it stands in the document.
fn member<'a>(document: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = document.strip_prefix(b"{")?;
    loop {
        let name_length = value_length(rest)?;
        let (found, after) = rest.split_at(name_length);
        let after = after.strip_prefix(b":")?;
        let length = value_length(after)?;
        if found == name {
            return Some(&after[..length]);
        }
        rest = after[length..].strip_prefix(b",")?;
    }
}

/// The length of the value at the start of `text`, up to the `:`, `,` or `}` behind it.
fn value_length(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match *text.get(at)? {
            b'"' => at += string_length(&text[at..])? - 1,
            b'{' | b'[' => depth += 1,
            b':' | b',' | b'}' if depth == 0 => return Some(at),
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
    }
}

/// The length of the string at the start of `text`, quotes included.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(document: &str, stored: &str) -> Result<String, MissingColumn> {
        // The texts have ¤ for the byte that marks a hole.
        let document: Vec<u8> = document
            .chars()
            .flat_map(|character| match character {
                '¤' => vec![HOLE],
                _ => character.to_string().into_bytes(),
            })
            .collect();
        let mut out = Vec::new();
        fill(&document, stored.as_bytes(), &mut out)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn holes_take_the_stored_value() {
        let stored = r#"{"id":1,"a\"b":"x,}\"","j":{ "k" : [1, "]"] , "b": 3},"b":[{}],"n":null}"#;
        for (document, expected) in [
            (r#"{"id":2}"#, r#"{"id":2}"#),
            (r#"{"id":2,¤"b"¤}"#, r#"{"id":2,"b":[{}]}"#),
            (
                r#"{¤"a\"b"¤,¤"j"¤,¤"n"¤}"#,
                r#"{"a\"b":"x,}\"","j":{ "k" : [1, "]"] , "b": 3},"n":null}"#,
            ),
        ] {
            assert_eq!(filled(document, stored).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_column_that_is_not_there_is_named() {
        let missing = MissingColumn("\"b\"".to_owned());
        for stored in ["", "{}", r#"{"a":1}"#, r#"{"a":{"b":1}}"#, r#"{"b"}"#, r#"{"b":"#, "]"] {
            assert_eq!(filled(r#"{¤"b"¤}"#, stored), Err(missing.clone()), "{stored}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            document in prop::collection::vec(any::<u8>(), 0..64),
            stored in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = fill(&document, &stored, &mut Vec::new());
        }

        #[test]
        fn json_of_serde_is_understood(
            values in prop::collection::vec(prop::collection::vec(".{0,8}", 0..4), 0..4),
        ) {
            let mut stored = String::from("{");
            for (position, value) in values.iter().enumerate() {
                let value = serde_json::to_string(value).expect("strings are JSON");
                stored += &format!("{}\"m{position}\":{value}", if position > 0 { "," } else { "" });
            }
            stored.push('}');
            for (position, value) in values.iter().enumerate() {
                let name = format!("\"m{position}\"");
                let found = member(stored.as_bytes(), name.as_bytes());
                let value = serde_json::to_vec(value).expect("strings are JSON");
                prop_assert_eq!(found, Some(value.as_slice()));
            }
        }
    }
}

//! Holes: the columns of a document that an update left as they were.

use std::fmt;

/// A document, or what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// All but what belongs in the holes, which the row's document before this one has.
    Holed(Holed<'a>),
}

/// A document with holes. In `{"id":1,"body":,"n":2}` a hole is behind the name `"body"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holed<'a> {
    bytes: &'a [u8],
    holes: &'a [Hole],
}

/// The place of a value that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Where in the document the member's name begins, in bytes from the document's own begin.
    name: usize,
    /// Where the value belongs, one byte behind the colon's begin.
    value: usize,
}

impl<'a> Body<'a> {
    /// A document with these holes, in the order in which they stand in it.
    #[must_use]
    pub fn new(bytes: &'a [u8], holes: &'a [Hole]) -> Self {
        if holes.is_empty() { Self::Whole(bytes) } else { Self::Holed(Holed { bytes, holes }) }
    }
}

impl Holed<'_> {
    /// Writes the document with its holes filled from `stored`, the row's document before.
    ///
    /// # Errors
    /// When `stored` lacks a column that is wanted, or is no document.
    pub fn fill(&self, stored: &[u8], out: &mut Vec<u8>) -> Result<(), MissingColumn> {
        let mut written = 0;
        for hole in self.holes {
            let name = self.bytes.get(hole.name..hole.value.saturating_sub(1)).unwrap_or_default();
            let value = member(stored, name)
                .ok_or_else(|| MissingColumn(String::from_utf8_lossy(name).into_owned()))?;
            out.extend_from_slice(&self.bytes[written..hole.value]);
            out.extend_from_slice(value);
            written = hole.value;
        }
        out.extend_from_slice(&self.bytes[written..]);
        Ok(())
    }
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

/// Writes a member's name, which is JSON with its quotes, and a hole in the place of its value; `start` is
/// where the document begins in `out`.
pub(super) fn write_hole(out: &mut Vec<u8>, holes: &mut Vec<Hole>, start: usize, name: &[u8]) {
    let at = out.len() - start;
    out.extend_from_slice(name);
    out.push(b':');
    holes.push(Hole { name: at, value: out.len() - start });
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

    /// The document with a hole behind each name that `¤` follows.
    fn filled(document: &str, stored: &str) -> Result<String, MissingColumn> {
        let (mut bytes, mut holes) = (Vec::new(), Vec::new());
        for (position, part) in document.split('¤').enumerate() {
            if position % 2 == 0 {
                bytes.extend_from_slice(part.as_bytes());
            } else {
                write_hole(&mut bytes, &mut holes, 0, part.as_bytes());
            }
        }
        let mut out = Vec::new();
        match Body::new(&bytes, &holes) {
            Body::Whole(document) => out.extend_from_slice(document),
            Body::Holed(document) => document.fill(stored.as_bytes(), &mut out)?,
        }
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
            name in prop::collection::vec(any::<u8>(), 0..8),
            stored in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let (mut bytes, mut holes) = (Vec::new(), Vec::new());
            write_hole(&mut bytes, &mut holes, 0, &name);
            let holed = Holed { bytes: &bytes, holes: &holes };
            let _ = holed.fill(&stored, &mut Vec::new());
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

//! Holes: what a row from the stream does not say of its document. An update leaves columns out that it
//! left as they were, and no row says which rows of other tables are in its document.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::mapping::{Nested, Step};

/// A document, or what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// All but what belongs in the holes.
    Holed(Holed<'a>),
}

/// A document with holes. In `{"id":1,"body":,"n":2}` a hole is behind the name `"body"`. A hole can
/// be all there is, where the document is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holed<'a> {
    bytes: &'a [u8],
    holes: &'a [Hole],
}

/// The place of a value that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    source: Source,
    /// Where the value belongs, in bytes from the document's own begin.
    value: usize,
}

/// Where a value is that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// In the row's document before this one; the way to it from the document's begin.
    Stored(Arc<[Step]>),
    /// Among what waits for a row to come under this key: a document is new there.
    Waiting(Arc<Nested>),
}

impl<'a> Body<'a> {
    /// A document with these holes, in the order in which they stand in it.
    #[must_use]
    pub fn new(bytes: &'a [u8], holes: &'a [Hole]) -> Self {
        if holes.is_empty() { Self::Whole(bytes) } else { Self::Holed(Holed { bytes, holes }) }
    }
}

impl Holed<'_> {
    /// Whether the row's document before is needed to fill it.
    #[must_use]
    pub fn wants_stored(&self) -> bool {
        self.holes.iter().any(|hole| matches!(hole.source, Source::Stored(_)))
    }

    /// Whether it takes what waits for a row under its key.
    #[must_use]
    pub fn wants_waiting(&self) -> bool {
        self.holes.iter().any(|hole| matches!(hole.source, Source::Waiting(_)))
    }

    /// Writes the document with its holes filled from `stored`, the row's document before, and with the
    /// members that `waiting` has.
    ///
    /// # Errors
    /// When `stored` lacks a column that is wanted, or is no document.
    pub fn fill<'w>(
        &self,
        stored: &[u8],
        waiting: impl Fn(&Nested) -> &'w [u8],
        out: &mut Vec<u8>,
    ) -> Result<(), MissingColumn> {
        let mut written = 0;
        for hole in self.holes {
            let value = match &hole.source {
                Source::Stored(way) => at(stored, way).ok_or_else(|| MissingColumn::at(way))?,
                Source::Waiting(nested) => waiting(nested),
            };
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

impl MissingColumn {
    fn at(way: &[Step]) -> Self {
        let name = way.iter().rev().find_map(|step| match step {
            Step::Member(name) => Some(String::from_utf8_lossy(name).into_owned()),
            Step::Element(_) => None,
        });
        Self(name.unwrap_or_default())
    }
}

impl fmt::Display for MissingColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stored document has no column {}", self.0)
    }
}

impl std::error::Error for MissingColumn {}

/// Leaves a hole, to which this way leads; `start` is where the document begins in `out`.
pub(super) fn write_hole(out: &[u8], holes: &mut Vec<Hole>, start: usize, way: &Arc<[Step]>) {
    let source = Source::Stored(Arc::clone(way));
    holes.push(Hole { source, value: out.len() - start });
}

/// Leaves a hole for what waits for a row to come under this key.
pub(super) fn write_fresh_hole(
    out: &[u8],
    holes: &mut Vec<Hole>,
    start: usize,
    nested: &Arc<Nested>,
) {
    let source = Source::Waiting(Arc::clone(nested));
    holes.push(Hole { source, value: out.len() - start });
}

/// The value to which a way leads, as it stands in the document.
pub(super) fn at<'a>(document: &'a [u8], way: &[Step]) -> Option<&'a [u8]> {
    way.iter().try_fold(document, |value, step| match step {
        Step::Member(name) => member(value, name),
        Step::Element(place) => element(value, *place),
    })
}

/// The value of the member of this name, as it stands in the document.
fn member<'a>(document: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    member_range(document, name).map(|range| &document[range])
}

/// Where the value of the member of this name stands in the document.
pub(super) fn member_range(document: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let mut start = document.starts_with(b"{").then_some(1)?;
    loop {
        let name_end = start + value_length(&document[start..])?;
        let value = (document.get(name_end) == Some(&b':')).then_some(name_end + 1)?;
        let end = value + value_length(&document[value..])?;
        if document[start..name_end] == *name {
            return Some(value..end);
        }
        start = (document.get(end) == Some(&b',')).then_some(end + 1)?;
    }
}

/// The element at this place, from 0 on, as it stands in the array.
fn element(array: &[u8], place: usize) -> Option<&[u8]> {
    let mut rest = array.strip_prefix(b"[")?;
    for _ in 0..place {
        rest = rest[value_length(rest)?..].strip_prefix(b",")?;
    }
    rest.get(..value_length(rest)?)
}

/// The length of the value at the start of `text`, up to the `:`, `,`, `}` or `]` behind it.
pub(super) fn value_length(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match *text.get(at)? {
            b'"' => at += string_length(&text[at..])? - 1,
            b'{' | b'[' => depth += 1,
            b':' | b',' | b'}' | b']' if depth == 0 => return Some(at),
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
                bytes.extend_from_slice(part.as_bytes());
                bytes.push(b':');
                let way = [Step::Member(part.as_bytes().to_vec())].into();
                write_hole(&bytes, &mut holes, 0, &way);
            }
        }
        let mut out = Vec::new();
        match Body::new(&bytes, &holes) {
            Body::Whole(document) => out.extend_from_slice(document),
            Body::Holed(document) => document.fill(stored.as_bytes(), Nested::empty, &mut out)?,
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
    fn ways_lead_into_objects_and_arrays() {
        let stored = br#"{"a":{"b":[1,{"c":"x]"},[]]},"d":2}"#;
        let member = |name: &str| Step::Member(format!("\"{name}\"").into_bytes());
        for (way, expected) in [
            (vec![], Some(&stored[..])),
            (vec![member("d")], Some(b"2")),
            (vec![member("a"), member("b"), Step::Element(0)], Some(b"1")),
            (vec![member("a"), member("b"), Step::Element(1), member("c")], Some(br#""x]""#)),
            (vec![member("a"), member("b"), Step::Element(2)], Some(b"[]")),
            (vec![member("a"), member("b"), Step::Element(3)], None),
            (vec![Step::Element(0)], None),
            (vec![member("d"), member("e")], None),
        ] {
            assert_eq!(at(stored, &way), expected, "{way:?}");
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
            let mut holes = Vec::new();
            for way in [vec![Step::Member(name.clone())], vec![Step::Element(1), Step::Member(name)]] {
                write_hole(b"", &mut holes, 0, &way.into());
            }
            let holed = Holed { bytes: b"", holes: &holes };
            let _ = holed.fill(&stored, Nested::empty, &mut Vec::new());
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

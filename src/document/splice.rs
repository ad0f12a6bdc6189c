//! One row in the document of another: found, put in its place, or taken out.

use std::cmp::Ordering;
use std::ops::Range;

use super::hole::{MissingColumn, at, member_range, value_length};
use crate::mapping::{Form, Nested, Rank};

/// Writes a document with one element of a member put in its place, or, if there is none, taken out.
/// `identity` is the element's name in a map, as JSON; in an array the JSON of its key's columns, with
/// commas between.
///
/// # Errors
/// When the document has no such member.
pub fn splice(
    document: &[u8],
    nested: &Nested,
    identity: &[u8],
    element: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), MissingColumn> {
    let range = range_of(document, nested)?;
    out.extend_from_slice(&document[..range.start]);
    splice_member(&document[range.clone()], nested, identity, element, out)?;
    out.extend_from_slice(&document[range.end..]);
    Ok(())
}

/// The same for the member alone.
///
/// # Errors
/// When it is not what the member has to be.
pub fn splice_member(
    member: &[u8],
    nested: &Nested,
    identity: &[u8],
    element: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), MissingColumn> {
    let mut entries = Entries::of(member, nested).ok_or_else(|| missing(nested))?;
    entries.remove(identity);
    let entry = match (element, &nested.form) {
        (Some(element), Form::Map) => Some([identity, b":", element].concat()),
        (Some(element), Form::Array { .. }) => Some(element.to_vec()),
        (None, _) => None,
    };
    if let Some(entry) = &entry {
        entries.insert(entry);
    }
    entries.write(out);
    Ok(())
}

/// Writes a document with a member emptied.
///
/// # Errors
/// When the document has no such member.
pub fn emptied(document: &[u8], nested: &Nested, out: &mut Vec<u8>) -> Result<(), MissingColumn> {
    let range = range_of(document, nested)?;
    out.extend_from_slice(&document[..range.start]);
    out.extend_from_slice(nested.empty());
    out.extend_from_slice(&document[range.end..]);
    Ok(())
}

/// A member as it stands in a document.
#[must_use]
pub fn member_of<'d>(document: &'d [u8], nested: &Nested) -> Option<&'d [u8]> {
    range_of(document, nested).ok().map(|range| &document[range])
}

/// An element as it stands in a member.
#[must_use]
pub fn element_of<'m>(member: &'m [u8], nested: &Nested, identity: &[u8]) -> Option<&'m [u8]> {
    let entries = Entries::of(member, nested)?;
    let entry = entries.entries[entries.find(identity)?];
    match nested.form {
        Form::Array { .. } => Some(entry),
        Form::Map => entry.get(identity.len() + 1..),
    }
}

/// Writes a member with these elements, in whatever order they come.
pub fn write_member(nested: &Nested, mut elements: Vec<&[u8]>, out: &mut Vec<u8>) {
    elements.sort_by(|one, other| compare(nested, one, other));
    Entries { nested, entries: elements }.write(out);
}

/// What stands in a member, in its order: elements of an array, or the names and values of a map.
struct Entries<'n, 'm> {
    nested: &'n Nested,
    entries: Vec<&'m [u8]>,
}

impl<'n, 'm> Entries<'n, 'm> {
    fn of(member: &'m [u8], nested: &'n Nested) -> Option<Self> {
        let is_map = nested.form == Form::Map;
        let mut rest = member.strip_prefix(if is_map { b"{" } else { b"[" })?;
        let mut entries = Vec::new();
        if rest == [nested.empty()[1]] {
            return Some(Self { nested, entries });
        }
        loop {
            let mut length = value_length(rest)?;
            if is_map {
                length += 1 + value_length(rest[length..].strip_prefix(b":")?)?;
            }
            let (entry, after) = rest.split_at(length);
            entries.push(entry);
            match after {
                [b','] | [] => return None,
                [b',', after @ ..] => rest = after,
                [_] => return Some(Self { nested, entries }),
                _ => return None,
            }
        }
    }

    fn find(&self, identity: &[u8]) -> Option<usize> {
        self.entries.iter().position(|entry| match &self.nested.form {
            Form::Map => entry.strip_prefix(identity).is_some_and(|rest| rest.starts_with(b":")),
            Form::Array { key, .. } => {
                let mut rest = Some(identity);
                for (place, way) in key.iter().enumerate() {
                    let begun = if place > 0 {
                        rest.and_then(|rest| rest.strip_prefix(b","))
                    } else {
                        rest
                    };
                    rest = at(entry, way).and_then(|column| begun?.strip_prefix(column));
                }
                rest == Some(&[])
            }
        })
    }

    fn remove(&mut self, identity: &[u8]) {
        if let Some(place) = self.find(identity) {
            self.entries.remove(place);
        }
    }

    fn insert(&mut self, entry: &'m [u8]) {
        let is_before = |other: &&[u8]| compare(self.nested, other, entry) != Ordering::Greater;
        let place = self.entries.partition_point(is_before);
        self.entries.insert(place, entry);
    }

    fn write(&self, out: &mut Vec<u8>) {
        let [open, close] = match self.nested.form {
            Form::Array { .. } => *b"[]",
            Form::Map => *b"{}",
        };
        out.push(open);
        for (place, entry) in self.entries.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.extend_from_slice(entry);
        }
        out.push(close);
    }
}

/// Which of two entries comes first.
fn compare(nested: &Nested, one: &[u8], other: &[u8]) -> Ordering {
    match &nested.form {
        Form::Map => name_of(one).cmp(&name_of(other)),
        Form::Array { order, .. } => {
            let by = |Rank { way, is_integer }: &Rank| {
                compare_columns(at(one, way), at(other, way), *is_integer)
            };
            order.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        }
    }
}

/// The same of two values of a column: NULL comes last.
fn compare_columns(one: Option<&[u8]>, other: Option<&[u8]>, is_integer: bool) -> Ordering {
    let known =
        |value: Option<&'_ [u8]>| value.filter(|value| *value != b"null").map(<[u8]>::to_vec);
    let (Some(one), Some(other)) = (known(one), known(other)) else {
        let is_null = |value| known(value).is_none();
        return is_null(one).cmp(&is_null(other));
    };
    let number = |value: &[u8]| str::from_utf8(value).ok()?.parse::<i128>().ok();
    match (number(&one), number(&other)) {
        (Some(one), Some(other)) if is_integer => one.cmp(&other),
        _ => plain(&one).cmp(&plain(&other)),
    }
}

/// The name that a map's entry begins with, as it was printed.
fn name_of(entry: &[u8]) -> Vec<u8> {
    plain(&entry[..value_length(entry).unwrap_or(0)])
}

/// A value's text, without the quotes and escapes of a string.
fn plain(json: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<String>(json) {
        Ok(text) => text.into_bytes(),
        Err(_) => json.to_vec(),
    }
}

fn range_of(document: &[u8], nested: &Nested) -> Result<Range<usize>, MissingColumn> {
    member_range(document, &nested.json_name).ok_or_else(|| missing(nested))
}

fn missing(nested: &Nested) -> MissingColumn {
    MissingColumn(String::from_utf8_lossy(&nested.json_name).into_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::mapping::Step;

    fn way(name: &str) -> Arc<[Step]> {
        Arc::new([Step::Member(format!("\"{name}\"").into_bytes())])
    }

    /// Elements with an integer `id`, ordered by `n`, a text.
    fn array() -> Nested {
        let rank = |name, is_integer| Rank { way: way(name), is_integer };
        Nested {
            json_name: b"\"m\"".to_vec(),
            form: Form::Array {
                key: vec![way("id")],
                order: vec![rank("n", false), rank("id", true)],
            },
        }
    }

    fn scalars() -> Nested {
        let rank = Rank { way: Arc::new([]), is_integer: true };
        let form = Form::Array { key: vec![Arc::new([])], order: vec![rank] };
        Nested { json_name: b"\"m\"".to_vec(), form }
    }

    fn map() -> Nested {
        Nested { json_name: b"\"m\"".to_vec(), form: Form::Map }
    }

    fn spliced(nested: &Nested, document: &str, identity: &str, element: Option<&str>) -> String {
        let mut out = Vec::new();
        let element = element.map(str::as_bytes);
        splice(document.as_bytes(), nested, identity.as_bytes(), element, &mut out)
            .expect(document);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn elements_find_their_place() {
        for (nested, before, identity, element, after) in [
            (array(), "[]", "2", Some(r#"{"id":2,"n":"b"}"#), r#"[{"id":2,"n":"b"}]"#),
            (
                array(),
                r#"[{"id":2,"n":"b"},{"id":3,"n":null}]"#,
                "10",
                Some(r#"{"id":10,"n":"b"}"#),
                r#"[{"id":2,"n":"b"},{"id":10,"n":"b"},{"id":3,"n":null}]"#,
            ),
            (
                array(),
                r#"[{"id":2,"n":"b"},{"id":10,"n":"b"}]"#,
                "2",
                Some(r#"{"id":2,"n":"c"}"#),
                r#"[{"id":10,"n":"b"},{"id":2,"n":"c"}]"#,
            ),
            // By the bytes of the text, not of its JSON.
            (
                array(),
                r#"[{"id":1,"n":"\t"}]"#,
                "2",
                Some(r#"{"id":2,"n":" "}"#),
                r#"[{"id":1,"n":"\t"},{"id":2,"n":" "}]"#,
            ),
            (array(), r#"[{"id":1,"n":"x"},{"id":2,"n":"y"}]"#, "1", None, r#"[{"id":2,"n":"y"}]"#),
            (array(), r#"[{"id":1,"n":"x"}]"#, "2", None, r#"[{"id":1,"n":"x"}]"#),
            (scalars(), "[1,9]", "10", Some("10"), "[1,9,10]"),
            (scalars(), "[1,9]", "1", None, "[9]"),
            (map(), "{}", r#""a:1""#, Some("{}"), r#"{"a:1":{}}"#),
            (map(), r#"{"a":1,"c":2}"#, r#""b""#, Some("3"), r#"{"a":1,"b":3,"c":2}"#),
            (map(), r#"{"a":1,"c":2}"#, r#""c""#, Some("3"), r#"{"a":1,"c":3}"#),
            (map(), r#"{"a":1}"#, r#""a""#, None, "{}"),
        ] {
            let document = |member: &str| format!(r#"{{"id":7,"x":"[{{","m":{member},"o":[]}}"#);
            let found = spliced(&nested, &document(before), identity, element);
            assert_eq!(found, document(after), "{identity} {element:?}");
            let member = member_of(found.as_bytes(), &nested).expect("a member");
            assert_eq!(
                element_of(member, &nested, identity.as_bytes()),
                element.map(str::as_bytes)
            );
        }
    }

    #[test]
    fn several_columns_tell_elements_apart() {
        let form = Form::Array { key: vec![way("a"), way("b")], order: Vec::new() };
        let nested = Nested { json_name: b"\"m\"".to_vec(), form };
        let member = br#"[{"a":1,"b":"x"},{"a":1,"b":"y"}]"#;
        assert_eq!(element_of(member, &nested, br#"1,"y""#), Some(&br#"{"a":1,"b":"y"}"#[..]));
        assert_eq!(element_of(member, &nested, b"1"), None);
    }

    #[test]
    fn a_document_without_the_member_is_an_error() {
        for document in ["", "{}", r#"{"m":1}"#, r#"{"m":[1 2]}"#, r#"{"m":[1,]}"#, r#"{"m":{}}"#] {
            let found = splice(document.as_bytes(), &array(), b"1", None, &mut Vec::new());
            assert_eq!(found, Err(MissingColumn("\"m\"".to_owned())), "{document}");
        }
        let mut out = Vec::new();
        emptied(br#"{"m":[1],"n":2}"#, &array(), &mut out).expect("a member");
        assert_eq!(out, br#"{"m":[],"n":2}"#);
    }

    proptest! {
        #[test]
        fn elements_stay_in_order_whatever_comes(
            ids in prop::collection::vec((0..40_u32, any::<bool>()), 0..60),
        ) {
            let nested = scalars();
            let (mut member, mut expected) = (b"[]".to_vec(), std::collections::BTreeSet::new());
            for (id, stays) in ids {
                let text = id.to_string();
                let mut out = Vec::new();
                let element = stays.then_some(text.as_bytes());
                splice_member(&member, &nested, text.as_bytes(), element, &mut out).expect("a member");
                member = out;
                if stays { expected.insert(id); } else { expected.remove(&id); }
            }
            prop_assert_eq!(serde_json::from_slice::<Vec<u32>>(&member).expect("JSON"), expected.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_panic(document in prop::collection::vec(any::<u8>(), 0..64), identity in ".{0,4}") {
            for nested in [array(), scalars(), map()] {
                let (identity, mut out) = (identity.as_bytes(), Vec::new());
                let _ = splice(&document, &nested, identity, Some(b"1"), &mut out);
                let _ = splice_member(&document, &nested, identity, None, &mut out);
                let _ = element_of(&document, &nested, identity);
                let _ = emptied(&document, &nested, &mut out);
            }
        }
    }
}

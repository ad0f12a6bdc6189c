//! From the text of a value to JSON, as PostgreSQL's `to_json` writes it.

use super::array::{write_array, write_vector};
use super::casts::Casts;
use super::composite::write_composite;
use crate::json_text::{write_escaped, write_string};
use crate::kind::Kind;

/// Writes a value as JSON.
///
/// What the server has to cast comes from `casts`; what is not there is noted there as wanted.
///
/// A text that is not of its kind, as can come from before the type was altered, is written as
/// the string it is: whatever the bytes, what is written is valid JSON.
pub fn write_value(out: &mut Vec<u8>, kind: &Kind, text: &[u8], casts: &mut Casts) {
    let start = out.len();
    let well_formed = match kind {
        Kind::Number => write_if(out, text, is_number(text)),
        // The server has checked it; only bytes that are no UTF-8 could break the document.
        Kind::Json => write_if(out, text, std::str::from_utf8(text).is_ok()),
        Kind::Cast { type_oid } => casts.write(out, *type_oid, text),
        Kind::Boolean => write_boolean(out, text),
        Kind::Timestamp => write_timestamp(out, text),
        Kind::TimestampWithZone => write_timestamp_with_zone(out, text),
        Kind::Array { element, delimiter } => {
            let write = |out: &mut Vec<u8>, text: &[u8]| write_value(out, element, text, casts);
            write_array(out, *delimiter, text, write)
        }
        Kind::Vector(element) => {
            write_vector(out, text, |out, text| write_value(out, element, text, casts))
        }
        Kind::Composite(attributes) => write_composite(out, attributes, text, |out, kind, text| {
            write_value(out, kind, text, casts);
        }),
        Kind::Text => false,
    };
    if !well_formed {
        out.truncate(start);
        write_string(out, text);
    }
}

fn write_if(out: &mut Vec<u8>, text: &[u8], well_formed: bool) -> bool {
    if well_formed {
        out.extend_from_slice(text);
    }
    well_formed
}

fn write_boolean(out: &mut Vec<u8>, text: &[u8]) -> bool {
    match text {
        b"t" => out.extend_from_slice(b"true"),
        b"f" => out.extend_from_slice(b"false"),
        _ => return false,
    }
    true
}

/// `2024-02-29 12:00:00 BC` becomes `2024-02-29T12:00:00 BC`; `infinity` stays.
fn write_timestamp(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let Some(space) = memchr::memchr(b' ', text) else { return false };
    let (date, time) = (&text[..space], &text[space + 1..]);
    out.push(b'"');
    write_escaped_text(out, date);
    out.push(b'T');
    write_escaped_text(out, time);
    out.push(b'"');
    true
}

/// As [`write_timestamp`], and `+00` becomes `+00:00`.
fn write_timestamp_with_zone(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let (time, era) = match text.strip_suffix(b" BC") {
        Some(time) => (time, " BC"),
        None => (text, ""),
    };
    if !time.ends_with(b"+00") || !write_timestamp(out, time) {
        return false;
    }
    out.pop();
    out.extend_from_slice(b":00");
    out.extend_from_slice(era.as_bytes());
    out.push(b'"');
    true
}

/// Writes a part of a string.
fn write_escaped_text(out: &mut Vec<u8>, text: &[u8]) {
    // Dates and times are ASCII; other bytes would not be valid in a string.
    write_escaped(out, if text.is_ascii() { text } else { b"?" });
}

/// Whether the text is a JSON number (RFC 8259, section 6).
fn is_number(text: &[u8]) -> bool {
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let (integer, rest) = split_digits(rest);
    if integer.is_empty() || (integer.len() > 1 && integer[0] == b'0') {
        return false;
    }
    let rest = match rest.strip_prefix(b".") {
        Some(rest) => {
            let (fraction, rest) = split_digits(rest);
            if fraction.is_empty() {
                return false;
            }
            rest
        }
        None => rest,
    };
    match rest {
        [] => true,
        [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => {
            !exponent.is_empty() && exponent.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let length = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(kind: &Kind, text: &str) -> String {
        let mut out = Vec::new();
        write_value(&mut out, kind, text.as_bytes(), &mut Casts::default());
        String::from_utf8_lossy(&out).into_owned()
    }

    fn array(element: Kind) -> Kind {
        Kind::Array { element: Box::new(element), delimiter: b',' }
    }

    #[test]
    fn scalars() {
        for (kind, text, expected) in [
            (Kind::Number, "-12.50", "-12.50"),
            (Kind::Number, "1e+20", "1e+20"),
            (Kind::Number, "NaN", "\"NaN\""),
            (Kind::Number, "-Infinity", "\"-Infinity\""),
            (Kind::Number, "01", "\"01\""),
            (Kind::Number, "1.", "\"1.\""),
            (Kind::Boolean, "t", "true"),
            (Kind::Boolean, "f", "false"),
            (Kind::Json, "{\"a\" : [1,\n2]}", "{\"a\" : [1,\n2]}"),
            (Kind::Timestamp, "2024-02-29 12:00:00.5", "\"2024-02-29T12:00:00.5\""),
            (Kind::Timestamp, "0044-03-15 00:00:00 BC", "\"0044-03-15T00:00:00 BC\""),
            (Kind::Timestamp, "infinity", "\"infinity\""),
            (Kind::TimestampWithZone, "10000-01-01 00:00:00+00", "\"10000-01-01T00:00:00+00:00\""),
            (
                Kind::TimestampWithZone,
                "0044-03-15 00:00:00+00 BC",
                "\"0044-03-15T00:00:00+00:00 BC\"",
            ),
            (Kind::TimestampWithZone, "-infinity", "\"-infinity\""),
            (
                Kind::Text,
                "a\"\\\u{1}\u{8}\u{c}\n\r\t\u{7f}é",
                "\"a\\\"\\\\\\u0001\\b\\f\\n\\r\\t\u{7f}é\"",
            ),
            (Kind::Vector(Box::new(Kind::Number)), "1 2 3", "[1,2,3]"),
            (Kind::Vector(Box::new(Kind::Text)), "1 2 3", "[\"1\",\"2\",\"3\"]"),
            (Kind::Vector(Box::new(Kind::Number)), "", "[]"),
        ] {
            assert_eq!(json(&kind, text), expected, "{kind:?} {text:?}");
        }
    }

    #[test]
    fn arrays() {
        for (element, text, expected) in [
            (Kind::Number, "{}", "[]"),
            (Kind::Number, "{1,NULL,-3}", "[1,null,-3]"),
            (Kind::Number, "[0:1][2:3]={{1,2},{3,4}}", "[[1,2],[3,4]]"),
            (Kind::Number, "{NaN}", "[\"NaN\"]"),
            (
                Kind::Text,
                r#"{"NULL",null,"a b","q\"\\,{}",ü,""}"#,
                r#"["NULL",null,"a b","q\"\\,{}","ü",""]"#,
            ),
            (Kind::Timestamp, "{\"2024-01-01 00:00:00\"}", "[\"2024-01-01T00:00:00\"]"),
            (Kind::Json, r#"{"{\"a\": [1]}"}"#, r#"[{"a": [1]}]"#),
        ] {
            assert_eq!(json(&array(element), text), expected, "{text}");
        }
    }

    #[test]
    fn composites() {
        let attributes = |kinds: &[Kind]| {
            let name = |position| format!("\"f{position}\"").into_bytes();
            let named =
                kinds.iter().enumerate().map(|(position, kind)| (name(position), kind.clone()));
            Kind::Composite(named.collect())
        };
        let inner = attributes(&[Kind::Number, array(Kind::Text)]);
        for (kinds, text, expected) in [
            (vec![], "()", "{}"),
            (vec![Kind::Text], "()", r#"{"f0":null}"#),
            (vec![Kind::Text, Kind::Text], r#"("",)"#, r#"{"f0":"","f1":null}"#),
            (vec![Kind::Text], r#"("a ""b"" \\ c,)")"#, r#"{"f0":"a \"b\" \\ c,)"}"#),
            (
                vec![Kind::Boolean, array(inner)],
                r#"(t,"{""(1,\\""{a,\\""\\""b c\\""\\""}\\"")""}")"#,
                r#"{"f0":true,"f1":[{"f0":1,"f1":["a","b c"]}]}"#,
            ),
        ] {
            assert_eq!(json(&attributes(&kinds), text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_of_its_kind_is_a_string() {
        for text in
            ["", "{", "}", "{1", "{1,}", "{,1}", "{1}x", "{1}}", "{\"", "{\"\\", "[1", "{a\"b}"]
        {
            let string = json(&Kind::Text, text);
            assert_eq!(json(&array(Kind::Text), text), string);
        }
        let one = Kind::Composite(vec![(b"\"a\"".to_vec(), Kind::Text)]);
        for text in ["", "(", "(a", "(a,b)", "(a)x", "(\"a)", "(a\\"] {
            assert_eq!(json(&one, text), json(&Kind::Text, text));
        }
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        let leaf = prop_oneof![
            Just(Kind::Number),
            Just(Kind::Boolean),
            Just(Kind::Timestamp),
            Just(Kind::TimestampWithZone),
            Just(Kind::Vector(Box::new(Kind::Number))),
            Just(Kind::Text),
        ];
        leaf.prop_recursive(3, 8, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(array),
                prop::collection::vec(inner.prop_map(|kind| (b"\"m\"".to_vec(), kind)), 0..3)
                    .prop_map(Kind::Composite),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_become_valid_json(kind in kinds(), text in "[{}()\\[\\]=,\"\\\\a1 tf.:+-]{0,24}|.{0,16}") {
            let out = json(&kind, &text);
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&out).is_ok(), "{}", out);
        }

        #[test]
        fn bytes_that_are_no_utf8_do_too(kind in kinds(), text in prop::collection::vec(any::<u8>(), 0..24)) {
            let mut out = Vec::new();
            write_value(&mut out, &kind, &text, &mut Casts::default());
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&out).is_ok());
        }
    }
}

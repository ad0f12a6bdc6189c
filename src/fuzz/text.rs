//! From the texts of arrays and rows to JSON.

use super::assert_json;
use crate::document::{Casts, write_value};
use crate::json_text::json_string;
use crate::kind::Kind;

/// What is written of an array's or a row's text is valid JSON. The first byte chooses the type.
pub fn text(input: &[u8]) {
    let Some((&choice, text)) = input.split_first() else { return };
    let mut out = b"before".to_vec();
    write_value(&mut out, &kind(choice), text, &mut Casts::default());
    let (before, written) = out.split_at(6);
    assert_eq!(before, b"before", "what was there is left alone");
    assert_json(written);
}

/// The kinds that the corpus begins with a letter for.
fn kind(choice: u8) -> Kind {
    let row = |kinds: Vec<Kind>| {
        let named = kinds.into_iter().zip('a'..);
        Kind::Composite(
            named.map(|(kind, name)| (format!("\"{name}\"").into_bytes(), kind)).collect(),
        )
    };
    let point = || row(vec![Kind::Number, Kind::Text]);
    match choice {
        b'n' => array(Kind::Number),
        b'b' => array(Kind::Boolean),
        b'd' => array(Kind::Timestamp),
        b'z' => array(Kind::TimestampWithZone),
        b'x' => Kind::Array { element: Box::new(Kind::Text), delimiter: b';' },
        b'v' => {
            row(vec![Kind::Vector(Box::new(Kind::Number)), Kind::Boolean, Kind::TimestampWithZone])
        }
        b'r' => point(),
        b'e' => row(vec![]),
        b'p' => array(point()),
        b'q' => row(vec![array(point()), array(Kind::Text), point()]),
        _ => array(Kind::Text),
    }
}

fn array(element: Kind) -> Kind {
    Kind::Array { element: Box::new(element), delimiter: b',' }
}

/// What is written of an array of rows, each of a text and an array of texts, is those rows.
pub fn round_trip(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let rows: Vec<_> = match &*input {
        "" => vec![],
        rows => rows.split('\x01').map(|row| some(row).map(Row::new)).collect(),
    };
    let members = [("text", Kind::Text), ("texts", array(Kind::Text))];
    let row = Kind::Composite(members.map(|(name, kind)| (json_string(name), kind)).into());

    let mut out = Vec::new();
    write_value(
        &mut out,
        &array(row),
        array_text(&rows, Row::text).as_bytes(),
        &mut Casts::default(),
    );
    assert_eq!(String::from_utf8_lossy(&out), array_json(&rows, Row::json));
}

/// A row. In the input `\x01` stands between rows, `\x02` between a row's texts, the first of
/// which is the text; `\x03` alone is NULL.
struct Row<'a> {
    text: Option<&'a str>,
    texts: Option<Vec<Option<&'a str>>>,
}

fn some(text: &str) -> Option<&str> {
    (text != "\x03").then_some(text)
}

impl<'a> Row<'a> {
    fn new(row: &'a str) -> Self {
        match row.split_once('\x02') {
            Some((text, texts)) => {
                Self { text: some(text), texts: Some(texts.split('\x02').map(some).collect()) }
            }
            None => Self { text: some(row), texts: None },
        }
    }

    fn text(&self) -> String {
        let texts = self.texts.as_ref().map(|texts| array_text(texts, |text| (*text).to_owned()));
        format!("({},{})", attribute_text(self.text), attribute_text(texts.as_deref()))
    }

    fn json(&self) -> String {
        let null = || "null".to_owned();
        let text = self.text.map_or_else(null, json);
        let texts = self.texts.as_ref();
        let texts = texts.map_or_else(null, |texts| array_json(texts, |text| json(text)));
        format!("{{\"text\":{text},\"texts\":{texts}}}")
    }
}

/// As PostgreSQL's `array_out`, though with more quotes.
fn array_text<T>(elements: &[Option<T>], text_of: impl Fn(&T) -> String) -> String {
    let quoted = |element: &T| {
        format!("\"{}\"", text_of(element).replace('\\', "\\\\").replace('"', "\\\""))
    };
    let elements: Vec<_> =
        elements.iter().map(|element| element.as_ref().map_or("NULL".to_owned(), quoted)).collect();
    format!("{{{}}}", elements.join(","))
}

/// As PostgreSQL's `record_out`, though with more quotes.
fn attribute_text(text: Option<&str>) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\""));
    text.map(quoted).unwrap_or_default()
}

fn array_json<T>(elements: &[Option<T>], json_of: impl Fn(&T) -> String) -> String {
    let elements: Vec<_> = elements
        .iter()
        .map(|element| element.as_ref().map_or("null".to_owned(), &json_of))
        .collect();
    format!("[{}]", elements.join(","))
}

fn json(text: &str) -> String {
    String::from_utf8_lossy(&json_string(text)).into_owned()
}

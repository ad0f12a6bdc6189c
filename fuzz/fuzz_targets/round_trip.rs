//! What is written of a value's text is the value.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pg2etcd::document::{Kind, json_string, write_value};

/// An array of rows, each of a text and an array of texts; NULL is `None`.
#[derive(Arbitrary, Debug)]
struct Rows(Vec<Option<Row>>);

#[derive(Arbitrary, Debug)]
struct Row {
    text: Option<String>,
    texts: Option<Vec<Option<String>>>,
}

fuzz_target!(|rows: Rows| {
    let text_of = |row: &Row| {
        let texts = row.texts.as_ref().map(|texts| array_text(texts, String::clone));
        format!("({},{})", attribute_text(row.text.as_deref()), attribute_text(texts.as_deref()))
    };
    let json_of = |row: &Row| {
        let text = row.text.as_deref().map_or("null".to_owned(), json);
        let texts = row
            .texts
            .as_ref()
            .map_or("null".to_owned(), |texts| array_json(texts, |text| json(text)));
        format!("{{\"text\":{text},\"texts\":{texts}}}")
    };
    let array = |element| Kind::Array { element: Box::new(element), delimiter: b',' };
    let members = [("text", Kind::Text), ("texts", array(Kind::Text))];
    let row = Kind::Composite(members.map(|(name, kind)| (json_string(name), kind)).into());

    let mut out = Vec::new();
    write_value(&mut out, &array(row), array_text(&rows.0, text_of).as_bytes());
    assert_eq!(String::from_utf8_lossy(&out), array_json(&rows.0, json_of));
});

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
    String::from_utf8(json_string(text)).expect("JSON is UTF-8")
}

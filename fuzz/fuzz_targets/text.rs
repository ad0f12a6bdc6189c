//! Whatever the bytes, what is written of an array's or a row's text is valid JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pg2etcd::document::{Kind, write_value};

fuzz_target!(|input: &[u8]| {
    let Some((&choice, text)) = input.split_first() else { return };
    let mut out = b"before".to_vec();
    write_value(&mut out, &kind(choice), text);
    let written = out.strip_prefix(b"before").expect("what was there is left alone");
    serde_json::from_slice::<serde::de::IgnoredAny>(written)
        .unwrap_or_else(|error| panic!("{error}: {}", written.escape_ascii()));
});

/// The kinds that the seeds begin with a letter for.
fn kind(choice: u8) -> Kind {
    let array = |element| Kind::Array { element: Box::new(element), delimiter: b',' };
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

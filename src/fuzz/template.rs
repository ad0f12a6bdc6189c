//! Templates of keys.

use crate::mapping::{KeyTemplate, text_parts};

/// A template, the texts of its placeholders, and a key, with `\x01` between: a key gives back the texts that it
/// was made of, and texts that are found in a key make that key.
pub fn template(input: &[u8]) {
    let mut parts = input.split(|&byte| byte == 1).map(String::from_utf8_lossy);
    let text = parts.next().unwrap_or_default();
    if let Err(problem) = text_parts(&text) {
        assert!(!problem.is_empty());
    }
    let template = match KeyTemplate::parse(&text) {
        Ok(template) => template,
        Err(problem) => return assert!(!problem.is_empty()),
    };
    assert!(!matches!(template.keyspace(), b"" | b"/"));
    // No text of PostgreSQL has a zero byte.
    let texts = parts.map(|text| text.replace('\0', "")).chain(std::iter::repeat("x".to_owned()));
    let texts: Vec<String> = texts.take(template.columns().count()).collect();
    if template.takes(bytes(&texts)) {
        let key = key(&template, &texts);
        assert!(template.gives(&key), "{}", key.escape_ascii());
        assert_eq!(template.texts(&key), Some(texts), "{}", key.escape_ascii());
    }
    let last = input.rsplit(|&byte| byte == 1).next().unwrap_or_default();
    for other in [last.to_vec(), [template.keyspace(), last].concat()] {
        if let Some(texts) = template.texts(&other) {
            assert!(template.gives(&other) && template.takes(bytes(&texts)), "{texts:?}");
            assert_eq!(key(&template, &texts), other);
        }
    }
}

fn key(template: &KeyTemplate, texts: &[String]) -> Vec<u8> {
    let mut key = Vec::new();
    template.write(&mut key, bytes(texts));
    assert!(key.starts_with(template.keyspace()));
    key
}

fn bytes(texts: &[String]) -> impl Iterator<Item = &[u8]> {
    texts.iter().map(String::as_bytes)
}

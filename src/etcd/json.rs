//! How the gateway writes bytes and 64-bit integers: as base64, standard and padded, and as
//! decimal strings (protobuf manual, "ProtoJSON Format").

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserializer, Unexpected, Visitor};

/// Appends `bytes` to `body` as a JSON string, without a buffer in between.
pub(super) fn push_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    body.push(b'"');
    let start = body.len();
    // Four characters for each three bytes, the last of them padded.
    body.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut body[start..]).unwrap_or(0);
    debug_assert_eq!(start + written, body.len());
    body.push(b'"');
}

/// Reads bytes. For `#[serde(deserialize_with)]`.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Base64;

    impl Visitor<'_> for Base64 {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a base64 string")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
            STANDARD.decode(text).map_err(|_| E::invalid_value(Unexpected::Other("string"), &self))
        }
    }

    deserializer.deserialize_str(Base64)
}

/// Reads a 64-bit integer, a string or a number. For `#[serde(deserialize_with)]`.
pub(super) fn int64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Int64;

    impl Visitor<'_> for Int64 {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a 64-bit integer, as a string or a number")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<i64, E> {
            text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<i64, E> {
            Ok(number)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<i64, E> {
            i64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
        }
    }

    deserializer.deserialize_any(Int64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_appended_as_padded_base64() {
        for (input, text) in [
            (&b""[..], "\"\""),
            (b"f", "\"Zg==\""),
            (b"fo", "\"Zm8=\""),
            (b"\xff\xfe\xfd", "\"//79\""),
        ] {
            let mut body = b"x".to_vec();
            push_bytes(&mut body, input);
            assert_eq!(body, format!("x{text}").as_bytes());
            let mut reader = serde_json::Deserializer::from_slice(&body[1..]);
            assert_eq!(bytes(&mut reader).unwrap(), input);
        }
    }

    #[test]
    fn bytes_in_another_form_are_refused() {
        for text in ["\"Zg\"", "\"Z===\"", "\"Zg==\\n\"", "\"_-_-\"", "1", "null", "[90]"] {
            assert!(bytes(&mut serde_json::Deserializer::from_str(text)).is_err(), "{text}");
        }
        // An escaped character is the same string to JSON.
        let escaped = bytes(&mut serde_json::Deserializer::from_str("\"Zg\\u003d=\""));
        assert_eq!(escaped.unwrap(), b"f");
    }

    #[test]
    fn integers_are_strings_or_numbers() {
        for (text, number) in [
            ("\"0\"", 0),
            ("7", 7),
            ("-7", -7),
            ("\"9223372036854775807\"", i64::MAX),
            ("\"-9223372036854775808\"", i64::MIN),
        ] {
            assert_eq!(int64(&mut serde_json::Deserializer::from_str(text)).unwrap(), number);
        }
        for text in ["\"\"", "\"1.0\"", "1.5", "1e3", "9223372036854775808", "null", "true", "{}"] {
            assert!(int64(&mut serde_json::Deserializer::from_str(text)).is_err(), "{text}");
        }
    }
}

//! The log sequence number: a position in PostgreSQL's write-ahead log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A byte position in the write-ahead log, written `16/B374D848`
/// (PostgreSQL manual, "pg_lsn Type").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// A text that is not two hexadecimal numbers of up to eight digits with a slash between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidLsn;

impl fmt::Display for InvalidLsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an LSN is written as two hexadecimal numbers, such as 16/B374D848")
    }
}

impl std::error::Error for InvalidLsn {}

impl FromStr for Lsn {
    type Err = InvalidLsn;

    fn from_str(text: &str) -> Result<Self, InvalidLsn> {
        let (high, low) = text.split_once('/').ok_or(InvalidLsn)?;
        Ok(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn half(digits: &str) -> Result<u32, InvalidLsn> {
    // from_str_radix takes a leading plus sign, which PostgreSQL does not.
    if digits.starts_with('+') {
        return Err(InvalidLsn);
    }
    u32::from_str_radix(digits, 16).map_err(|_| InvalidLsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_agree() {
        for (text, number) in
            [("0/0", 0), ("16/B374D848", 0x16_B374_D848), ("FFFFFFFF/FFFFFFFF", u64::MAX)]
        {
            assert_eq!(text.parse(), Ok(Lsn(number)));
            assert_eq!(Lsn(number).to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "/", "0", "0/", "/0", "g/0", "0/0/0", "+1/0", "100000000/0", " 0/0"] {
            assert_eq!(text.parse::<Lsn>(), Err(InvalidLsn), "{text:?}");
        }
    }
}

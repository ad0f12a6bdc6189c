//! A setting as the table of keys sees it: a field of [`Settings`](super::Settings), how its value
//! is written and which values it takes.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Oversized;
use super::text::{LEVELS, log_filter};
use super::units::{parse_duration, parse_period, parse_size, print_duration, print_size};
use crate::postgres::SslMode;
use crate::secret::Secret;
use crate::table_name::TableName;

/// What a text may be: gives the form that is kept, or says what is wrong.
type Check = fn(&str) -> Result<String, String>;

/// A field of the settings, by the type that users know it as.
pub enum Field<'a> {
    /// A string.
    Text(&'a mut String, Check),
    /// A string that may be absent.
    OptionalText(&'a mut Option<String>, Check),
    /// A string that is never shown.
    Secret(&'a mut Option<Secret>),
    /// A list of strings, of one at least.
    Texts(&'a mut Vec<String>, Check),
    /// A port or a list of ports.
    Ports(&'a mut Vec<u16>),
    /// A list of tables, which may be empty.
    Tables(&'a mut Vec<TableName>),
    /// A whole number.
    Number(&'a mut usize, RangeInclusive<usize>),
    /// `true` or `false`.
    Boolean(&'a mut bool),
    /// A duration, with its unit.
    Duration(&'a mut Duration),
    /// A duration with its unit, or 0, which is never.
    Period(&'a mut Option<Duration>),
    /// A number of bytes, with its unit.
    Size(&'a mut usize, RangeInclusive<usize>),
    /// One of a few words.
    Word(&'a mut dyn Word),
    /// What is logged: a level, or one a module.
    LogFilter(&'a mut String),
}

impl Field<'_> {
    /// Sets the field.
    pub(super) fn read(self, written: &Written) -> Result<(), String> {
        match self {
            Self::Text(field, check) => *field = check(written.text()?)?,
            Self::OptionalText(field, check) => *field = Some(check(written.text()?)?),
            Self::Secret(field) => *field = Some(Secret::new(written.text()?)),
            Self::Texts(field, check) => {
                *field = filled(written.items(|item| check(item.text()?))?)?
            }
            Self::Ports(field) => {
                *field = filled(written.items(|item| item.number(&(1..=u16::MAX)))?)?
            }
            Self::Tables(field) => *field = written.items(|item| item.text()?.parse())?,
            Self::Number(field, range) => *field = written.number(&range)?,
            Self::Boolean(field) => *field = written.boolean()?,
            Self::Duration(field) => *field = parse_duration(written.quantity()?)?,
            Self::Period(field) => *field = written.period()?,
            Self::Size(field, range) => *field = size(written.quantity()?, &range)?,
            Self::Word(field) => field.choose(written.text()?)?,
            Self::LogFilter(field) => *field = log_filter(written.text()?)?,
        }
        Ok(())
    }

    /// The words that it takes, for the help and so for the completion of shells; empty if they cannot be listed.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        match self {
            Self::Boolean(_) => vec!["true", "false"],
            Self::Word(field) => field.words(),
            Self::LogFilter(_) => LEVELS.to_vec(),
            _ => Vec::new(),
        }
    }

    /// Whether it has the value that `other`, the same field of other settings, has.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Secret(one), Self::Secret(other)) => one == other,
            _ => self.to_toml() == other.to_toml(),
        }
    }

    /// The value as TOML; `None` if it has none.
    #[must_use]
    pub fn to_toml(&self) -> Option<String> {
        Some(match self {
            Self::Text(field, _) | Self::LogFilter(field) => quoted(field),
            Self::OptionalText(field, _) => quoted(field.as_ref()?),
            Self::Secret(field) => quoted(field.as_ref()?),
            Self::Texts(field, _) => array(field.iter().map(quoted)),
            Self::Ports(field) => match field[..] {
                [port] => port.to_string(),
                _ => array(field.iter().map(u16::to_string)),
            },
            Self::Tables(field) => array(field.iter().map(quoted)),
            Self::Number(field, _) => field.to_string(),
            Self::Boolean(field) => field.to_string(),
            Self::Duration(field) => quoted(print_duration(**field)),
            Self::Period(None) => quoted(0),
            Self::Period(Some(field)) => quoted(print_duration(*field)),
            Self::Size(field, _) => quoted(print_size(**field)),
            Self::Word(field) => quoted(field.word()),
        })
    }
}

/// A setting that is one of a few words.
pub trait Word {
    /// The word for the value.
    fn word(&self) -> &'static str;

    /// All words that there are.
    fn words(&self) -> Vec<&'static str>;

    /// Takes the value that `word` stands for.
    ///
    /// # Errors
    /// The words that there are, if it is none of them.
    fn choose(&mut self, word: &str) -> Result<(), String>;
}

/// The words of a type, each with its value.
trait Words: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

impl Words for Oversized {
    const WORDS: &'static [(&'static str, Self)] = &[("stop", Self::Stop), ("skip", Self::Skip)];
}

impl Words for SslMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

impl<T: Words> Word for T {
    fn word(&self) -> &'static str {
        T::WORDS.iter().find(|(_, value)| value == self).map_or("", |(word, _)| word)
    }

    fn words(&self) -> Vec<&'static str> {
        T::WORDS.iter().map(|(word, _)| *word).collect()
    }

    fn choose(&mut self, word: &str) -> Result<(), String> {
        let Some((_, value)) = T::WORDS.iter().find(|(name, _)| *name == word) else {
            return Err(format!("expected {}, got {word:?}", self.words().join(" or ")));
        };
        *self = *value;
        Ok(())
    }
}

/// A value as its source has it. Outside of tests there is no way to print it, for it may be a
/// password.
#[cfg_attr(test, derive(Debug))]
pub(super) enum Written {
    /// From a source that knows text only: `-o`, the environment, the table of keys.
    Untyped(String),
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML array.
    List(Vec<Self>),
    /// A TOML value of a type that no setting has; the type's name.
    Other(&'static str),
}

impl Written {
    fn text(&self) -> Result<&str, String> {
        match self {
            Self::Untyped(text) | Self::Text(text) => Ok(text),
            _ => Err(self.instead_of("a string")),
        }
    }

    fn number<T>(&self, range: &RangeInclusive<T>) -> Result<T, String>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let number: Option<i64> = match self {
            Self::Untyped(text) => text.trim().parse().ok(),
            Self::Integer(number) => Some(*number),
            _ => None,
        };
        let number = number.ok_or_else(|| self.instead_of("a whole number"))?;
        T::try_from(number).ok().filter(|number| range.contains(number)).ok_or_else(|| {
            format!(
                "expected a whole number from {} to {}, got {number}",
                range.start(),
                range.end()
            )
        })
    }

    fn boolean(&self) -> Result<bool, String> {
        match self {
            Self::Untyped(text) => {
                text.trim().parse().map_err(|_| self.instead_of("true or false"))
            }
            Self::Boolean(value) => Ok(*value),
            _ => Err(self.instead_of("true or false")),
        }
    }

    /// The text of a number with a unit.
    fn quantity(&self) -> Result<&str, String> {
        match self {
            Self::Integer(number) => Err(format!(
                "{number} has no unit: write it as a string with one, such as 10s or 64KiB"
            )),
            _ => self.text(),
        }
    }

    /// How often something is done: `None` for 0, which is never.
    fn period(&self) -> Result<Option<Duration>, String> {
        match self {
            Self::Integer(0) => Ok(None),
            _ if ["0", "0s"].contains(&self.quantity()?.trim()) => Ok(None),
            _ => parse_period(self.quantity()?).map(Some),
        }
    }

    /// The items of a list, which may also be one string with commas between them.
    fn items<T>(&self, read: impl Fn(&Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        match self {
            Self::Untyped(text) | Self::Text(text) => {
                split(text).into_iter().map(|item| read(&Self::Untyped(item.to_owned()))).collect()
            }
            Self::List(items) => items.iter().map(read).collect(),
            _ => Ok(vec![read(self)?]),
        }
    }

    fn instead_of(&self, expected: &str) -> String {
        let got = match self {
            Self::Untyped(text) => &format!("{text:?}"),
            Self::Text(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Other(name) => name,
        };
        format!("expected {expected}, got {got}")
    }
}

/// Splits at the commas that are not in double quotes, which the name of a table may be in.
fn split(text: &str) -> Vec<&str> {
    let mut quoted = false;
    let separator = |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    if text.trim().is_empty() { Vec::new() } else { text.split(separator).collect() }
}

fn filled<T>(items: Vec<T>) -> Result<Vec<T>, String> {
    if items.is_empty() { Err("must not be empty".to_owned()) } else { Ok(items) }
}

fn size(text: &str, range: &RangeInclusive<usize>) -> Result<usize, String> {
    let size = parse_size(text)?;
    if range.contains(&size) {
        return Ok(size);
    }
    let (least, most) = (print_size(*range.start()), print_size(*range.end()));
    Err(format!("expected a size from {least} to {most}, got {text}"))
}

/// A TOML string. JSON's escapes are TOML's too, and a control character that only TOML forbids
/// passes no [`Check`].
fn quoted(text: impl Display) -> String {
    serde_json::Value::from(text.to_string()).to_string()
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KEYS, Settings};

    fn read(name: &str, written: &Written) -> Result<Option<String>, String> {
        let mut settings = Settings::default();
        let key = KEYS.iter().find(|key| key.name == name).unwrap();
        (key.field)(&mut settings).read(written)?;
        Ok((key.field)(&mut settings).to_toml())
    }

    fn untyped(text: &str) -> Written {
        Written::Untyped(text.to_owned())
    }

    fn text(text: &str) -> Written {
        Written::Text(text.to_owned())
    }

    #[test]
    fn values_are_read_and_printed() {
        let ports = vec![Written::Integer(1), Written::Integer(2)];
        for (key, written, printed) in [
            ("database.user", untyped("a \"b\" \\"), r#""a \"b\" \\""#),
            ("database.password", text("hunter2"), r#""********""#),
            ("database.password", text(""), r#""********""#),
            ("database.host", untyped("a,b"), r#"["a", "b"]"#),
            ("database.host", text("a, b"), r#"["a", "b"]"#),
            ("database.host", Written::List(vec![text("a"), text("b")]), r#"["a", "b"]"#),
            ("database.port", Written::Integer(5433), "5433"),
            ("database.port", text("5432,5433"), "[5432, 5433]"),
            ("database.port", Written::List(ports), "[1, 2]"),
            ("sync.tables", untyped(r#"a.b,c."d,e""#), r#"["a.b", "c.\"d,e\""]"#),
            ("sync.tables", untyped(""), "[]"),
            ("sync.writers", untyped("64"), "64"),
            ("sync.dump", untyped("false"), "false"),
            ("sync.dump", Written::Boolean(true), "true"),
            ("sync.oversized", untyped("skip"), r#""skip""#),
            ("sync.idle_period", text("500ms"), r#""500ms""#),
            ("sync.compare_period", Written::Integer(0), r#""0""#),
            ("sync.compare_period", text("7days"), r#""7days""#),
            ("etcd.max_request_bytes", text("1024KiB"), r#""1MiB""#),
        ] {
            assert_eq!(read(key, &written), Ok(Some(printed.to_owned())), "{key} {written:?}");
        }
    }

    #[test]
    fn wrong_types_and_values_are_refused() {
        for (key, written, problem) in [
            ("database.user", Written::Integer(1), "expected a string, got a whole number"),
            ("database.user", text(""), "must not be empty"),
            ("database.host", Written::List(vec![]), "must not be empty"),
            ("database.host", Written::List(vec![Written::Boolean(true)]), "got a boolean"),
            ("database.host", untyped("a,,b"), "must not be empty"),
            ("database.password", Written::Other("a float"), "expected a string, got a float"),
            ("database.port", Written::Integer(0), "from 1 to 65535, got 0"),
            ("database.port", untyped("5432,x"), r#"expected a whole number, got "x""#),
            ("sync.writers", text("4"), "expected a whole number, got a string"),
            ("sync.writers", Written::Integer(65), "from 1 to 64, got 65"),
            ("sync.writers", Written::Integer(-1), "from 1 to 64, got -1"),
            ("sync.dump", text("true"), "expected true or false, got a string"),
            ("sync.dump", untyped("yes"), r#"expected true or false, got "yes""#),
            ("sync.oversized", untyped("drop"), r#"expected stop or skip, got "drop""#),
            ("sync.idle_period", Written::Integer(10), "10 has no unit"),
            ("sync.compare_period", Written::Integer(1), "1 has no unit"),
            ("sync.tables", untyped("a.b.c"), "expected schema.table"),
            ("etcd.max_txn_ops", Written::Integer(1), "from 4 to"),
            ("etcd.max_request_bytes", text("1B"), "expected a size from"),
        ] {
            let got = read(key, &written).unwrap_err();
            assert!(got.contains(problem), "{key} {written:?}: {got}");
        }
    }
}

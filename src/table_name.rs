//! The name of a table with its schema.

use std::fmt;
use std::str::FromStr;

/// A table's schema and name, as the catalog has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

impl FromStr for TableName {
    type Err = String;

    /// Reads `schema.table`, or `table` for one in the schema public. Each part is the name itself,
    /// upper and lower case kept; one with a dot, a comma, a double quote or white space is written
    /// in double quotes, as in SQL.
    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!(
                "expected schema.table, or table for one in the schema public, with a name that \
                 has a dot or a comma in double quotes, got {text:?}"
            )
        };
        let (first, rest) = part(text.trim()).ok_or_else(malformed)?;
        if rest.is_empty() {
            return Ok(Self { schema: "public".to_owned(), name: identifier(&first)? });
        }
        let (name, rest) = rest.strip_prefix('.').and_then(part).ok_or_else(malformed)?;
        if !rest.is_empty() {
            return Err(malformed());
        }
        Ok(Self { schema: identifier(&first)?, name: identifier(&name)? })
    }
}

/// PostgreSQL cuts longer names off (manual, "Identifiers and Key Words").
pub(crate) const LONGEST_IDENTIFIER: usize = 63;

/// The name of a PostgreSQL object: one line of text, not empty and not too long.
pub(crate) fn identifier(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.len() > LONGEST_IDENTIFIER {
        return Err(format!(
            "a name has at most {LONGEST_IDENTIFIER} bytes in PostgreSQL, this one {}: {text}",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("has a control character: {text:?}"));
    }
    Ok(text.to_owned())
}

/// Splits the first name off and takes its quotes away.
fn part(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let (name, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        return name.chars().all(is_plain).then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        // A doubled quote is a quote in the name; a single one ends it.
        match after.strip_prefix('"') {
            Some(after) => rest = after,
            None => return Some((name, after)),
        }
        name.push('"');
    }
}

fn is_plain(c: char) -> bool {
    !matches!(c, '.' | ',' | '"') && !c.is_whitespace()
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_part(f, &self.schema)?;
        f.write_str(".")?;
        write_part(f, &self.name)
    }
}

fn write_part(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if name.chars().all(is_plain) {
        return f.write_str(name);
    }
    write!(f, "\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read() {
        for (text, schema, name) in [
            ("public.users", "public", "users"),
            ("users", "public", "users"),
            (r#""a.b""#, "public", "a.b"),
            ("Sales.Ünits", "Sales", "Ünits"),
            (r#""my schema"."a.b""#, "my schema", "a.b"),
            (r#"public."say ""hi"", x""#, "public", r#"say "hi", x"#),
        ] {
            let expected = TableName { schema: schema.into(), name: name.into() };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let long = format!("public.{}", "x".repeat(64));
        for text in
            ["", "public.", ".users", "a.b.c", r#"public."users"#, r#"p."u"x"#, "a b.c", &long]
        {
            assert!(text.parse::<TableName>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(schema in "[a-z.,\" ]{1,8}", name in "[A-Zé.,\" ]{1,8}") {
            let table = TableName { schema, name };
            prop_assert_eq!(table.to_string().parse(), Ok(table));
        }
    }
}

//! The name of a table with its schema.

use std::fmt;
use std::str::FromStr;

use super::text::identifier;

/// A table's schema and name, as the catalog has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The schema's name.
    pub schema: String,
    /// The table's name in it.
    pub name: String,
}

impl FromStr for TableName {
    type Err = String;

    /// Reads `schema.table`. Each part is the name itself, upper and lower case kept; one with a
    /// dot, a comma, a double quote or white space is written in double quotes, as in SQL.
    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!(
                "expected schema.table, with a name that has a dot or a comma in double \
                 quotes, got {text:?}"
            )
        };
        let (schema, rest) = part(text.trim()).ok_or_else(malformed)?;
        let (name, rest) = rest.strip_prefix('.').and_then(part).ok_or_else(malformed)?;
        if !rest.is_empty() {
            return Err(malformed());
        }
        Ok(Self { schema: identifier(&schema)?, name: identifier(&name)? })
    }
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
        for text in [
            "",
            "users",
            "public.",
            ".users",
            "a.b.c",
            r#"public."users"#,
            r#"p."u"x"#,
            "a b.c",
            &long,
        ] {
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

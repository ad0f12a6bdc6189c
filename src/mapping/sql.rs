//! What a plan asks the server for.

use super::output::Output;
use super::plan::Plan;
use super::template::{Filter, Part};
use crate::postgres::quoted;

impl Plan {
    /// The columns as SQL, those of [`Plan::casts`] as what the cast gives; and after them those of
    /// [`Plan::text_casts`] as they are.
    #[must_use]
    pub fn sql_columns(&self) -> String {
        let name = |column: usize| quoted(&self.columns[column].name);
        let mut columns: Vec<_> = (0..self.columns.len()).map(name).collect();
        for column in self.casts() {
            columns[column] = format!("to_json({})", columns[column]);
        }
        columns.extend(self.text_casts().map(name));
        columns.join(", ")
    }

    /// The rows that lack a key under one of the templates, as an SQL condition; `None` if none can.
    pub(super) fn sql_without_key(&self) -> Option<String> {
        let outputs = self.outputs().iter().filter(|output| !output.template.is_whole());
        let columns = outputs.flat_map(|output| {
            let filters = output.template.filters();
            output.placeholders.iter().copied().zip(filters)
        });
        let conditions = columns.filter(|&(column, filter)| self.may_lack(column, filter));
        let conditions = conditions.map(|(column, filter)| {
            // Of NULL it is empty.
            let text = format!("format('%s', {})", quoted(&self.columns[column].name));
            match filter {
                Filter::Plain | Filter::Raw => format!("{text} = ''"),
                Filter::Dns => format!("'.' || {text} || '.' LIKE '%..%'"),
            }
        });
        let mut conditions: Vec<_> = conditions.collect();
        conditions.sort_unstable();
        conditions.dedup();
        (!conditions.is_empty()).then(|| conditions.join(" OR "))
    }

    /// NULLs of the same types.
    #[must_use]
    pub fn sql_nulls(&self, table: &str) -> String {
        let null =
            |column: usize| format!("(NULL::{table}).{}", quoted(&self.columns[column].name));
        let mut columns: Vec<_> = (0..self.columns.len()).map(null).collect();
        for column in self.casts() {
            columns[column] = "NULL::json".to_owned();
        }
        columns.extend(self.text_casts().map(null));
        columns.join(", ")
    }

    /// The rows that have one of these keys by one of the outputs, as an SQL condition that an index can
    /// serve; `None` if none of the keys can be a row's.
    #[must_use]
    pub fn sql_with_keys(&self, outputs: &[&Output], keys: &[&[u8]]) -> Option<String> {
        let conditions: Vec<_> =
            outputs.iter().filter_map(|output| self.sql_with_keys_of(output, keys)).collect();
        (!conditions.is_empty()).then(|| conditions.join(" OR "))
    }

    /// The same as a condition that compares texts, whatever the columns' types.
    #[must_use]
    pub fn sql_with_key_texts(&self, outputs: &[&Output], keys: &[&[u8]]) -> String {
        let condition = |output: &&Output| {
            let texts = keys.iter().filter_map(|key| {
                let rest = key.strip_prefix(output.template.keyspace())?;
                let text = str::from_utf8(rest).ok()?;
                (!text.contains('\0')).then(|| literal(text))
            });
            let texts: Vec<_> = texts.collect();
            (!texts.is_empty())
                .then(|| format!("{} IN ({})", self.sql_key(output), texts.join(", ")))
        };
        let conditions: Vec<_> = outputs.iter().filter_map(condition).collect();
        if conditions.is_empty() { "false".to_owned() } else { conditions.join(" OR ") }
    }

    /// What stands behind the template's literal text in the key of a row, as SQL.
    #[must_use]
    pub fn sql_key(&self, output: &Output) -> String {
        let mut names = self.names(output);
        let part = |part| match part {
            Part::Literal(text) => literal(&String::from_utf8_lossy(&text)),
            Part::Column(name, filter) => sql_text(names.next().unwrap_or(name), filter),
        };
        output.template.behind_keyspace().into_iter().map(part).collect::<Vec<_>>().join(" || ")
    }

    /// The whole key, as SQL.
    #[must_use]
    pub fn sql_whole_key(&self, output: &Output) -> String {
        let keyspace = String::from_utf8_lossy(output.template.keyspace());
        format!("{} || {}", literal(&keyspace), self.sql_key(output))
    }

    /// That a row has all columns of its key, as SQL.
    #[must_use]
    pub fn sql_has_key(&self, output: &Output) -> String {
        let columns: Vec<_> =
            self.names(output).map(|name| format!("{} IS NOT NULL", quoted(name))).collect();
        columns.join(" AND ")
    }

    fn sql_with_keys_of(&self, output: &Output, keys: &[&[u8]]) -> Option<String> {
        let tuples = keys.iter().filter_map(|key| output.template.texts(key)).map(|texts| {
            let literals: Vec<_> = texts.iter().map(|text| literal(text)).collect();
            format!("({})", literals.join(", "))
        });
        let tuples: Vec<_> = tuples.collect();
        let columns: Vec<_> = self.names(output).map(quoted).collect();
        (!tuples.is_empty()).then(|| format!("({}) IN ({})", columns.join(", "), tuples.join(", ")))
    }

    /// The columns in an output's template, in its order.
    fn names(&self, output: &Output) -> impl Iterator<Item = &str> {
        output.placeholders.iter().map(|&column| self.columns[column].name.as_str())
    }
}

/// A column as it stands in a key.
fn sql_text(name: &str, filter: Filter) -> String {
    // `format` is the output function; a cast to text is not, for boolean and char(n).
    let text = format!("format('%s', {})", quoted(name));
    let encoded = |text: &str| format!("replace(replace({text}, '%', '%25'), '/', '%2F')");
    match filter {
        Filter::Plain => encoded(&text),
        Filter::Raw => text,
        Filter::Dns => format!(
            "(SELECT coalesce(string_agg({}, '/' ORDER BY place DESC), '') \
                FROM unnest(string_to_array({text}, '.')) WITH ORDINALITY l (label, place))",
            encoded("label")
        ),
    }
}

/// A text as SQL, whatever `standard_conforming_strings` is.
fn literal(text: &str) -> String {
    let mut sql = String::from("E'");
    for character in text.chars() {
        match character {
            '\'' | '\\' => sql.extend([character; 2]),
            _ => sql.push(character),
        }
    }
    sql + "'"
}

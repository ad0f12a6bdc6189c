//! The plan of a table.

use super::key::{decoded_key_column, keyspace, name_in_keys};
use crate::error::Unmet;
use crate::json_text::json_string;
use crate::kind::Kind;
use crate::postgres::{PublishedTable, TableColumn, quoted};
use crate::table_name::TableName;

/// What the rows of a table become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    keyspace: Vec<u8>,
    members: Vec<Member>,
    key: Vec<usize>,
}

/// What a published column becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The column's name.
    pub column: String,
    /// The name as JSON, quotes included.
    pub json_name: Vec<u8>,
    /// How the column's values become JSON.
    pub kind: Kind,
}

impl Plan {
    /// The plan of a published table with its keys below `path`; of one that is left out, why.
    ///
    /// # Errors
    /// The requirement that the table does not meet.
    pub fn of(path: &str, table: &PublishedTable) -> Result<Self, Unmet> {
        Self::new(path, &table.name, &table.columns, table.key.as_deref())
    }

    /// The plan of a table of these columns, of which `key` names those of the key, in its order.
    ///
    /// # Errors
    /// As for [`Plan::of`].
    pub fn new(
        path: &str,
        name: &TableName,
        columns: &[TableColumn],
        key: Option<&[String]>,
    ) -> Result<Self, Unmet> {
        let Some(key) = key else {
            return Err(Unmet::new(
                "it has neither a primary key nor an identity index",
                "give it a primary key that is not deferrable, or name a unique index with ALTER \
                 TABLE ... REPLICA IDENTITY USING INDEX",
            ));
        };
        // A name that is no UTF-8, as a SQL_ASCII database can have, cannot be asked for.
        let names = columns.iter().map(|column| &column.name).chain([&name.schema, &name.name]);
        if let Some(name) = names.into_iter().find(|name| name.contains('\u{FFFD}')) {
            return Err(Unmet::new(format!("the name {name} is no UTF-8"), "rename it"));
        }
        let place = |name: &String| columns.iter().position(|column| column.name == *name);
        let Some(places) = key.iter().map(place).collect() else {
            return Err(Unmet::new(
                format!("not all columns of its key ({}) are published", key.join(", ")),
                "add them to its column list in the publication",
            ));
        };
        let member = |column: &TableColumn| Member {
            column: column.name.clone(),
            json_name: json_string(&column.name),
            kind: column.kind.clone(),
        };
        Ok(Self {
            keyspace: keyspace(path, &name_in_keys(name)),
            members: columns.iter().map(member).collect(),
            key: places,
        })
    }

    /// What all keys of the table begin with, and no others do.
    #[must_use]
    pub fn keyspace(&self) -> &[u8] {
        &self.keyspace
    }

    /// What the columns become, in their order.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The places of the key's columns among all, in key order.
    #[must_use]
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// The names of the key's columns, in key order.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(|&column| self.members[column].column.as_str())
    }

    /// The columns with values that only the server can turn into JSON.
    pub fn casts(&self) -> impl Iterator<Item = usize> {
        let members = self.members.iter().enumerate();
        members.filter_map(|(column, member)| member.kind.needs_cast().then_some(column))
    }

    /// Those of them that are in the key too, where the value's own text stands.
    pub fn key_casts(&self) -> impl Iterator<Item = usize> {
        self.casts().filter(|column| self.key.contains(column))
    }

    /// The plan for rows that the server sends as [`Plan::sql_columns`] asks for.
    #[must_use]
    pub fn with_casts_made(&self) -> Self {
        let mut plan = self.clone();
        for column in self.casts() {
            plan.members[column].kind = Kind::Json;
        }
        plan
    }

    /// The columns as SQL, those of [`Plan::casts`] as what the cast gives; and after them those of
    /// [`Plan::key_casts`] as they are.
    #[must_use]
    pub fn sql_columns(&self) -> String {
        let name = |column: usize| quoted(&self.members[column].column);
        let mut columns: Vec<_> = (0..self.members.len()).map(name).collect();
        for column in self.casts() {
            columns[column] = format!("to_json({})", columns[column]);
        }
        columns.extend(self.key_casts().map(name));
        columns.join(", ")
    }

    /// What stands behind the keyspace in the key of a row, as SQL.
    #[must_use]
    pub fn sql_key(&self) -> String {
        // `format` is the output function; a cast to text is not, for boolean and char(n).
        let encoded = self.key_names().map(|name| {
            let text = format!("format('%s', {})", quoted(name));
            format!("replace(replace({text}, '%', '%25'), '/', '%2F')")
        });
        encoded.collect::<Vec<_>>().join(" || '/' || ")
    }

    /// The rows with these keys, as an SQL condition that an index can serve; `None` if none of the
    /// keys can be a row's.
    #[must_use]
    pub fn sql_with_keys(&self, keys: &[&[u8]]) -> Option<String> {
        let tuples: Vec<_> = keys.iter().filter_map(|key| self.key_texts(key)).collect();
        if tuples.is_empty() {
            return None;
        }
        let columns: Vec<_> = self.key_names().map(quoted).collect();
        let tuple = |texts: &Vec<String>| {
            let literals: Vec<_> = texts.iter().map(|text| literal(text)).collect();
            format!("({})", literals.join(", "))
        };
        let tuples: Vec<_> = tuples.iter().map(tuple).collect();
        Some(format!("({}) IN ({})", columns.join(", "), tuples.join(", ")))
    }

    /// The same as a condition that compares texts, whatever the columns' types.
    #[must_use]
    pub fn sql_with_key_texts(&self, keys: &[&[u8]]) -> String {
        let texts = keys.iter().filter_map(|key| {
            let text = str::from_utf8(key.strip_prefix(&self.keyspace[..])?).ok()?;
            (!text.contains('\0')).then(|| literal(text))
        });
        format!("{} IN ({})", self.sql_key(), texts.collect::<Vec<_>>().join(", "))
    }

    /// The texts of the key's columns in a key; `None` if no row can have it.
    fn key_texts(&self, key: &[u8]) -> Option<Vec<String>> {
        let rest = key.strip_prefix(&self.keyspace[..])?;
        let texts: Option<Vec<_>> =
            rest.split(|&byte| byte == b'/').map(decoded_key_column).collect();
        texts.filter(|texts| texts.len() == self.key.len())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(key: &[&str]) -> Result<Plan, Unmet> {
        let columns =
            [("a", Kind::Number), ("b \"q\"", Kind::Text), ("c", Kind::Cast { type_oid: 7 })]
                .map(|(name, kind)| TableColumn { name: name.to_owned(), type_oid: 0, kind });
        let name = TableName { schema: "public".to_owned(), name: "t".to_owned() };
        let key: Vec<String> = key.iter().map(|&name| name.to_owned()).collect();
        Plan::new("p", &name, &columns, (!key.is_empty()).then_some(&key))
    }

    #[test]
    fn a_table_without_a_whole_key_is_left_out() {
        for (key, problem) in [
            (&[][..], "it has neither a primary key nor an identity index"),
            (&["a", "z"], "not all columns of its key (a, z) are published"),
        ] {
            assert_eq!(plan(key).expect_err("left out").problem, problem);
        }
    }

    #[test]
    fn columns_and_keys_as_sql() {
        let plan = plan(&["c", "a"]).expect("a plan");
        assert_eq!(plan.sql_columns(), r#""a", "b ""q""", to_json("c"), "c""#);
        let keys = [&b"/p/t/x%2F'/1"[..], b"/p/t/x", b"/p/t/x/y/z", b"/p/u/x/1", b"/p/t/%/1"];
        assert_eq!(
            plan.sql_with_keys(&keys).as_deref(),
            Some(r#"("c", "a") IN ((E'x/''', E'1'))"#)
        );
        assert_eq!(plan.sql_with_keys(&keys[1..]), None);
        let by_text = plan.sql_with_key_texts(&keys[..2]);
        assert!(by_text.ends_with("|| '/' || replace(replace(format('%s', \"a\"), '%', '%25'), '/', '%2F') IN (E'x%2F''/1', E'x')"), "{by_text}");
        assert_eq!(plan.with_casts_made().members()[2].kind, Kind::Json);
    }
}

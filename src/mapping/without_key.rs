//! The rows that lack a key: a column in it is NULL or empty, or a label of a name is.
//!
//! Each of them has a key of the state, `/STATE_PATH/without_key/TABLE/KEY`, which goes the way of all
//! keys: in the txn of the change that made it so, and away in that of the change that cures it.

use super::keyspace::Keyspace;
use super::output::Output;
use super::plan::Plan;
use super::shape::TextPart;
use super::template::{Filter, KeyTemplate};
use super::value::Value;
use crate::kind::Kind;

impl Plan {
    /// The plan of the rows that lack a key: what says so of each is below `marks`, named by the columns
    /// of the table's key. `None` if no row can lack one.
    pub(super) fn of_rows_without_key(&self, marks: &[u8]) -> Option<Self> {
        let condition = self.sql_without_key()?;
        let names: Vec<_> = self.key_names().map(str::to_owned).collect();
        let output = Output {
            template: KeyTemplate::below(marks, &names),
            placeholders: self.key().to_vec(),
            key: self.key().to_vec(),
            value: Value::Text(vec![TextPart::Literal("1".to_owned())]),
            certain: true,
        };
        Some(Self {
            outputs: vec![output],
            keyspaces: vec![Keyspace::whole(marks)],
            condition: Some(condition),
            columns: self.columns.clone(),
            key: self.key.clone(),
            nests: Vec::new(),
            without_key: None,
        })
    }

    /// Whether the text of a column in a key can be NULL, empty or no name.
    pub(super) fn may_lack(&self, column: usize, filter: Filter) -> bool {
        let is_never_empty = matches!(
            self.columns[column].kind,
            Kind::Number | Kind::Boolean | Kind::Timestamp | Kind::TimestampWithZone
        );
        filter == Filter::Dns || !is_never_empty || !self.key().contains(&column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::block::tables_of;
    use crate::mapping::Shapes;
    use crate::postgres::TableColumn;
    use crate::table_name::TableName;

    #[test]
    fn rows_that_can_lack_a_key_are_told_by_sql() {
        let columns = [("id", Kind::Number), ("a", Kind::Text)].map(|(name, kind)| TableColumn {
            name: name.to_owned(),
            type_oid: 0,
            kind,
        });
        let name = TableName { schema: "public".to_owned(), name: "t".to_owned() };
        let plan = |block: &str, key: &[&str]| {
            let shapes = Shapes::new("p", tables_of(block)).with_marks(b"/s/without_key/".to_vec());
            let key: Vec<_> = key.iter().map(ToString::to_string).collect();
            Plan::new(&shapes, &name, &columns, Some(&key), true).expect(block)
        };
        let condition = |block: &str, key: &[&str]| {
            plan(block, key).without_key().and_then(Plan::condition).map(str::to_owned)
        };
        let null = |column: &str| format!("format('%s', \"{column}\") = ''");
        for (block, key, expected) in [
            ("", &["a"][..], None),
            ("columns = ['id']\n", &["a"], None),
            ("key = '/k/{id}'\n", &["id"], None),
            ("key = '/k/{a}'\n", &["a"], Some(null("a"))),
            ("key = '/k/{id}/{a:raw}'\n", &["id"], Some(null("a"))),
            (
                "key = '/k/{a:dns}/{id}'\n",
                &["a", "id"],
                Some("'.' || format('%s', \"a\") || '.' LIKE '%..%'".to_owned()),
            ),
        ] {
            assert_eq!(condition(block, key), expected, "{block}");
        }
        let plan = plan("key = '/k/{id}/{a}'\n", &["a", "id"]);
        let marks = plan.without_key().expect("a text can be empty");
        assert_eq!(marks.keyspaces()[0].prefix(), b"/s/without_key/t/");
    }
}

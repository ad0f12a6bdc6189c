//! A change that the server cannot send: where it is, and what to do about it.

use crate::error::{Error, ServerAnswer};
use crate::lsn::Lsn;
use crate::table_name::TableName;

/// The table that the stream was at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// It was described, and a row of it comes next.
    Table(TableName),
    /// A row of it has come, and the next one may be of any table.
    Behind(TableName),
}

/// The error that ended a stream. If the server refuses to send a change, which it does each time
/// that it is asked, with the place and the cure.
pub(super) fn with_cure(error: Error, at: Option<&At>, position: Lsn) -> Error {
    match error {
        Error::PostgresServer { doing, answer } if is_of_value(&answer) => {
            let place = match answer.context.as_deref().and_then(associated_lsn) {
                Some(lsn) => format!("the change at LSN {lsn}"),
                None => format!("a change behind LSN {position}"),
            };
            let table = match at {
                Some(At::Table(table)) => format!(" of table {table}"),
                Some(At::Behind(table)) => format!(", which comes behind one of table {table},"),
                None => String::new(),
            };
            let detail = format!("the server cannot send {place}{table}");
            let hint = "correct the row in the database, then run pg2etcd resync: it copies anew \
                        from behind that change"
                .to_owned();
            let answer = ServerAnswer { detail: Some(detail), hint: Some(hint), ..*answer };
            Error::PostgresServer { doing, answer: Box::new(answer) }
        }
        error => error,
    }
}

/// Whether the server cannot show a value (class 22, "Data Exception"): a character that UTF-8 does
/// not have, for example.
fn is_of_value(answer: &ServerAnswer) -> bool {
    answer.severity == "ERROR" && answer.code.starts_with("22")
}

/// The LSN in a context such as `slot "pg2etcd", output plugin "pgoutput", in the change callback,
/// associated LSN 0/152D8F0`. The words are in the server's language, and the LSN is the last one.
fn associated_lsn(context: &str) -> Option<Lsn> {
    context.lines().next_back()?.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_and_the_cure() {
        let table = TableName { schema: "public".to_owned(), name: "t".to_owned() };
        let context = r#"slot "s", output plugin "pgoutput", in the change callback, associated LSN 0/152D8F0"#;
        for (code, context, at, expected) in [
            ("22P05", Some(context), None, Some("the change at LSN 0/152D8F0")),
            (
                "22021",
                Some(context),
                Some(At::Table(table.clone())),
                Some("the change at LSN 0/152D8F0 of table public.t"),
            ),
            (
                "22P05",
                None,
                Some(At::Behind(table)),
                Some("a change behind LSN 0/10, which comes behind one of table public.t,"),
            ),
            ("57P01", Some(context), None, None),
        ] {
            let answer = ServerAnswer {
                severity: "ERROR".to_owned(),
                code: code.to_owned(),
                context: context.map(str::to_owned),
                ..ServerAnswer::default()
            };
            let error = Error::PostgresServer { doing: String::new(), answer: Box::new(answer) };
            let Error::PostgresServer { answer, .. } = with_cure(error, at.as_ref(), Lsn(0x10))
            else {
                panic!("another error")
            };
            let expected = expected.map(|place| format!("the server cannot send {place}"));
            assert_eq!(answer.detail, expected);
            assert_eq!(answer.hint.is_some(), expected.is_some());
        }
    }
}

//! The publication, and what of its tables gets to etcd.

use super::postgres::ASK_AGAIN;
use super::report::{Report, unmet};
use super::servers::Primary;
use crate::config::Settings;
use crate::error::{Result, Unmet};
use crate::mapping::{CopiedTable, PublishedTables, Shapes, TableShape};
use crate::postgres::{Published, PublishedTable, Session, quoted_name};
use crate::table_name::TableName;

/// How many tables are named in one line.
const NAMED: usize = 5;

/// Looks at the publication and at each table in it.
pub(super) fn check(settings: &Settings, primary: &mut Primary<'_>, report: &mut Report) {
    if let Err(error) = publication(settings, &mut primary.session, report) {
        report.fail("publication", unmet(&error, ASK_AGAIN));
    }
}

fn publication(settings: &Settings, session: &mut Session, report: &mut Report) -> Result<()> {
    let sync = &settings.sync;
    let name = &sync.publication;
    let Some(published) = session.published(name)? else {
        let obstacles = session.publication_obstacles(name, &sync.tables)?;
        if obstacles.is_empty() {
            let what = match sync.tables.len() {
                0 => "all tables".to_owned(),
                number => count(number),
            };
            report.ok("publication", format!("{name} does not exist yet: run makes it for {what}"));
        }
        for obstacle in obstacles {
            report.fail("publication", obstacle);
        }
        return Ok(());
    };
    let read = PublishedTables::read(session, name, &settings.shapes())?;
    let read = read.each();
    let tables: Vec<_> = read.iter().map(|(table, _)| (*table).clone()).collect();
    operations(name, published, tables.len(), report);
    let missing = session.missing_grants(&tables)?;
    if missing.is_empty() {
        report.ok("privileges", "the role may read what is published");
    }
    for grant in missing {
        report.fail("privileges", grant);
    }
    for (published_table, copied) in read {
        table(&settings.shapes(), published, (published_table, copied), session, report)?;
    }
    for warning in session.partition_warnings(&tables)? {
        report.warn("table", warning);
    }
    toast(&session.toasted(&tables)?, report);
    Ok(())
}

/// What a publication leaves out never gets to etcd.
fn operations(name: &str, published: Published, tables: usize, report: &mut Report) {
    let (truncate, left_out) = (published.truncate, published.left_out());
    let detail = format!("{name} has {}", count(tables));
    if !left_out.is_empty() {
        let operations = match truncate {
            Some(_) => "insert, update, delete, truncate",
            None => "insert, update, delete",
        };
        return report.warn(
            "publication",
            Unmet::new(
                format!("{detail}, and leaves {} out: etcd never sees them", left_out.join(", ")),
                format!("ALTER PUBLICATION {name} SET (publish = '{operations}')"),
            ),
        );
    }
    match (tables, truncate) {
        (0, _) => report.warn(
            "publication",
            Unmet::new(
                format!("{name} has no table"),
                format!("ALTER PUBLICATION {name} ADD TABLE ..."),
            ),
        ),
        (_, Some(_)) => report.ok("publication", format!("{detail}, with all their changes")),
        (_, None) => report.ok(
            "publication",
            format!("{detail}, with all their changes but TRUNCATE, which this version leaves out"),
        ),
    }
}

fn table(
    shapes: &Shapes,
    published: Published,
    (table, copied): (&PublishedTable, std::result::Result<&CopiedTable, &Unmet>),
    session: &mut Session,
    report: &mut Report,
) -> Result<()> {
    let name = &table.name;
    match copied {
        Ok(CopiedTable { plan, .. }) => {
            let key: Vec<_> = plan.key_names().collect();
            let key = key.join(", ");
            let templates = shapes.of(name).map(TableShape::templates).unwrap_or_default();
            let mut detail = format!("{name}: its key is ({key})");
            if !templates.is_empty() {
                detail += &format!(", in etcd {}", templates.join(", "));
            }
            let mut parents: Vec<_> =
                plan.nests().iter().map(|nest| nest.parent.to_string()).collect();
            parents.dedup();
            if !parents.is_empty() {
                detail += &format!(", nested in {}", parents.join(", "));
            }
            report.ok("table", detail);
            let mut mixed = plan.mixed_columns();
            if !mixed.is_empty() {
                let large = session.large_columns(table)?;
                mixed.retain(|column| large.iter().any(|name| name == column));
                mixed_texts(name, &mixed, report);
            }
        }
        Err(Unmet { problem, cure }) => {
            let changes = published.update || published.delete;
            let refused = match changes && session.lacks_identity(table)? {
                true => ", and PostgreSQL refuses UPDATE and DELETE on it",
                false => "",
            };
            let detail = format!("{name} is left out: {problem}{refused}");
            report.warn("table", Unmet::new(detail, cure));
        }
    }
    Ok(())
}

/// Warns of columns in texts that cannot be taken apart, where an update may leave one of them out.
fn mixed_texts(name: &TableName, columns: &[&str], report: &mut Report) {
    if columns.is_empty() {
        return;
    }
    let columns = columns.join(", ");
    report.warn(
        "table",
        Unmet::new(
            format!(
                "{name}: an update may leave a large value of {columns} out, and a text with others \
                 keeps what it was until the table has been compared"
            ),
            format!("ALTER TABLE {} REPLICA IDENTITY FULL", quoted_name(name)),
        ),
    );
}

fn count(tables: usize) -> String {
    if tables == 1 { "1 table".to_owned() } else { format!("{tables} tables") }
}

fn toast(tables: &[&TableName], report: &mut Report) {
    let named: Vec<_> = tables.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match tables.len() - named.len() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    report.ok(
        "toast",
        match tables {
            [] => "no update leaves a large value out".to_owned(),
            _ => format!(
                "an update may leave large values out of {}{more}: etcd keeps those that it has",
                named.join(", ")
            ),
        },
    );
}

//! `check`: each requirement of both servers on a line, and what `run` would do. It changes
//! nothing on either of them.

mod etcd;
mod files;
mod postgres;
mod report;
mod servers;
mod start;
mod tables;

use std::io::{self, IsTerminal};

pub use self::report::{Line, Report, Section, Status};

use super::no_stop;
use super::output::print;
use crate::config::Settings;
use crate::error::Result;

/// In which form the report is printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form {
    /// As JSON.
    pub json: bool,
    /// Only what is not `ok`.
    pub quiet: bool,
}

/// Looks at both ends and prints what was found; true if every requirement holds.
///
/// # Errors
/// Only [`System`](crate::error::Error::System): what else fails is in the report.
pub fn run(settings: &Settings, Form { json, quiet }: Form) -> Result<bool> {
    let mut report = look(settings)?;
    let holds = report.holds();
    if json {
        report.retain(|line| !quiet || line.status != Status::Ok);
        print(&report.to_json())?;
    } else {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = io::stdout().is_terminal() && !unwanted;
        print(&report.to_text(quiet, colours))?;
    }
    Ok(holds)
}

/// Looks at both ends. One that fails does not keep the other from being looked at.
fn look(settings: &Settings) -> Result<Report> {
    let stop = no_stop()?;
    let mut report = Report::new(Section::PostgreSql);
    let mut primary = match files::of_database(&settings.database, &mut report) {
        true => servers::primary(&settings.database, &stop, &mut report),
        false => None,
    };
    if let Some(primary) = &mut primary {
        postgres::check(settings, primary, &mut report);
        tables::check(settings, primary, &mut report);
    }
    report.begin(Section::Etcd);
    let position = match files::of_etcd(&settings.etcd, &mut report) {
        true => etcd::check(&settings.etcd, &mut report),
        false => None,
    };
    report.begin(Section::Both);
    if let (Some(primary), Some(position)) = (primary, position) {
        start::check(settings, primary, position, &mut report);
    }
    Ok(report)
}

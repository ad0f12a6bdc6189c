//! `check`: each requirement of both servers on a line, and what `run` would do. It changes
//! nothing on either of them.

mod etcd;
mod postgres;
mod report;
mod servers;
mod start;
mod tables;

pub use self::report::{Line, Report, Status};

use super::output::print;
use crate::config::Settings;
use crate::error::Result;
use crate::stop::Stop;

/// Looks at both ends and prints what was found; true if every requirement holds.
///
/// # Errors
/// Only [`System`](crate::error::Error::System): what else fails is in the report.
pub fn run(settings: &Settings, json: bool) -> Result<bool> {
    let report = look(settings)?;
    print(&if json { report.to_json() } else { report.to_string() })?;
    Ok(report.holds())
}

/// Looks at both ends. One that fails does not keep the other from being looked at.
fn look(settings: &Settings) -> Result<Report> {
    let stop = Stop::never()?;
    let mut report = Report::default();
    let mut primary = servers::primary(&settings.database, &stop, &mut report);
    if let Some(primary) = &mut primary {
        postgres::check(settings, primary, &mut report);
        tables::check(settings, primary, &mut report);
    }
    let position = etcd::check(&settings.etcd, &mut report);
    if let (Some(primary), Some(position)) = (primary, position) {
        start::check(settings, primary, position, &mut report);
    }
    Ok(report)
}

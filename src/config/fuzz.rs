//! The fuzz target of the settings file.

use std::path::Path;

use super::file;
use super::load::{Loaded, parse_option};
use crate::commands;
use crate::error::{Error, Result};

/// The bytes of a file: settings, which print as TOML, or an error that names the file or the key.
pub fn settings(input: &[u8]) {
    match load(input) {
        Ok(loaded) => {
            let printed = commands::config::to_toml(&loaded);
            let read = toml::de::DeTable::parse(&printed);
            assert!(read.is_ok(), "{read:?}: {printed}");
        }
        Err(Error::Setting(problem)) => assert!(!problem.is_empty()),
        Err(other) => unreachable!("{other}"),
    }
}

fn load(input: &[u8]) -> Result<Loaded> {
    let mut loaded = Loaded::with_fixed_defaults()?;
    // Else the system would be asked each time.
    loaded.set(parse_option("database.user=fuzz")?)?;
    let contents = file::parse(Path::new("fuzz.toml"), input)?;
    for given in contents.given {
        loaded.set(given)?;
    }
    loaded.settings.tables = contents.tables;
    loaded.compute_defaults()?;
    loaded.check()?;
    Ok(loaded)
}

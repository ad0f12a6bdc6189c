//! What depends on the version of PostgreSQL. `scripts/test-matrix` looks for these lines in what a test prints.

use super::Servers;

impl Servers {
    /// The major version of PostgreSQL.
    pub(crate) fn version(&self) -> u32 {
        let number = self.value("current_setting('server_version_num')").unwrap();
        number.parse::<u32>().unwrap() / 10_000
    }

    /// Whether this PostgreSQL has what came with `version`; if not, the whole test is skipped, and says why.
    #[must_use]
    pub(crate) fn lacks(&self, version: u32, what: &str) -> bool {
        let lacks = self.version() < version;
        if lacks {
            println!("skipped: {what}: PostgreSQL {version} and later");
        }
        lacks
    }

    /// Whether this PostgreSQL has what came with `version`; if not, a part of the test is left out, and the test says so.
    #[must_use]
    pub(crate) fn has(&self, version: u32, what: &str) -> bool {
        let has = self.version() >= version;
        if !has {
            println!("left out: {what}: PostgreSQL {version} and later");
        }
        has
    }
}

//! What depends on the version of PostgreSQL. `scripts/test-matrix` looks for these lines in what a test prints.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Servers, wait_until};

impl Servers {
    /// The major version of PostgreSQL.
    pub(crate) fn version(&self) -> u32 {
        let version = fs::read_to_string(self.folder.join("postgres/PG_VERSION")).unwrap();
        version.trim().parse().expect("a number")
    }

    /// Has PostgreSQL begin as a standby when it is started.
    pub(crate) fn make_standby(&self) {
        let (file, settings) = match self.version() {
            12.. => ("standby.signal", ""),
            _ => (
                "recovery.conf",
                "standby_mode = on\nrecovery_target_timeline = latest\ntrigger_file = promote\n",
            ),
        };
        let file = self.folder.join("postgres").join(file);
        fs::write(&file, settings).unwrap();
        // The server, which may run as another user, opens it to write before it renames it.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    }

    /// Makes a primary of a standby.
    pub(crate) fn promote(&self) {
        match self.version() {
            12.. => self.execute("SELECT pg_promote()"),
            // It looks for this file every five seconds.
            _ => fs::write(self.folder.join("postgres/promote"), "").unwrap(),
        }
        wait_until("the end of recovery", || {
            self.value("SELECT pg_is_in_recovery()").as_deref() == Some("false")
        });
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

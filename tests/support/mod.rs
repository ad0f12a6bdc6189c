//! What the tests are made of: real servers, the daemon, faults, and an oracle that shares no code with pg2etcd.

mod between;
mod browser;
mod certificates;
mod daemon;
mod etcd;
mod history;
mod installed;
mod load;
mod oracle;
mod promtool;
mod proxy;
mod random;
mod servers;
mod status;
mod versions;

use std::time::{Duration, Instant};

pub(crate) use between::Between;
pub(crate) use browser::Browser;
pub(crate) use certificates::{Authority, Issued, self_signed};
pub(crate) use daemon::{Daemon, Launch};
pub(crate) use etcd::{CHECKPOINT, lsn};
pub(crate) use history::{History, number};
pub(crate) use installed::installed;
pub(crate) use load::{Load, SCHEMA, TABLES};
pub(crate) use oracle::{
    ORACLE_SETTINGS, assert_equal, await_equal, canonical, caught_up, difference,
};
pub(crate) use promtool::promtool;
pub(crate) use proxy::Proxy;
pub(crate) use random::Random;
pub(crate) use servers::{Part, Servers};
pub(crate) use status::{Pages, ServiceManager};

/// How long anything that a test waits for may take. Far more than it does, since the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// The pause between two looks: what is looked at often takes a process call.
const LOOK: Duration = Duration::from_millis(25);

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || if condition() { Ok(()) } else { Err(String::new()) });
}

/// Waits for a value; what stands in its way is printed when it does not come.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(state) if Instant::now() >= deadline => panic!("waited in vain: {what}\n{state}"),
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

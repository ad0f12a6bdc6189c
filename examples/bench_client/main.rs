//! The bare client that `scripts/bench` holds pg2etcd against: it posts ready-made requests and
//! reads the replies, and does nothing else.
//!
//! ```text
//! bench_client sequential FILE [OPERATIONS]
//!     posts FILE's puts over one connection, as pg2etcd's ordered stream goes: each txn moves a
//!     position and is guarded by a compare on it, and no txn has a key twice
//! bench_client parallel FILE CONNECTIONS [OPERATIONS]
//!     posts them over several connections, with no position
//! bench_client pace FILE RATE
//!     posts one put a txn, RATE of them a second, and prints when each was sent
//! bench_client watch PREFIX COUNT [TEXT]
//!     prints when each of COUNT events came whose key begins with PREFIX and whose value has TEXT
//! bench_client count PREFIX REVISION
//!     counts the keys that were changed after a revision; after 0, all
//! ```
//!
//! FILE has a key and a value a line, with a tab between. The first three print `ready`, then wait
//! for a line on standard input; `watch` prints it when nothing that comes will be missed. What is
//! measured is printed as one JSON object, times of events as lines of a key and seconds since
//! 1970. The server is that of `ETCDCTL_ENDPOINTS`.

mod connection;
mod post;
mod requests;
mod watch;

use std::error::Error;
use std::process::ExitCode;
use std::time::SystemTime;
use std::{env, io};

/// Whatever fails ends the measurement.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How many operations a txn has: as many as etcd takes, unless told otherwise.
const OPERATIONS: usize = 128;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match carry_out(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(words: &[&str]) -> Result<()> {
    match *words {
        ["sequential", file] => post::sequential(file, OPERATIONS),
        ["sequential", file, operations] => post::sequential(file, operations.parse()?),
        ["parallel", file, connections] => post::parallel(file, connections.parse()?, OPERATIONS),
        ["parallel", file, connections, operations] => {
            post::parallel(file, connections.parse()?, operations.parse()?)
        }
        ["pace", file, rate] => post::pace(file, rate.parse()?),
        ["watch", prefix, count] => watch::watch(prefix, count.parse()?, ""),
        ["watch", prefix, count, text] => watch::watch(prefix, count.parse()?, text),
        ["count", prefix, revision] => watch::count(prefix, revision.parse()?),
        _ => Err("see the comment at the top of examples/bench_client/main.rs".into()),
    }
}

/// Says that all is prepared, and waits for the word to begin.
fn wait_for_go() -> Result<()> {
    println!("ready");
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

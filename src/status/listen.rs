//! The address where the pages are served.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, Builder};
use std::time::Duration;

use super::{Status, http};
use crate::error::{Error, Result, Unmet};

/// The pause between two attempts at an address that is not free.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves the pages at an address, in a thread that lives as long as the process. One that is in
/// use, or not this machine's yet, is waited for: the copy goes on meanwhile.
///
/// # Errors
/// [`Error::Requirement`] for an address that waiting does not make right.
pub(super) fn start(address: &str, status: Arc<Status>) -> Result<()> {
    let listener = match listen(address) {
        Err(error) if is_cured_by_time(&error) => {
            log::warn!(
                "Cannot listen on {address} (status.listen): {error}: metrics and health are served \
                 as soon as it is free"
            );
            None
        }
        listener => Some(listener.map_err(|error| {
            Error::from(Unmet::new(
                format!("cannot listen on {address} (status.listen): {error}"),
                "choose an address of this machine and a port that pg2etcd may listen on",
            ))
        })?),
    };
    let address = address.to_owned();
    let serve = move || http::serve(&listener.unwrap_or_else(|| wait(&address)), &status);
    let spawned = Builder::new().name("http".to_owned()).spawn(serve);
    spawned.map(drop).map_err(|source| Error::System {
        doing: "starting the thread of status.listen".to_owned(),
        source,
    })
}

fn is_cured_by_time(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
}

/// Tries until the address is there.
fn wait(address: &str) -> TcpListener {
    loop {
        thread::sleep(PAUSE);
        if let Ok(listener) = listen(address) {
            return listener;
        }
    }
}

fn listen(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    log::info!("Serving metrics and health: listen={}", listener.local_addr()?);
    Ok(listener)
}

//! The address where the pages are served.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use super::{Status, http};
use crate::error::{Error, Result, Unmet};
use crate::stop::Stop;

/// The pause between two attempts at an address that is not free.
const PAUSE: Duration = Duration::from_secs(1);

/// The pages at one address, served until this is dropped.
pub(super) struct Pages {
    address: String,
    end: Stop,
}

impl Drop for Pages {
    fn drop(&mut self) {
        // It cannot fail: nobody else has asked.
        let _ = self.end.request();
    }
}

impl Pages {
    /// Serves them, in a thread. An address that is in use, or not this machine's yet, is waited
    /// for: the copy goes on meanwhile.
    ///
    /// # Errors
    /// [`Error::Requirement`] for an address that waiting does not make right.
    pub(super) fn start(address: &str, status: &Arc<Status>) -> Result<Self> {
        let system = |source| Error::System {
            doing: "starting the thread of status.listen".to_owned(),
            source,
        };
        let end = Stop::new().map_err(system)?;
        let seen = end.try_clone().map_err(system)?;
        serve(address, Arc::clone(status), seen)?;
        Ok(Self { address: address.to_owned(), end })
    }

    /// Where they are, or will be.
    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

fn serve(address: &str, status: Arc<Status>, end: Stop) -> Result<()> {
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
    let serve = move || {
        if let Some(listener) = listener.or_else(|| wait(&address, &end)) {
            http::serve(&listener, &status, &end);
        }
    };
    let spawned = Builder::new().name("http".to_owned()).spawn(serve);
    spawned.map(drop).map_err(|source| Error::System {
        doing: "starting the thread of status.listen".to_owned(),
        source,
    })
}

fn is_cured_by_time(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
}

/// Tries until the address is there, or not wanted any more.
fn wait(address: &str, end: &Stop) -> Option<TcpListener> {
    while !end.wait(PAUSE) {
        if let Ok(listener) = listen(address) {
            return Some(listener);
        }
    }
    None
}

fn listen(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // A client that is gone again before it is taken keeps nobody waiting.
    listener.set_nonblocking(true)?;
    log::info!("Serving metrics and health: listen={}", listener.local_addr()?);
    Ok(listener)
}

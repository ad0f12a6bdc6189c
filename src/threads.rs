//! Threads of which the first to fail tells why all of them end.

use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::error::{Error, Result};

/// The first failure among threads. The others only see their channels disconnected, say
/// [`Error::Stopped`], and are not asked for more.
#[derive(Debug, Default)]
pub(crate) struct Failure(Mutex<Option<Error>>);

impl Failure {
    /// Starts a thread of this name, of 15 bytes at most.
    pub(crate) fn spawn<'scope, 'env, T: Send + 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        name: &str,
        body: impl FnOnce() -> Result<T> + Send + 'scope,
    ) -> Option<ScopedJoinHandle<'scope, Option<T>>> {
        self.spawn_then(scope, name, body, || {})
    }

    /// The same; `failed` tells the others, once the failure is recorded: what they meet then is not taken
    /// for the cause.
    pub(crate) fn spawn_then<'scope, 'env, T: Send + 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        name: &str,
        body: impl FnOnce() -> Result<T> + Send + 'scope,
        failed: impl FnOnce() + Send + 'scope,
    ) -> Option<ScopedJoinHandle<'scope, Option<T>>> {
        let recorded = move || match body() {
            Ok(done) => Some(done),
            Err(error) => {
                self.record(error);
                failed();
                None
            }
        };
        Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, recorded)
            .map_err(|source| {
                self.record(Error::System { doing: format!("starting thread {name}"), source });
            })
            .ok()
    }

    /// Whether a thread has failed.
    pub(crate) fn happened(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The first failure, if there was one.
    pub(crate) fn into_result(self) -> Result<()> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Records a failure, if it is the first.
    pub(crate) fn record(&self, error: Error) {
        if !matches!(error, Error::Stopped) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

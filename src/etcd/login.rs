//! Requests as a user: the login, its token, and a new one when that is no longer good.

use std::sync::Arc;

use serde::Serialize;

use super::client::{Client, Request};
use super::error::{Error, ErrorKind, Reason, Result};
use super::reply::{self, Login};
use crate::secret::{Password, Secret};

impl Client {
    /// Sends a request, and once more after a new login if the token is no longer good: tokens
    /// expire, and a restart or a change of users makes etcd forget them.
    pub(super) fn send_as_user(&mut self, at: usize, request: &Request<'_>) -> Result<()> {
        let token = self.shared.token().clone();
        let Err(error) = self.post(at, request, token.as_deref()) else { return Ok(()) };
        if self.shared.options.username.is_none() {
            return Err(error);
        }
        match error.kind {
            ErrorKind::Answer { reason: Reason::Token, .. } => {
                let token = self.renew_token(at, token.as_deref())?;
                self.post(at, request, Some(&token))
            }
            // A token can be the cause of that too. What etcd may have carried out before is not
            // sent again from here, and whoever does so has the new token.
            ErrorKind::Closed => match self.renew_token(at, token.as_deref()) {
                Ok(token) if request.repeatable => self.post(at, request, Some(&token)),
                _ => Err(error),
            },
            _ => Err(error),
        }
    }

    /// Logs in, unless another clone has done so since `stale` was the token. The others wait
    /// for this login rather than each log in on its own.
    pub(super) fn renew_token(&mut self, at: usize, stale: Option<&str>) -> Result<Arc<str>> {
        let shared = Arc::clone(&self.shared);
        let mut token = shared.token();
        if let Some(token) = &*token
            && Some(&**token) != stale
        {
            return Ok(Arc::clone(token));
        }
        let new = self.log_in(at)?;
        *token = Some(Arc::clone(&new));
        Ok(new)
    }

    fn log_in(&mut self, at: usize) -> Result<Arc<str>> {
        #[derive(Serialize)]
        struct Credentials<'a> {
            name: &'a str,
            password: &'a str,
        }

        const DOING: &str = "logging in";
        let options = &self.shared.options;
        let password = options.password.as_ref().map(Password::reveal).transpose();
        let password = password.map_err(|problem| {
            let problem = format!("etcd.password_file: {problem}");
            self.shared.error(at, DOING, ErrorKind::Credentials(problem))
        })?;
        let credentials = Credentials {
            name: options.username.as_deref().unwrap_or_default(),
            password: password.as_ref().map_or("", Secret::reveal),
        };
        // Two strings always have a JSON form.
        let body = serde_json::to_vec(&credentials).unwrap_or_default();
        self.post(at, &Request::repeatable(DOING, "/auth/authenticate", &body), None)?;
        let fault = |kind| -> Error { self.shared.error(at, DOING, kind) };
        let login: Login<'_> = reply::parse(self.http.reply()).map_err(fault)?;
        log::debug!("etcd: Logged in at {}", self.shared.endpoints[at].name);
        Ok(login.token.into())
    }
}

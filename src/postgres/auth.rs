//! The client's side of authentication (manual, "Message Flow", "Start-up"; "SASL
//! Authentication"): bodies of Authentication messages in, answers out.

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;

use super::message::take;
use super::options::{HostPort, Options};
use super::quoting::quoted;
use super::wait::Wait;
use crate::error::{Error, Result, Unmet};
use crate::secret::Secret;
use crate::sqlstate::{self, INVALID_AUTHORIZATION_SPECIFICATION};

/// One authentication. Each step is accepted once and in its place, which bounds the number of
/// rounds, and a server that did not prove to know the password in SCRAM is not believed.
pub(super) struct Authentication<'a> {
    options: &'a Options,
    address: &'a HostPort,
    /// What the proof of the password is bound to, so that nobody in between can use it: see
    /// [`super::tls::end_point`].
    end_point: Option<Vec<u8>>,
    state: State,
}

enum State {
    /// Nothing has been asked.
    New,
    /// A password has been sent, the server has to decide.
    Answered,
    /// The first message of SCRAM has been sent.
    ScramBegun(ScramSha256),
    /// The proof has been sent, the server's own proof has to come.
    ScramProved(ScramSha256),
    /// The server has accepted the user.
    Done,
    /// A step has failed.
    Failed,
}

impl<'a> Authentication<'a> {
    pub(super) fn new(
        options: &'a Options,
        address: &'a HostPort,
        end_point: Option<Vec<u8>>,
    ) -> Self {
        Self { options, address, end_point, state: State::New }
    }

    /// Whether the server has accepted the user.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// What to send after an Authentication message with this body; empty is nothing.
    ///
    /// # Errors
    /// [`Error::Requirement`] if there is no password, or for a method that pg2etcd does not have.
    pub(super) fn answer(&mut self, body: &[u8], wait: &Wait<'_>) -> Result<BytesMut> {
        let mut rest = body;
        let kind = take::<4>(&mut rest).map(u32::from_be_bytes);
        let mut answer = BytesMut::new();
        let state = std::mem::replace(&mut self.state, State::Failed);
        self.state = match (kind, state) {
            (Some(0), State::New | State::Answered) => State::Done,
            (Some(3), State::New) => {
                frontend::password_message(self.password()?.reveal().as_bytes(), &mut answer)
                    .map_err(|error| wait.io_error(error))?;
                State::Answered
            }
            (Some(5), State::New) => {
                let salt = take::<4>(&mut rest).ok_or_else(|| wait.protocol_error("no salt"))?;
                let user = self.options.user.as_bytes();
                let hash = md5_hash(user, self.password()?.reveal().as_bytes(), salt);
                frontend::password_message(hash.as_bytes(), &mut answer)
                    .map_err(|error| wait.io_error(error))?;
                State::Answered
            }
            (Some(10), State::New) => self.begin_scram(rest, &mut answer, wait)?,
            (Some(11), State::ScramBegun(mut scram)) => {
                scram.update(rest).map_err(|error| wait.protocol_error(error.to_string()))?;
                frontend::sasl_response(scram.message(), &mut answer)
                    .map_err(|error| wait.io_error(error))?;
                State::ScramProved(scram)
            }
            (Some(12), State::ScramProved(mut scram)) => {
                scram.finish(rest).map_err(|error| wait.protocol_error(error.to_string()))?;
                State::Answered
            }
            (Some(2), State::New) => return Err(self.unsupported("Kerberos V5")),
            (Some(7), State::New) => return Err(self.unsupported("GSSAPI")),
            (Some(9), State::New) => return Err(self.unsupported("SSPI")),
            _ => return Err(wait.protocol_error("a step of authentication out of its order")),
        };
        Ok(answer)
    }

    /// `mechanisms` are names, a zero byte after each and one after all.
    fn begin_scram(
        &self,
        mechanisms: &[u8],
        answer: &mut BytesMut,
        wait: &Wait<'_>,
    ) -> Result<State> {
        let offered = |mechanism: &str| {
            mechanisms.split(|byte| *byte == 0).any(|name| name == mechanism.as_bytes())
        };
        let (mechanism, binding) = match &self.end_point {
            Some(hash) if offered(SCRAM_SHA_256_PLUS) => {
                (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash.clone()))
            }
            _ if !offered(SCRAM_SHA_256) => {
                let names = String::from_utf8_lossy(mechanisms);
                return Err(self.unsupported(&names.replace('\0', " ")));
            }
            // A server that did offer it, and hears this, knows that someone is in between.
            Some(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        };
        let scram = ScramSha256::new(self.password()?.reveal().as_bytes(), binding);
        frontend::sasl_initial_response(mechanism, scram.message(), answer)
            .map_err(|error| wait.io_error(error))?;
        Ok(State::ScramBegun(scram))
    }

    fn password(&self) -> Result<Secret> {
        self.options.password_for(self.address)?.ok_or_else(|| {
            let Self { address, options, .. } = self;
            let user = &options.user;
            Unmet::new(
                format!("PostgreSQL at {address} asks for the password of user {user}"),
                "set database.password_file, database.password or PGPASSWORD, or put it into \
                 ~/.pgpass",
            )
            .into()
        })
    }

    fn unsupported(&self, method: &str) -> Error {
        let Self { address, options, .. } = self;
        let (user, method) = (&options.user, method.trim_end());
        let problem = format!(
            "PostgreSQL at {address} asks user {user} to authenticate by {method}, which pg2etcd \
             does not support"
        );
        Unmet::new(problem, "in its pg_hba.conf, give this user a line with scram-sha-256").into()
    }
}

/// Puts a hint at the cure into a refusal that comes without one.
pub(super) fn with_cure(mut error: Error, options: &Options) -> Error {
    if let Error::PostgresServer { answer, .. } = &mut error
        && answer.hint.is_none()
    {
        let Options { user, database, .. } = options;
        let (user, database) = (quoted(user), quoted(database));
        let grant_connect = format!("run GRANT CONNECT ON DATABASE {database} TO {user}");
        let alter_role = format!("run ALTER ROLE {user} REPLICATION");
        let cure = match answer.code.as_str() {
            sqlstate::INVALID_PASSWORD => {
                "correct database.password, database.password_file, PGPASSWORD or the line in \
                 ~/.pgpass"
            }
            // The file's name is in the message in every language; what else has this code is a
            // role that is missing or may not log in.
            INVALID_AUTHORIZATION_SPECIFICATION if answer.message.contains("pg_hba.conf") => {
                "add a line for this database, user and client address to the server's pg_hba.conf \
                 and reload it"
            }
            INVALID_AUTHORIZATION_SPECIFICATION if answer.message.contains("certificate") => {
                "set database.sslcert and database.sslkey to a certificate of this user"
            }
            INVALID_AUTHORIZATION_SPECIFICATION => "set database.user to a role that may log in",
            sqlstate::INVALID_CATALOG_NAME => "set database.name to a database that exists",
            // The privilege's name is in the detail in every language.
            sqlstate::INSUFFICIENT_PRIVILEGE
                if answer.detail.as_ref().is_some_and(|text| text.contains("CONNECT")) =>
            {
                &grant_connect
            }
            sqlstate::INSUFFICIENT_PRIVILEGE => &alter_role,
            sqlstate::TOO_MANY_CONNECTIONS => {
                "raise max_wal_senders or max_connections on the server"
            }
            _ => return error,
        };
        answer.hint = Some(cure.to_owned());
    }
    error
}

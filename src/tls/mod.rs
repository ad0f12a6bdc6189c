//! What both connections need for TLS: certificates and keys from PEM files, whom to trust, and
//! why a session was refused.

mod files;
mod verifier;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, CertificateError, ClientConfig};
use x509_cert::der::{Decode, Encode};

pub use self::verifier::NameCheck;
use self::verifier::Verifier;

/// How a client proves who it is, and whom it takes for the server.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Who has to have signed the server's certificate.
    pub trust: Trust,
    /// What it has to say of the server's name.
    pub name: NameCheck,
    /// The client's own certificate, if it has one.
    pub identity: Option<Identity>,
}

/// Who has to have signed the server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Anyone.
    Anyone,
    /// One that the system trusts.
    System,
    /// One of the certificates in this file.
    File(PathBuf),
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The file with the certificate and those between it and the root.
    pub certificate: PathBuf,
    /// The file with the key.
    pub key: PathBuf,
}

/// What the settings are called that a refusal is about.
#[derive(Debug)]
pub struct Names {
    /// That of [`Tls::trust`].
    pub trust: &'static str,
    /// Those of [`Tls::identity`].
    pub identity: &'static str,
}

impl Tls {
    /// Reads the files, which may be others than the last time, and puts a configuration together.
    ///
    /// # Errors
    /// The file that cannot be used, and what is wrong with it.
    pub fn client_config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let roots = match &self.trust {
            Trust::Anyone => None,
            Trust::System => Some(files::system_roots()?),
            Trust::File(path) => Some(files::certificates(path)?),
        };
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Verifier::new(roots, self.name, algorithms);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Ok(match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let resolver = SingleCertAndKey::from(identity.load()?);
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        })
    }
}

impl Identity {
    fn load(&self) -> Result<CertifiedKey, String> {
        let certificates = files::certificates(&self.certificate)?;
        let key =
            ring::sign::any_supported_type(&files::private_key(&self.key)?).map_err(|_| {
                format!(
                    "private key {}: neither RSA nor ECDSA (P-256, P-384) nor Ed25519",
                    self.key.display()
                )
            })?;
        let of_certificate = certificates
            .first()
            .and_then(|first| x509_cert::Certificate::from_der(first).ok())
            .and_then(|first| first.tbs_certificate.subject_public_key_info.to_der().ok());
        match key.public_key() {
            Some(public) if of_certificate.as_deref() != Some(&*public) => Err(format!(
                "private key {}: it is not the key of certificate {}",
                self.key.display(),
                self.certificate.display()
            )),
            _ => Ok(CertifiedKey::new(certificates, key)),
        }
    }
}

/// Why one side has refused the other, and what to do; `None` for an error that is not about
/// that, so that trying again may cure it.
#[must_use]
pub fn refusal(error: &io::Error, names: &Names) -> Option<String> {
    let Names { trust, identity } = names;
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(reason) => {
            format!("the server's certificate is refused: {}", certificate_problem(reason, trust))
        }
        rustls::Error::AlertReceived(alert) => {
            format!("the server refuses the TLS session: {}", alert_problem(*alert, identity)?)
        }
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS here".to_owned(),
        rustls::Error::PeerIncompatible(_) | rustls::Error::NoCertificatesPresented => {
            format!("no TLS session with this server is possible: {error}")
        }
        _ => return None,
    })
}

fn certificate_problem(reason: &CertificateError, trust: &str) -> String {
    match reason {
        CertificateError::UnknownIssuer => {
            format!("no authority that is trusted here has signed it: look at {trust}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired: renew it".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet: look at the clocks".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("{reason}: connect by a name that it has, or give the server one for this name")
        }
        reason => format!("{reason} ({trust} says whom to trust)"),
    }
}

/// What an alert says of the client's certificate; `None` if it is about something else.
fn alert_problem(alert: AlertDescription, identity: &str) -> Option<String> {
    Some(match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            format!("it wants a client certificate: set {identity}")
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => {
            format!("{alert:?}: it wants a client certificate, or another one: set {identity}")
        }
        AlertDescription::HandshakeFailure
        | AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity
        | AlertDescription::UnrecognisedName => format!("{alert:?}"),
        _ => return None,
    })
}

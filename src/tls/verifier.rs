//! Whether a server is the one that it should be.
//!
//! webpki decides, and what it does not take but OpenSSL does, and PostgreSQL's manual tells its
//! users to make, is looked at here: a certificate that is its own authority, one of X.509's first
//! version, and a name that stands in the common name.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;

/// What a server's certificate has to say of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameCheck {
    /// Anything.
    Off,
    /// An alternative name is the one that was connected to.
    AlternativeName,
    /// The same, and the common name counts where there are no alternative ones: as libpq has it.
    OrCommonName,
}

/// Decides about a server's certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    /// Who has to have signed it; `None` if it does not matter.
    roots: Option<Roots>,
    name: NameCheck,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    store: RootCertStore,
}

impl Verifier {
    pub(super) fn new(
        roots: Option<Vec<CertificateDer<'static>>>,
        name: NameCheck,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        let roots = roots.map(|certificates| {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(certificates.iter().cloned());
            Roots { certificates, store }
        });
        Self { roots, name, algorithms }
    }

    fn check_name(
        &self,
        certificate: &CertificateDer<'_>,
        parsed: &Certificate,
        name: &ServerName<'_>,
    ) -> Result<(), Error> {
        let alternative = || verify_server_name(&ParsedCertificate::try_from(certificate)?, name);
        match self.name {
            NameCheck::Off => Ok(()),
            NameCheck::AlternativeName => alternative(),
            NameCheck::OrCommonName if has_alternative_names(parsed) => alternative(),
            NameCheck::OrCommonName => check_common_name(parsed, name),
        }
    }

    /// Whether one of the roots has signed a certificate of X.509's first version.
    fn check_first_version(&self, roots: &Roots, parsed: &Certificate) -> Result<(), Error> {
        let issuers = roots
            .certificates
            .iter()
            .filter_map(|root| Certificate::from_der(root).ok())
            .filter(|root| root.tbs_certificate.subject == parsed.tbs_certificate.issuer);
        for issuer in issuers {
            if self.signed_by(&issuer, parsed) == Some(true) {
                return Ok(());
            }
        }
        Err(CertificateError::UnknownIssuer.into())
    }

    /// Whether `issuer` has signed it; `None` if that cannot be found out.
    fn signed_by(&self, issuer: &Certificate, parsed: &Certificate) -> Option<bool> {
        let key = &issuer.tbs_certificate.subject_public_key_info;
        // webpki has identifiers without the two bytes of a sequence's tag and length.
        let signature_algorithm = parsed.signature_algorithm.to_der().ok()?;
        let key_algorithm = key.algorithm.to_der().ok()?;
        let (signature_id, key_id) = (signature_algorithm.get(2..)?, key_algorithm.get(2..)?);
        let algorithm = self.algorithms.all.iter().find(|algorithm| {
            algorithm.signature_alg_id().as_ref() == signature_id
                && algorithm.public_key_alg_id().as_ref() == key_id
        })?;
        let signed = parsed.tbs_certificate.to_der().ok()?;
        let (key, signature) = (key.subject_public_key.as_bytes()?, parsed.signature.as_bytes()?);
        Some(algorithm.verify_signature(key, &signed, signature).is_ok())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let parsed = parse(end_entity)?;
        if roots.certificates.contains(end_entity) {
            check_validity(&parsed, now)?;
        } else if parsed.tbs_certificate.issuer == parsed.tbs_certificate.subject {
            return Err(CertificateError::UnknownIssuer.into());
        } else if parsed.tbs_certificate.version == Version::V1 {
            check_validity(&parsed, now)?;
            self.check_first_version(roots, &parsed)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                &roots.store,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        self.check_name(end_entity, &parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let parsed = match parse(certificate) {
            Ok(parsed) if parsed.tbs_certificate.version == Version::V1 => parsed,
            _ => return verify_tls13_signature(message, certificate, signed, &self.algorithms),
        };
        let key = parsed.tbs_certificate.subject_public_key_info.to_der().map_err(malformed)?;
        let key = SubjectPublicKeyInfoDer::from(key);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse(certificate: &[u8]) -> Result<Certificate, Error> {
    Certificate::from_der(certificate).map_err(malformed)
}

fn malformed(error: x509_cert::der::Error) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

fn check_validity(parsed: &Certificate, now: UnixTime) -> Result<(), Error> {
    let validity = &parsed.tbs_certificate.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

fn has_alternative_names(parsed: &Certificate) -> bool {
    !matches!(parsed.tbs_certificate.get::<SubjectAltName>(), Ok(None))
}

fn check_common_name(parsed: &Certificate, name: &ServerName<'_>) -> Result<(), Error> {
    let attributes = parsed.tbs_certificate.subject.0.iter().flat_map(|set| set.0.iter());
    let common_names: Vec<String> = attributes
        .filter(|attribute| attribute.oid == COMMON_NAME)
        .map(|attribute| String::from_utf8_lossy(attribute.value.value()).into_owned())
        .collect();
    if common_names.iter().any(|common_name| matches(common_name, &name.to_str())) {
        return Ok(());
    }
    let (expected, presented) = (name.to_owned(), common_names);
    Err(CertificateError::NotValidForNameContext { expected, presented }.into())
}

/// Whether a common name is this name, or has `*` for the name's first part.
fn matches(common_name: &str, name: &str) -> bool {
    match common_name.strip_prefix("*.") {
        Some(domain) => name
            .split_once('.')
            .is_some_and(|(host, rest)| !host.is_empty() && rest.eq_ignore_ascii_case(domain)),
        None => common_name.eq_ignore_ascii_case(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_name_may_have_a_wildcard_for_the_first_part() {
        for (common_name, name, expected) in [
            ("db.example", "DB.example", true),
            ("*.example", "db.example", true),
            ("*.example", "a.db.example", false),
            ("*.example", ".example", false),
            ("*.example", "example", false),
            ("*", "example", false),
            ("d*.example", "db.example", false),
        ] {
            assert_eq!(matches(common_name, name), expected, "{common_name} {name}");
        }
    }
}

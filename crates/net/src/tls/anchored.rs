//! A certificate that is itself in the list of authorities.
//!
//! As in Go, nobody else has to vouch for one. `webpki` refuses to take an authority's certificate
//! from who shows it as their own, and many a self-signed certificate is both.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::facts::Facts;

/// Asks about all others whoever is asked without it.
#[derive(Debug)]
pub(super) struct Anchored<V: ?Sized> {
    pub(super) authorities: Arc<HashSet<CertificateDer<'static>>>,
    pub(super) others: Arc<V>,
}

impl<V: ?Sized> Anchored<V> {
    /// What it says of its owner, if it is an authority.
    fn find(&self, cert: &CertificateDer<'_>, now: UnixTime) -> Result<Option<Facts>, Error> {
        if !self.authorities.contains(cert) {
            return Ok(None);
        }
        let facts = Facts::of(cert).ok_or(CertificateError::BadEncoding)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match () {
            () if now < facts.not_before => Err(CertificateError::NotValidYet.into()),
            () if now > facts.not_after => Err(CertificateError::Expired.into()),
            () => Ok(Some(facts)),
        }
    }
}

impl ClientCertVerifier for Anchored<dyn ClientCertVerifier> {
    fn verify_client_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.find(cert, now)? {
            None => self.others.verify_client_cert(cert, intermediates, now),
            Some(facts) if facts.for_clients => Ok(ClientCertVerified::assertion()),
            Some(_) => Err(CertificateError::InvalidPurpose.into()),
        }
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.others.root_hint_subjects()
    }

    fn offer_client_auth(&self) -> bool {
        self.others.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.others.client_auth_mandatory()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Anchored<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.find(cert, now)? {
            None => self.others.verify_server_cert(cert, intermediates, name, ocsp, now),
            Some(facts) if !facts.for_servers => Err(CertificateError::InvalidPurpose.into()),
            Some(facts) if !facts.is_for(&name.to_str()) => {
                Err(CertificateError::NotValidForName.into())
            }
            Some(_) => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}

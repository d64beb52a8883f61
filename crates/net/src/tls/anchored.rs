//! Who is believed when hands are shaken.
//!
//! A certificate may itself be in the list of authorities. As in Go, nobody else has to vouch for
//! one. `webpki` refuses to take an authority's certificate from who shows it as their own, and
//! many a self-signed certificate is both.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::facts::Facts;
use super::judge::is_allowed;
use super::settings::TlsInfo;

/// What is known of clients. Of those who are no authorities themselves, whoever is asked without
/// this says who vouches for them.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) authorities: Arc<HashSet<CertificateDer<'static>>>,
    pub(super) others: Arc<dyn ClientCertVerifier>,
    /// Which names may come in.
    pub(super) info: TlsInfo,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// The same of servers.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) authorities: Arc<HashSet<CertificateDer<'static>>>,
    pub(super) others: Arc<dyn ServerCertVerifier>,
    /// Which names others may have, too: as in etcd, those that may come in.
    pub(super) info: TlsInfo,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Believes any certificate. That its owner is there is still asked for.
#[derive(Debug)]
pub(super) struct Anybody {
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// That who shows a certificate has its key is for the `algorithms` to say, whoever is believed.
macro_rules! owners_sign {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, signed, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, signed, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for Clients {
    fn verify_client_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.authorities.contains(cert) {
            if !read_in_its_time(cert, now)?.for_clients {
                return Err(CertificateError::InvalidPurpose.into());
            }
        } else {
            self.others.verify_client_cert(cert, intermediates, now).map_err(unknown)?;
        }
        // Also judged after each handshake; here the client is told, too.
        has_allowed_name(&self.info, cert)?;
        Ok(ClientCertVerified::assertion())
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

    owners_sign!();
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.authorities.contains(cert) {
            let facts = read_in_its_time(cert, now)?;
            if !facts.for_servers {
                return Err(CertificateError::InvalidPurpose.into());
            }
            if !facts.is_for(&name.to_str()) {
                let (expected, presented) = (name.to_owned(), facts.dns_names);
                let error = CertificateError::NotValidForNameContext { expected, presented };
                return Err(error.into());
            }
        } else {
            let judged = self.others.verify_server_cert(cert, intermediates, name, ocsp, now);
            judged.map_err(unknown)?;
        }
        has_allowed_name(&self.info, cert)?;
        Ok(ServerCertVerified::assertion())
    }

    owners_sign!();
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    owners_sign!();
}

/// An authority that only bears the name of one that is believed is an unknown one, also to the
/// other side.
fn unknown(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            CertificateError::UnknownIssuer.into()
        }
        error => error,
    }
}

/// What a certificate says of its owner.
fn read(cert: &CertificateDer<'_>) -> Result<Facts, Error> {
    Ok(Facts::of(cert).ok_or(CertificateError::BadEncoding)?)
}

/// As [`read`], of one that has to hold now.
fn read_in_its_time(cert: &CertificateDer<'_>, now: UnixTime) -> Result<Facts, Error> {
    let facts = read(cert)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    match () {
        () if now < facts.not_before => Err(CertificateError::NotValidYet.into()),
        () if now > facts.not_after => Err(CertificateError::Expired.into()),
        () => Ok(facts),
    }
}

/// Looks for names only where it matters which they are.
fn has_allowed_name(info: &TlsInfo, cert: &CertificateDer<'_>) -> Result<(), Error> {
    if !info.any_name_may_come() && !is_allowed(info, &read(cert)?) {
        return Err(CertificateError::NotValidForName.into());
    }
    Ok(())
}

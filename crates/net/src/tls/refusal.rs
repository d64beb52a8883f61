//! Why a handshake has failed, in the words that etcd's operators search their logs for.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use super::judge::NOT_ALLOWED;

/// The text; `None` where the other side has just gone.
pub(super) fn text(error: &io::Error) -> Option<String> {
    let Some(inner) = inner(error) else {
        return (error.kind() != io::ErrorKind::UnexpectedEof).then(|| match error.kind() {
            io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
            _ => crate::listener::plain(error),
        });
    };
    Some(match inner {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "tls: first record does not look like a TLS handshake".to_owned()
        }
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
        // Said of names that are not allowed, and of nothing else.
        Error::InvalidCertificate(CertificateError::NotValidForName) => NOT_ALLOWED.to_owned(),
        Error::InvalidCertificate(reason) => {
            format!("tls: failed to verify certificate: {}", certificate(reason))
        }
        Error::AlertReceived(alert) => format!("remote error: tls: {}", described(*alert)),
        other => format!("tls: {other}"),
    })
}

/// A failure of a connection that had been made, in the same words: who shakes hands by TLS 1.3 is
/// done before the other side has seen its certificate.
pub(crate) fn in_words(error: io::Error) -> io::Error {
    match inner(&error).and_then(|_| text(&error)) {
        Some(text) => io::Error::new(error.kind(), text),
        None => error,
    }
}

fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "x509: certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!("x509: certificate has expired or is not yet valid: {error}")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "x509: certificate specifies an incompatible key usage".to_owned()
        }
        other => format!("x509: {other}"),
    }
}

fn described(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::BadCertificate => "bad certificate".to_owned(),
        AlertDescription::UnknownCA => "unknown certificate authority".to_owned(),
        AlertDescription::CertificateExpired => "expired certificate".to_owned(),
        AlertDescription::CertificateUnknown => "unknown certificate".to_owned(),
        AlertDescription::CertificateRevoked => "revoked certificate".to_owned(),
        AlertDescription::HandshakeFailure => "handshake failure".to_owned(),
        AlertDescription::DecryptError => "error decrypting message".to_owned(),
        AlertDescription::ProtocolVersion => "protocol version not supported".to_owned(),
        AlertDescription::CertificateRequired => "certificate required".to_owned(),
        other => format!("{other:?}"),
    }
}

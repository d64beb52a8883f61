//! What the files say: a certificate with its key, authorities, revoked certificates.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

/// A certificate that ends so soon is told of; a short-lived one in its last third.
const NEAR_ITS_END: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Where machines keep the authorities that they believe.
const MACHINE_AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A certificate and its key.
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    file: PathBuf,
    ends: SystemTime,
    tell_from: SystemTime,
    told: AtomicBool,
}

impl Pair {
    /// Reads the certificate, and its key from a second file.
    pub(super) fn read(paths: &[PathBuf], files: &[Vec<u8>]) -> Result<Pair, String> {
        let ([cert_path, key_path], [cert, key]) = (paths, files) else {
            return Err("a certificate and a key are needed".to_owned());
        };
        let certs = certificates(cert_path, cert)?;
        let (starts, ends) = certs.first().and_then(validity).ok_or_else(|| {
            format!("{}: the first certificate cannot be read", cert_path.display())
        })?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| format!("{}: no private key: {error}", key_path.display()))?;
        let provider = super::settings::TlsInfo::default().provider();
        let key = CertifiedKey::from_der(certs, key, &provider).map_err(|error| {
            let (cert, key) = (cert_path.display(), key_path.display());
            format!("certificate {cert} and key {key} do not go together: {error}")
        })?;
        let third = ends.duration_since(starts).unwrap_or_default() / 3;
        let tell_from = ends.checked_sub(third.min(NEAR_ITS_END)).unwrap_or(ends);
        Ok(Pair {
            key: Arc::new(key),
            file: cert_path.clone(),
            ends,
            tell_from,
            told: AtomicBool::new(false),
        })
    }

    /// Tells, once, that it is time for another one.
    pub(super) fn tell_of_its_end(&self) {
        let now = super::today();
        if now < self.tell_from || self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let left = self.ends.duration_since(now).unwrap_or_default();
        let days = left.as_secs() / (24 * 60 * 60);
        tracing::warn!(
            "cert-file" = %self.file.display(),
            "days-left" = days,
            "a TLS certificate has expired or soon will"
        );
    }
}

fn validity(cert: &CertificateDer<'static>) -> Option<(SystemTime, SystemTime)> {
    let (_, cert) = X509Certificate::from_der(cert).ok()?;
    let time = |seconds: i64| {
        let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    let validity = cert.validity();
    Some((time(validity.not_before.timestamp())?, time(validity.not_after.timestamp())?))
}

/// All certificates of a file. One that is not whole makes the file a bad one.
fn certificates(path: &Path, file: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certs = CertificateDer::pem_slice_iter(file).collect::<Result<Vec<_>, _>>();
    let certs = certs.map_err(|error| format!("{}: {error}", path.display()))?;
    if certs.is_empty() {
        return Err(format!("{}: no certificate in it", path.display()));
    }
    Ok(certs)
}

/// Authorities that are believed.
pub(super) struct Authorities {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) certs: Arc<HashSet<CertificateDer<'static>>>,
}

impl Authorities {
    pub(super) fn read(paths: &[PathBuf], files: &[Vec<u8>]) -> Result<Authorities, String> {
        let (mut roots, mut certs) = (RootCertStore::empty(), HashSet::new());
        for (path, file) in paths.iter().zip(files) {
            for cert in certificates(path, file)? {
                certs.insert(cert.clone());
                roots.add(cert).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        Ok(Authorities { roots: Arc::new(roots), certs: Arc::new(certs) })
    }

    /// Those that the machine believes. What of them makes no sense is left out.
    pub(super) fn of_machine() -> Authorities {
        let mut roots = RootCertStore::empty();
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let known = MACHINE_AUTHORITIES.iter().map(PathBuf::from);
        let file = named.into_iter().chain(known).find_map(|path| std::fs::read(path).ok());
        let certs = file.iter().flat_map(|file| CertificateDer::pem_slice_iter(file));
        let certs: HashSet<_> = certs.filter_map(Result::ok).collect();
        roots.add_parsable_certificates(certs.iter().cloned());
        Authorities { roots: Arc::new(roots), certs: Arc::new(certs) }
    }
}

/// Numbers of certificates that do not count any more. As in etcd, whoever issued them.
pub(super) struct Revoked {
    serials: HashSet<Vec<u8>>,
}

impl Revoked {
    pub(super) fn read(paths: &[PathBuf], files: &[Vec<u8>]) -> Result<Revoked, String> {
        let mut serials = HashSet::new();
        for (path, file) in paths.iter().zip(files) {
            let bad = |error: String| format!("{}: no revocation list: {error}", path.display());
            let der = match file.starts_with(b"-----BEGIN") {
                false => file.clone(),
                true => CertificateRevocationListDer::from_pem_slice(file)
                    .map_err(|error| bad(error.to_string()))?
                    .as_ref()
                    .to_vec(),
            };
            let (rest, list) = CertificateRevocationList::from_der(&der)
                .map_err(|error| bad(error.to_string()))?;
            if !rest.is_empty() {
                return Err(bad("more behind it".to_owned()));
            }
            serials.extend(list.iter_revoked_certificates().map(|it| number(it.raw_serial())));
        }
        Ok(Revoked { serials })
    }

    /// The number in hexadecimal, if it is one of them.
    pub(super) fn find(&self, serial: &[u8]) -> Option<String> {
        let serial = number(serial);
        self.serials
            .contains(&serial)
            .then(|| serial.iter().map(|it| format!("{it:02x}")).collect())
    }
}

/// Without the zeros that it begins with.
fn number(serial: &[u8]) -> Vec<u8> {
    serial.iter().copied().skip_while(|byte| *byte == 0).collect()
}

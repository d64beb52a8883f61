//! Certificates that are made here, for who has none.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

use super::settings::{TlsError, TlsInfo};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Longer than this nobody needs one, and dates have an end.
const YEARS_MAX: u64 = 1000;

/// What was done to have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// Names its files.
    pub info: TlsInfo,
    /// When it ends, where it was made just now.
    pub made_until: Option<SystemTime>,
}

/// A certificate for these hosts in a folder, made if none is there. It holds for so many years.
pub fn self_signed(folder: &Path, hosts: &[String], years: u64) -> Result<SelfSigned, TlsError> {
    if years == 0 {
        let text = "selfSignedCertValidity is invalid,it should be greater than 0";
        return Err(TlsError::Settings(text.to_owned()));
    }
    let folder = std::path::absolute(folder).map_err(|error| unwritten(folder, error))?;
    let (cert_path, key_path) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made_until = match cert_path.exists() && key_path.exists() {
        true => None,
        false => Some(make(&folder, &cert_path, &key_path, hosts, years)?),
    };
    let (cert, key) = (cert_path.display().to_string(), key_path.display().to_string());
    let info = TlsInfo {
        cert_file: cert.clone(),
        key_file: key.clone(),
        client_cert_file: cert,
        client_key_file: key,
        self_signed: true,
        ..TlsInfo::default()
    };
    Ok(SelfSigned { info, made_until })
}

fn make(
    folder: &Path,
    cert_path: &Path,
    key_path: &Path,
    hosts: &[String],
    years: u64,
) -> Result<SystemTime, TlsError> {
    let bad = |error: rcgen::Error| TlsError::SelfSigned(error.to_string());
    let until = super::today() + YEAR * u32::try_from(years.min(YEARS_MAX)).unwrap_or(1);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(bad)?;
    let cert = params(hosts, until).self_signed(&key).map_err(bad)?;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| unwritten(folder, error))?;
    write(cert_path, &cert.pem(), 0o644)?;
    write(key_path, &key.serialize_pem(), 0o600)?;
    Ok(until)
}

fn params(hosts: &[String], until: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    params.not_before = super::today().into();
    params.not_after = until.into();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::CrlSign,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for host in hosts {
        let name = match host.trim_matches(['[', ']']).parse() {
            Ok(address) => Some(SanType::IpAddress(address)),
            // What cannot stand in a certificate (a socket's file, say) is left out.
            Err(_) => host.as_str().try_into().ok().map(SanType::DnsName),
        };
        params.subject_alt_names.extend(name.filter(|_| !host.is_empty()));
    }
    params
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| unwritten(path, error))
}

fn unwritten(path: &Path, error: std::io::Error) -> TlsError {
    TlsError::Write { path: path.display().to_string(), error }
}

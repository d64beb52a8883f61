//! Certificates for members and clients, made when they are needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority, and a folder for what it vouches for: `name.crt`, `name.key`, its own `ca.crt`
/// and the list `crl.der` of what is revoked.
pub struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a folder and an authority with nothing revoked.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).context("making a folder for certificates")?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let authority = Self { folder: folder.to_owned(), issuer };
        fs::write(authority.file("ca.crt"), authority.pem())?;
        authority.revoke(&[])?;
        Ok(authority)
    }

    /// A file of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Vouches for somebody on this machine, as server and client, by a common name.
    pub fn vouch(&self, name: &str, serial: u64) -> anyhow::Result<()> {
        self.vouch_until(name, serial, today() + DAY)
    }

    /// As [`Authority::vouch`], until yesterday.
    pub fn vouch_for_the_past(&self, name: &str, serial: u64) -> anyhow::Result<()> {
        self.vouch_until(name, serial, today() - DAY)
    }

    /// As [`Authority::vouch`], without a common name.
    pub fn vouch_for_nobody(&self, name: &str, serial: u64) -> anyhow::Result<()> {
        self.write(name, DistinguishedName::new(), serial, today() + DAY)
    }

    fn vouch_until(&self, name: &str, serial: u64, until: SystemTime) -> anyhow::Result<()> {
        let mut who = DistinguishedName::new();
        who.push(DnType::CommonName, name);
        self.write(name, who, serial, until)
    }

    fn write(
        &self,
        name: &str,
        who: DistinguishedName,
        serial: u64,
        until: SystemTime,
    ) -> anyhow::Result<()> {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        params.distinguished_name = who;
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = (today() - DAY * 2).into();
        params.not_after = until.into();
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        fs::write(self.file(&format!("{name}.crt")), cert.pem())?;
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem())?;
        Ok(())
    }

    /// Writes the list of what is revoked.
    pub fn revoke(&self, serials: &[u64]) -> anyhow::Result<()> {
        let now = today();
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + DAY).into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        fs::write(self.file("crl.der"), list.signed_by(&self.issuer)?.der())?;
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "certificates hold by the machine's date")]
fn today() -> SystemTime {
    SystemTime::now()
}

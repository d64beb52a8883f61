//! Handshakes between the two sides, with certificates made for each test.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::facts::Facts;
use super::{ClientTls, Endpoint, Secured, Security, ServerTls, TlsInfo, self_signed, today};
use crate::stream::Stream;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pintle-tls-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("makes a folder");
        Folder(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An authority that vouches for certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("makes a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("signs"))
    }

    fn write(&self, path: &str) {
        fs::write(path, self.0.pem()).expect("writes");
    }

    /// Writes a certificate and its key into `name.crt` and `name.key`.
    fn vouch(&self, folder: &Folder, name: &str, serial: u64, ends_in: i64) {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])
            .expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = (today() - DAY * 2).into();
        let day = DAY * u32::try_from(ends_in.abs()).expect("few days");
        let now = today();
        params.not_after = if ends_in < 0 { now - day } else { now + day }.into();
        let key = KeyPair::generate().expect("makes a key");
        let cert = params.signed_by(&key, &self.0).expect("signs");
        fs::write(folder.path(&format!("{name}.crt")), cert.pem()).expect("writes");
        fs::write(folder.path(&format!("{name}.key")), key.serialize_pem()).expect("writes");
    }

    fn revoke(&self, path: &str, serials: &[u64]) {
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
        let list = list.signed_by(&self.0).expect("signs");
        fs::write(path, list.der()).expect("writes");
    }
}

/// A server's and a client's certificate, and the one authority that vouches for both.
struct Kit {
    folder: Folder,
    authority: Authority,
}

impl Kit {
    fn new() -> Kit {
        let (folder, authority) = (Folder::new(), Authority::new("root"));
        authority.write(&folder.path("ca.crt"));
        authority.vouch(&folder, "server", 10, 365);
        authority.vouch(&folder, "client", 11, 365);
        Kit { folder, authority }
    }

    fn info(&self, name: &str) -> TlsInfo {
        TlsInfo {
            cert_file: self.folder.path(&format!("{name}.crt")),
            key_file: self.folder.path(&format!("{name}.key")),
            trusted_ca_file: self.folder.path("ca.crt"),
            ..TlsInfo::default()
        }
    }
}

/// Both ends of a TCP connection.
async fn pair() -> (Stream, Stream, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    let (near, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (far, remote) = accepted.expect("accepts");
    (Stream::Tcp(near.expect("connects")), Stream::Tcp(far), remote)
}

/// A byte each way, or what the client hears instead.
async fn talk(
    server: &Arc<ServerTls>,
    client: &Arc<ClientTls>,
) -> Result<(Option<Arc<str>>, Stream), std::io::Error> {
    let (near, far, remote) = pair().await;
    let accepted = async {
        let secured = server.accept(far, Some(remote)).await;
        let Secured { mut stream, is_tls, common_name } = secured?;
        assert!(is_tls);
        stream.write_all(b"!").await.ok()?;
        stream.flush().await.ok()?;
        Some((common_name, stream))
    };
    let dialled = async {
        let mut stream = client.secure(near, "localhost").await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        Ok(stream)
    };
    let (accepted, dialled): (_, Result<_, std::io::Error>) = tokio::join!(accepted, dialled);
    let stream = dialled?;
    Ok((accepted.expect("the client has heard from it").0, stream))
}

async fn is_refused(server: &Arc<ServerTls>, client: &Arc<ClientTls>) -> bool {
    talk(server, client).await.is_err()
}

fn server(info: &TlsInfo) -> Arc<ServerTls> {
    ServerTls::new(info, Endpoint::Client).expect("the files are good")
}

fn client(info: &TlsInfo) -> Arc<ClientTls> {
    ClientTls::new(info, &[]).expect("the files are good")
}

#[tokio::test]
async fn clients_are_known_by_their_certificate() {
    let kit = Kit::new();
    let server = server(&kit.info("server"));
    let known = client(&kit.info("client"));
    let (name, _) = talk(&server, &known).await.expect("is let in");
    assert_eq!(name.as_deref(), Some("client"));
    let nobody = TlsInfo { trusted_ca_file: kit.folder.path("ca.crt"), ..TlsInfo::default() };
    assert!(is_refused(&server, &client(&nobody)).await);
    // A ticket of an earlier connection still tells who it is.
    let (name, _) = talk(&server, &known).await.expect("is let in again");
    assert_eq!(name.as_deref(), Some("client"));
}

/// For `localhost`, and for another name that is cut short: who finds the first one is content.
fn half_readable(common_name: &str) -> CertificateParams {
    const SUBJECT_ALTERNATIVE_NAME: [u64; 4] = [2, 5, 29, 17];
    let names = b"\x30\x0d\x82\x09localhost\x82\x7f".to_vec();
    let names = CustomExtension::from_oid_content(&SUBJECT_ALTERNATIVE_NAME, names);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.custom_extensions = vec![names];
    params
}

#[tokio::test]
async fn a_certificate_is_read_only_where_its_names_matter() {
    let kit = Kit::new();
    let key = KeyPair::generate().expect("makes a key");
    let cert = half_readable("half").signed_by(&key, &kit.authority.0).expect("signs");
    let cert = cert.der().clone();
    assert_eq!(Facts::of(&cert), None);

    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("it is one");
    let config = ServerConfig::builder_with_provider(kit.info("client").provider())
        .with_protocol_versions(&kit.info("client").versions())
        .expect("is possible")
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .expect("is possible");
    let server = TlsAcceptor::from(Arc::new(config));
    let picky = TlsInfo { allowed_cns: vec!["half".to_owned()], ..kit.info("client") };
    for (info, is_good) in [(kit.info("client"), true), (picky, false)] {
        let (near, far, _) = pair().await;
        let dialler = client(&info);
        let (_, dialled) = tokio::join!(server.accept(far), dialler.secure(near, "localhost"));
        assert_eq!(dialled.is_ok(), is_good, "{:?}", dialled.err());
    }
}

/// Writes a certificate that signs itself and may sign others, for an own name and purposes.
fn write_own(folder: &Folder, host: &str, purposes: &[ExtendedKeyUsagePurpose]) -> TlsInfo {
    let mut params = CertificateParams::new([host.to_owned()]).expect("names");
    params.distinguished_name.push(DnType::CommonName, "root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = purposes.to_vec();
    let key = KeyPair::generate().expect("makes a key");
    let cert = params.self_signed(&key).expect("signs");
    let (cert_file, key_file) = (folder.path("own.crt"), folder.path("own.key"));
    fs::write(&cert_file, cert.pem()).expect("writes");
    fs::write(&key_file, key.serialize_pem()).expect("writes");
    TlsInfo { trusted_ca_file: cert_file.clone(), cert_file, key_file, ..TlsInfo::default() }
}

#[tokio::test]
async fn one_certificate_may_be_the_servers_the_clients_and_the_authoritys() {
    let folder = Folder::new();
    for purposes in [
        vec![],
        vec![ExtendedKeyUsagePurpose::Any],
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
    ] {
        let own = write_own(&folder, "localhost", &purposes);
        let (name, _) = talk(&server(&own), &client(&own)).await.expect("is let in");
        assert_eq!(name.as_deref(), Some("root"));
    }
}

#[tokio::test]
async fn a_certificate_in_the_list_of_authorities_is_held_to_what_it_says() {
    let folder = Folder::new();
    for purpose in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth] {
        let own = write_own(&folder, "localhost", &[purpose]);
        assert!(is_refused(&server(&own), &client(&own)).await);
    }
    let elsewhere = write_own(&folder, "elsewhere", &[]);
    assert!(is_refused(&server(&elsewhere), &client(&elsewhere)).await);
    let named = TlsInfo { server_name: "elsewhere".to_owned(), ..elsewhere.clone() };
    talk(&server(&elsewhere), &client(&named)).await.expect("is let in");
}

#[tokio::test]
async fn who_is_dialled_by_address_can_be_believed_for_another_name() {
    let kit = Kit::new();
    let params = CertificateParams::new(["example.com".to_owned()]).expect("names");
    let key = KeyPair::generate().expect("makes a key");
    let cert = params.signed_by(&key, &kit.authority.0).expect("signs");
    fs::write(kit.folder.path("domain.crt"), cert.pem()).expect("writes");
    fs::write(kit.folder.path("domain.key"), key.serialize_pem()).expect("writes");
    let server = server(&kit.info("domain"));
    for (name, is_good) in [("example.com", true), ("", false), ("example.org", false)] {
        let dialler = client(&TlsInfo { server_name: name.to_owned(), ..kit.info("client") });
        let (near, far, remote) = pair().await;
        let host = remote.ip().to_string();
        let (_, dialled) =
            tokio::join!(server.accept(far, Some(remote)), dialler.secure(near, &host));
        assert_eq!(dialled.is_ok(), is_good, "{name:?}: {:?}", dialled.err());
    }
}

#[tokio::test]
async fn nobody_is_asked_where_nobody_can_vouch() {
    let kit = Kit::new();
    let server = server(&TlsInfo { trusted_ca_file: String::new(), ..kit.info("server") });
    let nobody = TlsInfo { trusted_ca_file: kit.folder.path("ca.crt"), ..TlsInfo::default() };
    let (name, _) = talk(&server, &client(&nobody)).await.expect("is let in");
    assert_eq!(name, None);
}

#[tokio::test]
async fn strangers_and_expired_ones_are_refused_on_both_sides() {
    let kit = Kit::new();
    let other = Authority::new("other");
    other.vouch(&kit.folder, "stranger", 12, 365);
    kit.authority.vouch(&kit.folder, "late", 13, -1);
    let good = server(&kit.info("server"));
    assert!(is_refused(&good, &client(&kit.info("stranger"))).await);
    assert!(is_refused(&good, &client(&kit.info("late"))).await);
    let known = client(&kit.info("client"));
    assert!(is_refused(&server(&kit.info("stranger")), &known).await);
    assert!(is_refused(&server(&kit.info("late")), &known).await);
    let trusting = TlsInfo { insecure_skip_verify: true, ..kit.info("client") };
    assert!(!is_refused(&server(&kit.info("stranger")), &client(&trusting)).await);
    let elsewhere = TlsInfo { server_name: "example.com".to_owned(), ..kit.info("client") };
    assert!(is_refused(&good, &client(&elsewhere)).await);
}

#[tokio::test]
async fn a_namesake_of_an_authority_is_unknown() {
    let kit = Kit::new();
    Authority::new("root").vouch(&kit.folder, "stranger", 12, 365);
    let heard = |server, client| async move {
        talk(&server, &client).await.expect_err("is unknown").to_string()
    };
    assert_eq!(
        heard(server(&kit.info("server")), client(&kit.info("stranger"))).await,
        "remote error: tls: unknown certificate authority"
    );
    assert_eq!(
        heard(server(&kit.info("stranger")), client(&kit.info("client"))).await,
        "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    );
}

#[tokio::test]
async fn only_allowed_names_and_hosts_are_let_in() {
    let kit = Kit::new();
    let known = client(&kit.info("client"));
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    for (cns, hosts, allowed) in [
        (names(&["x", "client"]), names(&[]), true),
        (names(&["x"]), names(&[]), false),
        (names(&[]), names(&["x", "localhost"]), true),
        (names(&[]), names(&["127.0.0.1"]), true),
        (names(&[]), names(&["x", "127.0.0.2"]), false),
    ] {
        let what = format!("{cns:?} {hosts:?}");
        let info = TlsInfo { allowed_cns: cns, allowed_hostnames: hosts, ..kit.info("server") };
        let heard = talk(&server(&info), &known).await.err().map(|error| error.to_string());
        let told = (!allowed).then(|| "remote error: tls: bad certificate".to_owned());
        assert_eq!(heard, told, "{what}");
    }
    // Who dials asks for them, too.
    let picky = TlsInfo { allowed_cns: names(&["client"]), ..kit.info("client") };
    let heard = talk(&server(&kit.info("server")), &client(&picky)).await.expect_err("not it");
    assert_eq!(heard.to_string(), "client certificate authentication failed");
    let both = TlsInfo {
        allowed_cns: names(&["a"]),
        allowed_hostnames: names(&["b"]),
        ..kit.info("server")
    };
    let error = ServerTls::new(&both, Endpoint::Client).expect_err("not both").to_string();
    assert_eq!(
        error,
        "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[\"a\"], hostnames=[\"b\"])"
    );
}

#[tokio::test]
async fn who_is_revoked_meanwhile_is_refused_even_with_a_ticket() {
    let kit = Kit::new();
    let crl = kit.folder.path("crl.der");
    kit.authority.revoke(&crl, &[99]);
    let server = server(&TlsInfo { crl_file: crl.clone(), ..kit.info("server") });
    let known = client(&kit.info("client"));
    assert!(!is_refused(&server, &known).await);
    fs::write(&crl, b"half").expect("writes");
    assert!(!is_refused(&server, &known).await, "what the file said before holds");
    kit.authority.revoke(&crl, &[99, 11]);
    assert!(is_refused(&server, &known).await);
    kit.authority.revoke(&crl, &[]);
    assert!(!is_refused(&server, &known).await);
}

#[tokio::test]
async fn changed_files_count_from_the_next_handshake_on() {
    let kit = Kit::new();
    let (server, known) = (server(&kit.info("server")), client(&kit.info("client")));
    let (_, old) = talk(&server, &known).await.expect("is let in");
    let first = shown(&old);
    // A certificate that has no key yet is not shown.
    let other = Folder::new();
    kit.authority.vouch(&other, "server", 20, 365);
    fs::copy(other.path("server.crt"), kit.folder.path("server.crt")).expect("copies");
    let (_, stream) = talk(&server, &known).await.expect("is let in");
    assert_eq!(shown(&stream), first);
    fs::copy(other.path("server.key"), kit.folder.path("server.key")).expect("copies");
    let (_, stream) = talk(&server, &known).await.expect("is let in");
    assert_ne!(shown(&stream), first);

    // Half an authority is none; another one is believed at once, and alone.
    let ca = kit.folder.path("ca.crt");
    let whole = fs::read(&ca).expect("reads");
    fs::write(&ca, &whole[..whole.len() / 2]).expect("writes");
    assert!(!is_refused(&server, &known).await);
    let next = Authority::new("next");
    let both = [whole.as_slice(), next.0.pem().as_bytes()].concat();
    fs::write(&ca, both).expect("writes");
    next.vouch(&kit.folder, "next", 30, 365);
    let new = client(&kit.info("next"));
    assert!(!is_refused(&server, &new).await);
    assert!(!is_refused(&server, &known).await);
    fs::write(&ca, next.0.pem()).expect("writes");
    let trusting = TlsInfo { insecure_skip_verify: true, ..kit.info("client") };
    assert!(is_refused(&server, &client(&trusting)).await);
}

/// The certificate that the other side has shown.
fn shown(stream: &Stream) -> Vec<u8> {
    let Stream::Tls(stream) = stream else { panic!("no TLS: {stream:?}") };
    let (_, session) = stream.get_ref();
    session.peer_certificates().expect("one was shown")[0].to_vec()
}

#[tokio::test]
async fn members_are_held_to_where_they_come_from() {
    let kit = Kit::new();
    let info = kit.info("server");
    let known = client(&kit.info("client"));
    let peers = |info| ServerTls::new(info, Endpoint::Peer).expect("the files are good");
    assert!(!is_refused(&peers(&info), &known).await, "127.0.0.1 is in it");

    let mut params = CertificateParams::new(["192.0.2.1".to_owned()]).expect("names");
    params.distinguished_name.push(DnType::CommonName, "far");
    let key = KeyPair::generate().expect("makes a key");
    let cert = params.signed_by(&key, &kit.authority.0).expect("signs");
    fs::write(kit.folder.path("far.crt"), cert.pem()).expect("writes");
    fs::write(kit.folder.path("far.key"), key.serialize_pem()).expect("writes");
    let far = client(&kit.info("far"));
    assert!(is_refused(&peers(&info), &far).await);
    let skips = TlsInfo { skip_client_san_verify: true, ..info.clone() };
    assert!(!is_refused(&peers(&skips), &far).await);
    assert!(!is_refused(&server(&info), &far).await, "clients may come from anywhere");
}

#[tokio::test]
async fn versions_and_suites_are_as_chosen() {
    let kit = Kit::new();
    let old = TlsInfo { without_tls13: true, ..kit.info("client") };
    let new = TlsInfo { without_tls12: true, ..kit.info("server") };
    assert!(is_refused(&server(&new), &client(&old)).await);
    assert!(!is_refused(&server(&kit.info("server")), &client(&old)).await);
    let suite = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned();
    // Our keys are not RSA's.
    let odd = TlsInfo { cipher_suites: vec![suite], ..kit.info("server") };
    assert!(is_refused(&server(&odd), &client(&old)).await);
    assert!(!is_refused(&server(&odd), &client(&kit.info("client"))).await);
}

#[tokio::test]
async fn one_port_may_speak_both() {
    let kit = Kit::new();
    let either = Security::Either(server(&kit.info("server")));
    let (mut near, far, remote) = pair().await;
    near.write_all(b"GET").await.expect("writes");
    let mut secured = either.secure(far, Some(remote)).await.expect("is let in");
    assert!(!secured.is_tls);
    let mut said = [0; 3];
    secured.stream.read_exact(&mut said).await.expect("reads");
    assert_eq!(&said, b"GET");

    let (near, far, remote) = pair().await;
    let known = client(&kit.info("client"));
    let (secured, stream) =
        tokio::join!(either.secure(far, Some(remote)), known.secure(near, "localhost"));
    assert!(secured.expect("is let in").is_tls);
    stream.expect("shakes hands");
}

#[tokio::test]
async fn plain_words_and_silence_are_refused() {
    let kit = Kit::new();
    let server = server(&kit.info("server"));
    let (mut near, far, remote) = pair().await;
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("writes");
    assert!(server.accept(far, Some(remote)).await.is_none());
    let (near, far, remote) = pair().await;
    drop(near);
    assert!(server.accept(far, Some(remote)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_never_shakes_hands_is_given_up() {
    let kit = Kit::new();
    let server = server(&kit.info("server"));
    let (_near, far, remote) = pair().await;
    assert!(server.accept(far, Some(remote)).await.is_none());
}

#[tokio::test]
async fn made_certificates_serve_and_are_kept() {
    let folder = Folder::new();
    let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned(), String::new()];
    let made = self_signed(&folder.0.join("fixtures/client"), &hosts, 1).expect("is made");
    assert!(made.made_until.is_some_and(|until| until > today() + DAY * 364));
    let again = self_signed(&folder.0.join("fixtures/client"), &hosts, 1).expect("is there");
    assert_eq!((again.made_until, &again.info), (None, &made.info));
    assert!(Path::new(&made.info.key_file).starts_with(&folder.0));
    assert!(!is_refused(&server(&made.info), &client(&made.info)).await);
    let refused = self_signed(&folder.0, &hosts, 0).expect_err("no time").to_string();
    assert_eq!(refused, "selfSignedCertValidity is invalid,it should be greater than 0");
}

#[test]
fn files_that_are_no_good_stop_the_start() {
    let kit = Kit::new();
    let error = |info: &TlsInfo| {
        ServerTls::new(info, Endpoint::Client).expect_err("is no good").to_string()
    };
    let good = kit.info("server");
    let keyless = TlsInfo { key_file: String::new(), ..good.clone() };
    let cert = &good.cert_file;
    assert_eq!(
        error(&keyless),
        format!("KeyFile and CertFile must both be present[key: , cert: {cert}]")
    );
    let half = TlsInfo { client_cert_file: cert.clone(), ..good.clone() };
    assert!(error(&half).starts_with("ClientKeyFile and ClientCertFile must both be present"));
    let absent = TlsInfo { cert_file: "/nowhere".to_owned(), ..good.clone() };
    assert_eq!(error(&absent), "open /nowhere: no such file or directory");
    let wrong = TlsInfo { key_file: kit.folder.path("client.key"), ..good.clone() };
    assert!(error(&wrong).contains("do not go together"), "{}", error(&wrong));
    let no_authority = TlsInfo { trusted_ca_file: good.key_file.clone(), ..good };
    assert!(error(&no_authority).ends_with("no certificate in it"));
}

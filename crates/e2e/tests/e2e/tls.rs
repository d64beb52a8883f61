//! TLS: who is let in, what changes while a member runs, and clusters that speak it.

mod change;
mod doors;
mod members;

use std::path::Path;
use std::process::Command;

use e2e::{Authority, Member, Outcome, Scratch};

/// An authority with a server's and a client's certificate, and a bundle `believed.crt` for members
/// that clients do not read.
fn authority(folder: &Path) -> Authority {
    let authority = Authority::new(&folder.join("certs")).unwrap();
    authority.vouch("server", 10).unwrap();
    authority.vouch("client", 11).unwrap();
    std::fs::write(authority.file("believed.crt"), authority.pem()).unwrap();
    authority
}

/// Flags for a member that shows `server` and asks for certificates.
fn client_flags(authority: &Authority) -> Vec<String> {
    let file = |name| authority.file(name).display().to_string();
    vec![
        format!("--cert-file={}", file("server.crt")),
        format!("--key-file={}", file("server.key")),
        format!("--trusted-ca-file={}", file("believed.crt")),
        format!("--client-crl-file={}", file("crl.der")),
        "--client-cert-auth".to_owned(),
    ]
}

fn borrowed(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// Runs etcdctl over TLS as somebody of the authority's, or nobody.
fn ctl(
    etcdctl: &Path,
    member: &Member,
    authority: &Authority,
    name: Option<&str>,
    words: &[&str],
    scratch: &Scratch,
) -> Outcome {
    let mut command = Command::new(etcdctl);
    command.env("ETCDCTL_API", "3");
    command.arg(format!("--endpoints=https://{}", member.endpoint()));
    command.arg(format!("--cacert={}", authority.file("ca.crt").display()));
    command.args(["--command-timeout=2s", "--dial-timeout=2s"]);
    if let Some(name) = name {
        command.arg(format!("--cert={}", authority.file(&format!("{name}.crt")).display()));
        command.arg(format!("--key={}", authority.file(&format!("{name}.key")).display()));
    }
    e2e::run(command.args(words), "", scratch.path()).unwrap()
}

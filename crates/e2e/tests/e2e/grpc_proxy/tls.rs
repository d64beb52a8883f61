//! TLS on both sides of the proxy.

use std::path::Path;
use std::process::{Command, Output};

use e2e::{Authority, Member, Proxy, Scratch, Server};

fn file(authority: &Authority, name: &str) -> String {
    authority.file(name).display().to_string()
}

fn etcdctl(etcdctl: &Path, proxy: &Proxy, words: &[String], arguments: &[&str]) -> Output {
    let endpoint = format!("https://{}", proxy.address());
    let mut command = Command::new(etcdctl);
    command.env_clear().args(["--endpoints", &endpoint, "--dial-timeout=5s"]);
    command.args(words).args(arguments).output().unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn both_sides_show_and_ask_for_certificates() {
    let (Some((pintle, etcd)), Some(ctl)) = (Server::both(), e2e::peer("etcdctl")) else { return };
    let scratch = Scratch::new("tls");
    let authority = Authority::new(&scratch.path().join("certificates")).unwrap();
    for (name, serial) in [("server", 10), ("client", 11), ("revoked", 12)] {
        authority.vouch(name, serial).unwrap();
    }
    authority.vouch_for_nobody("proxy", 13).unwrap();
    authority.revoke(&[12]).unwrap();
    let path = |name: &str| file(&authority, name);
    let guarded = [
        format!("--cert-file={}", path("server.crt")),
        format!("--key-file={}", path("server.key")),
        format!("--trusted-ca-file={}", path("ca.crt")),
    ];
    let flags = guarded.iter().map(String::as_str).chain(["--client-cert-auth"]);
    let flags: Vec<_> = flags.chain(["--unsafe-no-fsync"]).collect();
    let member = Member::start(&pintle, scratch.path(), &flags).unwrap();
    let members = [
        format!("--cert={}", path("proxy.crt")),
        format!("--key={}", path("proxy.key")),
        format!("--cacert={}", path("ca.crt")),
        format!("--client-crl-file={}", path("crl.der")),
    ];
    let flags: Vec<_> = guarded.iter().chain(&members).map(String::as_str).collect();
    let who = |name: &str| {
        vec![
            format!("--cacert={}", path("ca.crt")),
            format!("--cert={}", path(&format!("{name}.crt"))),
            format!("--key={}", path(&format!("{name}.key"))),
        ]
    };
    for server in [&pintle, &etcd] {
        let endpoint = format!("https://{}", member.endpoint());
        let proxy = Proxy::grpc(server, &endpoint, &flags).unwrap();
        let put = etcdctl(&ctl, &proxy, &who("client"), &["put", "k", "v"]);
        assert_eq!(printed(&put), "OK\n", "{}: {put:?}\n{}", server.name, proxy.log());
        assert_eq!(printed(&etcdctl(&ctl, &proxy, &who("client"), &["get", "k"])), "k\nv\n");
        let nobody = vec![format!("--cacert={}", path("ca.crt"))];
        for refused in [nobody, who("revoked")] {
            let get = etcdctl(&ctl, &proxy, &refused, &["get", "k", "--command-timeout=1s"]);
            assert!(!get.status.success(), "{}: {get:?}", server.name);
        }
        // A common name would be a user for all clients of the proxy.
        let named = [
            format!("--cert={}", path("client.crt")),
            format!("--key={}", path("client.key")),
            "--listen-addr=127.0.0.1:0".to_owned(),
        ];
        let output = Command::new(&server.path).args(["grpc-proxy", "start"]).args(&named).output();
        let output = output.unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = format!("cert has non empty Common Name (client): {}", path("client.crt"));
        assert_eq!(output.status.code(), Some(1), "{}: {told}", server.name);
        assert!(told.lines().any(|line| line == expected), "{}: {told}", server.name);
    }
}

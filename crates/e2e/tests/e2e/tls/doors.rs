//! Who is let in, and how many may knock.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use e2e::{Member, Scratch, Server};

use super::{authority, borrowed, client_flags, ctl};

#[test]
fn etcdctl_is_let_in_or_refused_as_etcd_does_it() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let clients = [e2e::peer("etcdctl"), e2e::in_path("etcdctl")];
    for server in [&pintle, &etcd] {
        let scratch = Scratch::new("tls-let-in");
        let authority = authority(scratch.path());
        authority.vouch_for_the_past("late", 12).unwrap();
        authority.vouch("revoked", 13).unwrap();
        authority.revoke(&[13]).unwrap();
        let other = e2e::Authority::new(&scratch.join("other")).unwrap();
        other.vouch("client", 14).unwrap();
        let flags = client_flags(&authority);
        let member = Member::start(server, scratch.path(), &borrowed(&flags)).unwrap();
        for etcdctl in clients.iter().flatten() {
            let asked = |authority, name, words: &[&str]| {
                ctl(etcdctl, &member, authority, name, words, &scratch)
            };
            let put = asked(&authority, Some("client"), &["put", "a", "b"]);
            assert_eq!((put.code, put.stdout.as_str()), (0, "OK\n"), "{put:?}");
            let got = asked(&authority, Some("client"), &["get", "a"]);
            assert_eq!(got.stdout, "a\nb\n", "{got:?}");
            for name in [None, Some("late"), Some("revoked")] {
                let refused = asked(&authority, name, &["get", "a"]);
                assert_ne!(refused.code, 0, "{} lets {name:?} in: {refused:?}", server.name);
            }
            // It does not believe the member, nor the member it.
            assert_ne!(asked(&other, Some("client"), &["get", "a"]).code, 0);
        }
        let log = member.log();
        for reason in [
            "tls: client didn't provide a certificate",
            "x509: certificate has expired or is not yet valid",
            "transport: certificate serial ",
            "remote error: tls: ",
        ] {
            let told = log.lines().any(|line| {
                line.contains("rejected connection on client endpoint") && line.contains(reason)
            });
            assert!(told, "{} does not tell of {reason:?}", server.name);
        }
    }
}

#[test]
fn only_some_hosts_and_suites_may_be_allowed() {
    let (Some(pintle), Some(etcdctl)) = (Server::pintle(), e2e::peer("etcdctl")) else { return };
    for (flag, code) in [
        ("--client-cert-allowed-hostname=localhost", 0),
        ("--client-cert-allowed-hostname=example.com", 1),
        ("--tls-min-version=TLS1.3", 0),
        ("--cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0),
    ] {
        let scratch = Scratch::new("tls-allowed");
        let authority = authority(scratch.path());
        let mut flags = client_flags(&authority);
        flags.push(flag.to_owned());
        let member = Member::start(&pintle, scratch.path(), &borrowed(&flags)).unwrap();
        let got = ctl(&etcdctl, &member, &authority, Some("client"), &["get", "a"], &scratch);
        assert_eq!(got.code, code, "{flag}: {got:?}");
    }
}

#[test]
fn made_certificates_serve_whoever_does_not_ask() {
    let (Some((pintle, etcd)), Some(etcdctl)) = (Server::both(), e2e::peer("etcdctl")) else {
        return;
    };
    let scratch = Scratch::new("tls-auto");
    let flags = ["--auto-tls", "--client-cert-auth=false"];
    let mut member = Member::start(&pintle, scratch.path(), &flags).unwrap();
    // The files go on to serve, whoever has made them.
    for server in [&pintle, &etcd, &pintle] {
        member.stop().unwrap();
        member.restart(server).unwrap();
        let mut command = Command::new(&etcdctl);
        command.arg(format!("--endpoints=https://{}", member.endpoint()));
        command.args(["--insecure-skip-tls-verify", "--command-timeout=2s", "put", "a", "b"]);
        let put = e2e::run(&mut command, "", scratch.path()).unwrap();
        assert_eq!((put.code, put.stdout.as_str()), (0, "OK\n"), "{put:?}");
    }
    assert!(member.data().join("fixtures/client/cert.pem").is_file());
}

#[test]
fn a_thousand_that_say_nothing_keep_nobody_out() {
    let (Some(pintle), Some(etcdctl)) = (Server::pintle(), e2e::peer("etcdctl")) else { return };
    let scratch = Scratch::new("tls-silence");
    let authority = authority(scratch.path());
    let flags = client_flags(&authority);
    let member = Member::start(&pintle, scratch.path(), &borrowed(&flags)).unwrap();
    let before = memory_kb(&member);
    let mut silent = Vec::new();
    for at in 0..1000 {
        let mut stream = TcpStream::connect(member.address()).unwrap();
        if at % 2 == 0 {
            // The beginning of a record that never ends.
            stream.write_all(&[0x16, 3, 1, 2, 0]).unwrap();
        }
        silent.push(stream);
    }
    let begun = e2e::now();
    let got = ctl(&etcdctl, &member, &authority, Some("client"), &["put", "a", "b"], &scratch);
    assert_eq!(got.code, 0, "{got:?}");
    let took = e2e::now() - begun;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let grown = memory_kb(&member).saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} kB for a thousand");
    // They are sent away.
    let mut last = silent.pop().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    match last.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

/// What of the process is in memory.
fn memory_kb(member: &Member) -> usize {
    let path = format!("/proc/{}/status", member.pid().unwrap());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn what_is_not_tls_is_refused_where_only_tls_is_spoken() {
    let Some((pintle, etcd)) = Server::both() else { return };
    for server in [&pintle, &etcd] {
        let scratch = Scratch::new("tls-only");
        let authority = authority(scratch.path());
        // A listener for metrics that speaks nothing but TLS.
        let port = e2e::free_port();
        let mut flags = client_flags(&authority);
        flags.push(format!("--listen-metrics-urls=https://127.0.0.1:{port}"));
        let member = Member::start(server, scratch.path(), &borrowed(&flags)).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        // It may be reset, with words of ours unread.
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{:?}", String::from_utf8_lossy(&answer));
        let told = e2e::until(Duration::from_secs(5), || {
            let reason = "tls: first record does not look like a TLS handshake";
            member.log().contains(reason).then_some(())
        });
        assert!(told.is_some(), "{}", member.log_tail());
    }
}

#[test]
fn a_certificate_names_its_user() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let Some(etcdctl) = e2e::peer("etcdctl") else { return };
    for server in [&pintle, &etcd] {
        let scratch = Scratch::new("tls-names");
        let authority = authority(scratch.path());
        authority.vouch("root", 15).unwrap();
        let flags = client_flags(&authority);
        let member = Member::start(server, scratch.path(), &borrowed(&flags)).unwrap();
        let by = |name, line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            ctl(&etcdctl, &member, &authority, Some(name), &words, &scratch)
        };
        for line in [
            "user add root --no-password",
            "user grant-role root root",
            "role add r",
            "role grant-permission r readwrite a",
            "user add client --no-password",
            "user grant-role client r",
            "auth enable",
        ] {
            let done = by("client", line);
            assert_eq!(done.code, 0, "{}: {line}: {done:?}", server.name);
        }
        assert_eq!(by("client", "put a 1").code, 0, "{}", server.name);
        for line in ["put b 1", "user list"] {
            let refused = by("client", line);
            assert!(refused.stderr.contains("permission denied"), "{}: {refused:?}", server.name);
        }
        assert_eq!(by("root", "user list").stdout, "client\nroot\n", "{}", server.name);
        // Another name that the authority vouches for is no user.
        let refused = by("server", "get a");
        assert!(refused.stderr.contains("permission denied"), "{}: {refused:?}", server.name);
    }
}

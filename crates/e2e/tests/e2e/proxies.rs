//! `gateway start` and `grpc-proxy start`: their words, and that the first one forwards; what the
//! other one does is in `grpc_proxy`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use e2e::{Member, Proxy, Scratch, Server};

const WRONG: [&[&str]; 14] = [
    &[],
    &["-h"],
    &["nonsense"],
    &["start", "--help"],
    &["start", "--x"],
    &["start", "-x"],
    &["start", "--listen-addr"],
    &["start", "--retry-delay", "x"],
    &["start", "--insecure-discovery=x"],
    &["start", "word", "--listen-addr=nonsense"],
    &["start", "--endpoints=a"],
    &["start", "--endpoints=127.0.0.1:23790"],
    &["start", "--endpoints="],
    &["start", "--listen-addr=127.0.0.1:99999"],
];

const WRONG_GRPC: [&[&str]; 24] = [
    &[],
    &["-h"],
    &["nonsense"],
    &["--debug=true", "start", "--help"],
    &["start", "--x"],
    &["start", "-x"],
    &["start", "--listen-addr"],
    &["start", "--resolver-ttl=x"],
    &["start", "--resolver-ttl=99999999999999999999"],
    &["start", "--max-concurrent-streams=4294967296"],
    &["start", "--self-signed-cert-validity=-1"],
    &["start", "--endpoints-auto-sync-interval=1"],
    &["start", "--auto-tls=x"],
    &["start", "--resolver-prefix=p"],
    &["start", "--resolver-ttl=1"],
    &["start", "--resolver-prefix=p", "--resolver-ttl=1", "--advertise-client-url="],
    &["start", "--auto-tls", "--self-signed-cert-validity=0"],
    &["start", "--tls-min-version=TLS1.1"],
    &["start", "--tls-max-version=x"],
    &["start", "--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
    &["start", "--tls-min-version=TLS1.3", "--listen-cipher-suites=TLS_AES_128_GCM_SHA256"],
    &["start", "--listen-addr=nonsense"],
    &["start", "--listen-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"],
    &["start", "--listen-addr=127.0.0.1:0", "--max-send-bytes=2", "--max-recv-bytes=1"],
];

#[test]
fn they_say_what_etcd_says() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let gateway = WRONG.iter().map(|arguments| ("gateway", arguments));
    let all = gateway.chain(WRONG_GRPC.iter().map(|arguments| ("grpc-proxy", arguments)));
    for (command, arguments) in all {
        let [ours, theirs] = [&pintle, &etcd].map(|server| {
            let output = Command::new(&server.path).arg(command).args(*arguments).output();
            let output = output.unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            // Lines of the log may stand behind what was said without an end.
            let told = text(&output.stderr);
            let told = told.lines().filter_map(|line| line.split("{\"level\"").next());
            let told: Vec<_> = told.filter(|line| !line.is_empty()).collect();
            (output.status.code(), text(&output.stdout), told.join("\n"))
        });
        assert_eq!(ours, theirs, "{command} {arguments:?}");
    }
}

/// What a member answers through the proxy, if there is one.
fn version(proxy: &Proxy) -> Option<String> {
    let mut stream = TcpStream::connect(proxy.address()).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET /version HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.contains("etcdserver").then_some(answer)
}

#[test]
fn it_forwards_to_whoever_is_there() {
    let Some(pintle) = Server::pintle() else { return };
    let scratches = [(); 2].map(|()| Scratch::new("proxies"));
    let mut members = scratches
        .each_ref()
        .map(|scratch| Member::start(&pintle, scratch.path(), &["--unsafe-no-fsync"]).unwrap());
    let [first, second] = members.each_ref().map(Member::endpoint);
    let proxy = Proxy::gateway(&pintle, &format!("http://{first},{second}")).unwrap();
    for _ in 0..4 {
        assert!(version(&proxy).is_some());
    }
    members[0].kill().unwrap();
    for _ in 0..4 {
        assert!(version(&proxy).is_some());
    }
    members[1].kill().unwrap();
    assert_eq!(version(&proxy), None);
    members[0].restart(&pintle).unwrap();
    let back = e2e::until(Duration::from_secs(20), || version(&proxy));
    assert!(back.is_some(), "it has not looked again");
}

//! Members that speak TLS with each other, and ask each other who they are.

use e2e::{Authority, Cluster, Scratch, Server};
use proto::etcdserverpb::PutRequest;

use super::authority;

/// Elections are slow enough for handshakes of a busy machine.
const FLAGS: [&str; 5] = [
    "--heartbeat-interval=50",
    "--election-timeout=500",
    "--strict-reconfig-check=false",
    "--snapshot-count=20",
    "--snapshot-catchup-entries=5",
];

fn flags(authority: &Authority) -> Vec<String> {
    let file = |name| authority.file(name).display().to_string();
    let mut flags = vec![
        format!("--peer-cert-file={}", file("server.crt")),
        format!("--peer-key-file={}", file("server.key")),
        format!("--peer-trusted-ca-file={}", file("ca.crt")),
        format!("--peer-crl-file={}", file("crl.der")),
        "--peer-client-cert-auth".to_owned(),
        "--peer-cert-allowed-cn=server".to_owned(),
    ];
    flags.extend(FLAGS.map(str::to_owned));
    flags
}

fn put(cluster: &Cluster, at: usize, key: &str) {
    let request = PutRequest { key: key.to_owned().into(), ..PutRequest::default() };
    cluster.call(at, &request).unwrap();
}

#[test]
fn members_of_both_kinds_know_each_other_by_certificates() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let scratch = Scratch::new("tls-members");
    let authority = authority(scratch.path());
    let flags = flags(&authority);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut cluster = Cluster::start("tls-mixed", &[&pintle, &etcd, &pintle], &flags).unwrap();
    for at in 0..3 {
        put(&cluster, at, &format!("k{at}"));
    }
    let leader = cluster.wait_for_leader().unwrap();
    for to in (0..3).filter(|at| *at != leader) {
        cluster.move_leader(to).unwrap();
        put(&cluster, to, "moved");
    }
    for number in 0..60 {
        put(&cluster, 0, &format!("n{number}"));
    }
    // Who joins asks the others over TLS, and is sent a snapshot over it.
    for server in [&pintle, &etcd] {
        let new = cluster.join(server, true).unwrap();
        cluster.promote(new).unwrap();
        put(&cluster, 0, "joined");
    }
    cluster.same_hash().unwrap();
}

#[test]
fn members_with_made_certificates_form_a_cluster() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let flags = [FLAGS[0], FLAGS[1], "--peer-auto-tls"];
    let cluster = Cluster::start("tls-auto-peers", &[&etcd, &pintle, &pintle], &flags).unwrap();
    for at in 0..3 {
        put(&cluster, at, &format!("k{at}"));
    }
    cluster.same_hash().unwrap();
}

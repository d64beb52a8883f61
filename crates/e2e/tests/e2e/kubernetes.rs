//! A kube-apiserver whose store is three members, by certificates on both sides: its objects come,
//! change and go by the thousand while leaders are killed.
//!
//! `crates/e2e/peers/kubernetes` has the server, of the newest Kubernetes that can be had, and a
//! client of it that checks what it gets. With `PINTLE_BIN` set to an etcd the same is played on
//! that one, for figures to compare with.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use e2e::{Authority, Cluster, Member, Running, Server};

use crate::cluster::alone;

/// How long the client may work, and how long it may take to its next line.
const WORK: Duration = Duration::from_secs(300);

#[test]
fn kube_apiserver_keeps_thousands_of_objects_while_leaders_are_lost() {
    let Some(server) = Server::pintle() else { return };
    let Some(programs) = Programs::find() else { return };
    let _alone = alone();
    let folder = e2e::Scratch::new("kubernetes-certs");
    let authority = Authority::new(folder.path()).unwrap();
    authority.vouch("server", 10).unwrap();
    authority.vouch("client", 11).unwrap();
    let flags = flags(&authority);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let mut cluster = Cluster::start("kubernetes", &[&server; 3], &flags).unwrap();
    let mut kube = programs.serve(&cluster, &authority);
    let client = programs.work(&kube, &cluster);
    let printed = lose_leaders(&mut cluster, client, &mut kube);
    eprintln!("{printed}");
    for work in WORKS {
        let done = printed.lines().any(|line| line.starts_with(work));
        assert!(done, "no line begins with {work:?}");
    }
    cluster.same_hash().unwrap();
    // Who wants to know what a kube-apiserver asks for finds it here.
    for at in cluster.running() {
        eprintln!("m{at} was asked for {}", asked(cluster.member(at)));
    }
}

/// What the client says when a part of it is done.
const WORKS: [&str; 6] = [
    "configmaps: 2",
    "secrets: 2",
    "widgets: 2",
    "events have ended",
    "what is compacted is gone",
    "store: listStream",
];

/// While the client writes, the leader is killed; and once more when it is back.
fn lose_leaders(cluster: &mut Cluster, mut client: Running, kube: &mut Kube) -> String {
    for moment in ["half of the configmaps are created", "half of the secrets are updated"] {
        e2e::until(WORK, || {
            let is_over = client.has_ended() || kube.server.has_ended();
            (is_over || client.printed().contains(moment)).then_some(())
        });
        let (printed, log) = (client.printed(), kube.log_tail());
        assert!(printed.contains(moment), "never {moment:?}, but:\n{printed}{log}");
        let leader = cluster.wait_for_leader().unwrap();
        cluster.kill(leader).unwrap();
        cluster.wait_for_leader().unwrap();
        cluster.restart(leader).unwrap();
    }
    let outcome = client.wait(WORK).unwrap();
    assert_eq!(outcome.code, 0, "{outcome:?}\n{}", kube.log_tail());
    outcome.stdout
}

/// The methods that clients have called, and how often, as metrics have it.
fn asked(member: &Member) -> String {
    let (_, metrics) = member.get("/metrics").unwrap();
    let mut asked = Vec::new();
    for line in metrics.lines().filter(|line| line.starts_with("grpc_server_started_total{")) {
        let (labels, count) = line.rsplit_once(' ').unwrap();
        let method = labels.split("grpc_method=\"").nth(1).and_then(|it| it.split('"').next());
        if count != "0" {
            asked.push(format!("{} {count}", method.unwrap()));
        }
    }
    asked.join(", ")
}

/// Members show certificates to clients and to each other, and ask for some.
fn flags(authority: &Authority) -> Vec<String> {
    let file = |name| authority.file(name).display().to_string();
    let mut flags = vec!["--client-cert-auth".to_owned(), "--peer-client-cert-auth".to_owned()];
    for prefix in ["", "peer-"] {
        flags.push(format!("--{prefix}cert-file={}", file("server.crt")));
        flags.push(format!("--{prefix}key-file={}", file("server.key")));
        flags.push(format!("--{prefix}trusted-ca-file={}", file("ca.crt")));
    }
    flags
}

struct Programs {
    apiserver: PathBuf,
    client: PathBuf,
}

/// A running kube-apiserver, and how a client gets in.
struct Kube {
    url: String,
    certificates: [String; 3],
    server: Running,
}

impl Programs {
    fn find() -> Option<Self> {
        let apiserver = e2e::kubernetes("kube-apiserver")?;
        Some(Self { apiserver, client: e2e::kubernetes("kubeclient")? })
    }

    /// Starts a server on a cluster, with the flags that an operator gives it; what is short here
    /// is what it does by itself once in minutes or hours.
    fn serve(&self, cluster: &Cluster, authority: &Authority) -> Kube {
        let file = |name: &str| authority.file(name).display().to_string();
        let endpoints =
            (0..cluster.size()).map(|at| format!("https://{}", cluster.member(at).endpoint()));
        let endpoints: Vec<_> = endpoints.collect();
        let port = e2e::free_port();
        let mut command = Command::new(&self.apiserver);
        command.env_clear().current_dir(cluster.scratch().path());
        command.arg(format!("--etcd-servers={}", endpoints.join(",")));
        command.arg(format!("--etcd-cafile={}", file("ca.crt")));
        command.arg(format!("--etcd-certfile={}", file("client.crt")));
        command.arg(format!("--etcd-keyfile={}", file("client.key")));
        command.args(["--etcd-compaction-interval=15s", "--event-ttl=15s"]);
        command.args(["--etcd-db-metric-poll-interval=1s", "--etcd-count-metric-poll-period=2s"]);
        command.args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"]);
        command.arg(format!("--secure-port={port}"));
        command.arg(format!("--tls-cert-file={}", file("server.crt")));
        command.arg(format!("--tls-private-key-file={}", file("server.key")));
        command.arg(format!("--client-ca-file={}", file("ca.crt")));
        command.arg("--service-account-issuer=https://kubernetes.e2e");
        command.arg(format!("--service-account-key-file={}", file("server.crt")));
        command.arg(format!("--service-account-signing-key-file={}", file("server.key")));
        command
            .args(["--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=AlwaysAllow"]);
        // Nobody goes to it by the address of a service.
        command.arg("--endpoint-reconciler-type=none");
        // Lists and watches of these go to the store itself.
        command.arg("--watch-cache-sizes=secrets#0");
        let server = Running::start(&mut command, "", cluster.scratch().path()).unwrap();
        let certificates = ["ca.crt", "client.crt", "client.key"].map(file);
        Kube { url: format!("https://127.0.0.1:{port}"), certificates, server }
    }

    fn work(&self, kube: &Kube, cluster: &Cluster) -> Running {
        let mut command = Command::new(&self.client);
        command.env_clear().arg(&kube.url).args(&kube.certificates);
        Running::start(&mut command, "", cluster.scratch().path()).unwrap()
    }
}

impl Kube {
    fn log_tail(&self) -> String {
        let log = self.server.complained();
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(30)..];
        format!("the log of kube-apiserver ends with:\n{}", tail.join("\n"))
    }
}

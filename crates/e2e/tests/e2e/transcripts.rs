//! The same etcdctl commands against etcd and against pintle must print the same.
//!
//! The scripts are `scripts/*.txt`; see [`script`] for how they are written. Those of users, locks,
//! elections and alarms are played over every transport; `cluster/ctl` plays them on three members.

pub(crate) mod mask;
pub(crate) mod play;
pub(crate) mod script;
pub(crate) mod transport;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::ScopedJoinHandle;

use e2e::{Client, Member, Outcome, Proxy, Scratch, Server};
use mask::mask;
use play::{Play, Stage};
use script::Script;
use transport::{Transport, Wire};

/// Servers stand still but for their clients; an election need not take a second then, and a
/// password no longer than it must.
const FLAGS: [&str; 5] =
    ["--heartbeat-interval", "10", "--election-timeout", "100", "--bcrypt-cost=4"];

const PLAIN: [Transport; 2] = [Transport::Plain, Transport::Proxied];

macro_rules! scripts {
    ($($name:ident: $formats:expr, $transports:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let text = include_str!(concat!("scripts/", stringify!($name), ".txt"));
                compare(stringify!($name), text, &$formats, &$transports);
            }
        )*

        #[test]
        fn every_script_is_run() {
            let folder = e2e::root().join("crates/e2e/tests/e2e/scripts");
            let there = std::fs::read_dir(folder).expect("the scripts are here").count();
            assert_eq!(there, [$(stringify!($name)),*].len());
        }
    };
}

scripts! {
    alarm: ["simple", "json", "fields"], Transport::ALL;
    auth: ["simple", "json", "fields"], Transport::ALL;
    compaction: ["simple", "json"], PLAIN;
    elect: ["simple"], Transport::ALL;
    endpoint: ["simple", "json", "fields", "table"], PLAIN;
    errors: ["simple", "json"], PLAIN;
    get: ["simple", "json", "fields", "protobuf"], PLAIN;
    // Renewals of old clients do not always come through etcd's proxy.
    lease: ["simple", "json", "fields"], [Transport::Plain];
    lock: ["simple"], Transport::ALL;
    maintenance: ["simple"], PLAIN;
    passwords: ["simple", "json"], Transport::ALL;
    put_and_del: ["simple", "json", "fields"], PLAIN;
    txn: ["simple", "json", "fields"], PLAIN;
    watch: ["simple", "json", "fields"], PLAIN;
}

/// Both generations of etcdctl, as far as they are here.
pub(crate) fn clients() -> Vec<(&'static str, PathBuf)> {
    let clients = [("3.7.1", e2e::peer("etcdctl")), ("distribution's", e2e::in_path("etcdctl"))];
    clients.into_iter().filter_map(|(version, path)| Some((version, path?))).collect()
}

/// Runs a script against both servers, with both generations of etcdctl, in all formats where
/// nothing is secret, and in the first one over the other transports: clients print by themselves.
fn compare(name: &str, text: &str, formats: &[&str], transports: &[Transport]) {
    let Some((pintle, etcd)) = Server::both() else { return };
    let script = Script::parse(text);
    let wires: Vec<_> = transports.iter().map(|transport| Wire::new(*transport)).collect();
    let clients = clients();
    let mut runs = Vec::new();
    for wire in &wires {
        let formats = if wire.transport == Transport::Plain { formats } else { &formats[..1] };
        for (version, etcdctl) in &clients {
            runs.extend(formats.iter().map(|format| (wire, version, etcdctl, *format)));
        }
    }
    let mut differences = Vec::new();
    // Servers and clients wait most of the time, so many runs side by side are quicker.
    for runs in runs.chunks(4) {
        let found = std::thread::scope(|scope| {
            let threads = runs.iter().map(|(wire, version, etcdctl, format)| {
                let expected = scope.spawn(|| transcript(&etcd, wire, etcdctl, format, &script));
                let actual = scope.spawn(|| transcript(&pintle, wire, etcdctl, format, &script));
                let how = format!("{:?}: etcdctl {version} -w {format}", wire.transport);
                (how, expected, actual)
            });
            let threads: Vec<_> = threads.collect();
            let join =
                |(how, expected, actual): (_, ScopedJoinHandle<'_, _>, ScopedJoinHandle<'_, _>)| {
                    (
                        how,
                        expected.join().expect("etcd's run"),
                        actual.join().expect("pintle's run"),
                    )
                };
            threads.into_iter().map(join).collect::<Vec<_>>()
        });
        for (how, expected, actual) in found {
            differences.extend(difference(&how, &expected, &actual));
        }
    }
    let count = differences.len();
    assert!(count == 0, "{name}: {count} steps differ\n{}", differences.join("\n"));
}

pub(crate) fn difference(how: &str, expected: &[String], actual: &[String]) -> Vec<String> {
    assert_eq!(expected.len(), actual.len());
    let pairs = expected.iter().zip(actual).filter(|(expected, actual)| expected != actual);
    let show = |(expected, actual)| format!("=== {how}\n{expected}--- but pintle:\n{actual}");
    pairs.map(show).collect()
}

/// What each step of the script showed, masked.
fn transcript(
    server: &Server,
    wire: &Wire,
    etcdctl: &Path,
    format: &str,
    script: &Script,
) -> Vec<String> {
    let scratch = Scratch::new("transcript");
    let secrets = wire.flags();
    let flags: Vec<_> = FLAGS.into_iter().chain(secrets.iter().map(String::as_str)).collect();
    let member = Member::start(server, scratch.path(), &flags).unwrap();
    let proxied = wire.transport == Transport::Proxied;
    let proxy = proxied.then(|| Proxy::grpc(server, &member.endpoint(), &[]).unwrap());
    let session = Session { member, proxy, wire, etcdctl, format, scratch };
    let mut play = Play::default();
    script.steps.iter().map(|step| play.take(&session, step)).collect()
}

struct Session<'a> {
    member: Member,
    /// Whom clients speak to instead, if there is one.
    proxy: Option<Proxy>,
    wire: &'a Wire,
    etcdctl: &'a Path,
    format: &'a str,
    scratch: Scratch,
}

impl Session<'_> {
    fn endpoint(&self) -> String {
        self.proxy.as_ref().map_or_else(|| self.member.endpoint(), |it| it.address().to_string())
    }
}

impl Stage for Session<'_> {
    fn folder(&self) -> &Path {
        self.scratch.path()
    }

    fn format(&self) -> &str {
        self.format
    }

    fn command(&self, args: &[String]) -> Command {
        let mut command = Command::new(self.etcdctl);
        command.env_clear().current_dir(self.scratch.path());
        command.args(["--endpoints", &self.wire.endpoint(&self.endpoint())]);
        command.args(self.wire.words()).args(["-w", self.format]).args(args);
        command
    }

    fn show(&self, args: &[String], outcome: &Outcome) -> String {
        let Outcome { code, stdout, stderr } = outcome;
        let place =
            [(self.endpoint(), "ENDPOINT"), (self.scratch.path().display().to_string(), "FOLDER")];
        let stdout = mask(stdout, &place, args);
        let mut stderr = mask::logs(&mask(stderr, &place, args));
        if self.proxy.is_some() {
            // etcd's proxy forgets the code of most refusals; ours passes it on.
            stderr = mask::codes(&stderr);
        }
        format!("$ etcdctl {}\n{stdout}[stderr]\n{stderr}[exit {code}]\n", args.join(" "))
    }

    fn settle(&self) {
        self.member.wait_for_storage_version().unwrap();
    }

    fn client(&self) -> Client {
        Client::connect(&self.member).unwrap()
    }
}

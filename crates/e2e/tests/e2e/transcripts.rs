//! The same etcdctl commands against etcd and against pintle must print the same.
//!
//! The scripts are `scripts/*.txt`; see [`script`] for how they are written.

pub(crate) mod mask;
mod script;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use e2e::{Client, Member, Outcome, Running, Scratch, Server};
use mask::mask;
use proto::etcdserverpb::LeaseGrantRequest;
use script::{Script, Step};

/// Servers stand still but for their clients; an election need not take a second then.
const FLAGS: [&str; 4] = ["--heartbeat-interval", "10", "--election-timeout", "100"];

macro_rules! scripts {
    ($($name:ident: $formats:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let text = include_str!(concat!("scripts/", stringify!($name), ".txt"));
                compare(stringify!($name), text, &$formats);
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
    alarm: ["simple", "json", "fields"];
    auth: ["simple", "json", "fields"];
    compaction: ["simple", "json"];
    endpoint: ["simple", "json", "fields", "table"];
    errors: ["simple", "json"];
    get: ["simple", "json", "fields", "protobuf"];
    lease: ["simple", "json", "fields"];
    maintenance: ["simple"];
    passwords: ["simple", "json"];
    put_and_del: ["simple", "json", "fields"];
    txn: ["simple", "json", "fields"];
    watch: ["simple", "json", "fields"];
}

/// Runs a script against both servers, with both generations of etcdctl and in all formats.
fn compare(name: &str, text: &str, formats: &[&str]) {
    let Some((pintle, etcd)) = Server::both() else { return };
    let script = Script::parse(text);
    let clients = [("3.7.1", e2e::peer("etcdctl")), ("distribution's", e2e::in_path("etcdctl"))];
    let runs = clients.iter().flat_map(|(version, etcdctl)| {
        let etcdctl = etcdctl.as_ref();
        formats.iter().filter_map(move |format| Some((version, etcdctl?, format)))
    });
    let runs: Vec<_> = runs.collect();
    let mut differences = Vec::new();
    // Servers and clients wait most of the time, so many runs side by side are quicker.
    for runs in runs.chunks(4) {
        let found = std::thread::scope(|scope| {
            let threads = runs.iter().map(|(version, etcdctl, format)| {
                let expected = scope.spawn(|| transcript(&etcd, etcdctl, format, &script));
                let actual = scope.spawn(|| transcript(&pintle, etcdctl, format, &script));
                (format!("etcdctl {version} -w {format}"), expected, actual)
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

fn difference(how: &str, expected: &[String], actual: &[String]) -> Vec<String> {
    assert_eq!(expected.len(), actual.len());
    let pairs = expected.iter().zip(actual).filter(|(expected, actual)| expected != actual);
    let show = |(expected, actual)| format!("=== {how}\n{expected}--- but pintle:\n{actual}");
    pairs.map(show).collect()
}

/// What each step of the script showed, masked.
fn transcript(server: &Server, etcdctl: &Path, format: &str, script: &Script) -> Vec<String> {
    let scratch = Scratch::new("transcript");
    let member = Member::start(server, scratch.path(), &FLAGS).unwrap();
    let session = Session { member, etcdctl: etcdctl.to_owned(), format, scratch };
    script.steps.iter().map(|step| session.take(step)).collect()
}

struct Session<'a> {
    member: Member,
    etcdctl: PathBuf,
    format: &'a str,
    scratch: Scratch,
}

impl Session<'_> {
    fn take(&self, step: &Step) -> String {
        match step {
            Step::Command { args, stdin } => {
                let outcome = e2e::run(&mut self.command(args), stdin, self.scratch.path());
                self.show(args, &outcome.unwrap())
            }
            Step::Watch { events, args, stdin } => self.watch(*events, args, stdin),
            Step::Settle => {
                self.member.wait_for_storage_version().unwrap();
                String::new()
            }
            Step::Grant { id, ttl } => self.grant(*id, *ttl),
        }
    }

    /// Watches until so many events were shown, or none came for long.
    fn watch(&self, events: usize, args: &[String], stdin: &str) -> String {
        let mut command = self.command(args);
        let mut running = Running::start(&mut command, stdin, self.scratch.path()).unwrap();
        let shown = e2e::until(Duration::from_secs(5), || {
            let count = count_events(&running.printed(), self.format);
            (count >= events || running.has_ended()).then_some(())
        });
        // An event is several lines, and perhaps there is one too many.
        let mut before = String::new();
        e2e::until(Duration::from_secs(5), || {
            e2e::pause(Duration::from_millis(60));
            let now = running.printed();
            (std::mem::replace(&mut before, now) == before).then_some(())
        });
        let late = if shown.is_none() { "(events are missing)\n" } else { "" };
        late.to_owned() + &self.show(args, &running.interrupt().unwrap())
    }

    /// A lease with an id of ours, which etcdctl cannot ask for.
    fn grant(&self, id: i64, ttl: i64) -> String {
        let client = Client::connect(&self.member).unwrap();
        let reply = client.call(&LeaseGrantRequest { ttl, id });
        format!("@grant {id:x} {ttl}\n{reply:?}\n")
    }

    fn command(&self, args: &[String]) -> Command {
        let mut command = Command::new(&self.etcdctl);
        command.env_clear().current_dir(self.scratch.path());
        command.args(["--endpoints", &self.member.endpoint(), "-w", self.format]).args(args);
        command
    }

    fn show(&self, args: &[String], outcome: &Outcome) -> String {
        let Outcome { code, stdout, stderr } = outcome;
        let place = [
            (self.member.endpoint(), "ENDPOINT"),
            (self.scratch.path().display().to_string(), "FOLDER"),
        ];
        let stdout = mask(stdout, &place, args);
        let stderr = mask::logs(&mask(stderr, &place, args));
        format!("$ etcdctl {}\n{stdout}[stderr]\n{stderr}[exit {code}]\n", args.join(" "))
    }
}

fn count_events(printed: &str, format: &str) -> usize {
    match format {
        "json" => {
            printed.matches(r#""kv":"#).count() + printed.matches(r#""Canceled":true"#).count()
        }
        "fields" => printed.matches("\"Type\" : ").count(),
        _ => printed.lines().filter(|line| ["PUT", "DELETE"].contains(line)).count(),
    }
}

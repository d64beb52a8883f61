//! What etcdctl prints of a cluster is the same of etcd's and of pintle's.
//!
//! In the scripts `ID0` and `PEER0` are the first member's id and peer URL, and `ADDED` is the id
//! of who was added last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::{Client, Cluster, Outcome, Server};
use proto::etcdserverpb::PutRequest;

use super::{FLAGS, alone};
use crate::transcripts::mask::{logs, mask, mask_cells};
use crate::transcripts::play::{Play, Stage};
use crate::transcripts::script::{Script, Step};
use crate::transcripts::transport::{Transport, Wire};
use crate::transcripts::{clients, difference};

const MEMBERS: (&str, &str) = ("members", include_str!("ctl.txt"));
const AUTH: (&str, &str) = ("auth", include_str!("../scripts/auth.txt"));

/// Scripts about what a cluster decides as one. All leave nothing behind.
const SECURED: [(&str, &str); 5] = [
    ("passwords", include_str!("../scripts/passwords.txt")),
    AUTH,
    ("alarm", include_str!("../scripts/alarm.txt")),
    ("lock", include_str!("../scripts/lock.txt")),
    ("elect", include_str!("../scripts/elect.txt")),
];

#[test]
fn etcdctl_prints_of_a_cluster_what_it_prints_of_one_of_etcd() {
    compare(Transport::Plain, &[MEMBERS], &["simple", "json", "fields", "table"]);
}

#[test]
fn users_and_roles_of_a_cluster_are_those_of_one_of_etcd() {
    compare(Transport::Plain, &[AUTH], &["json"]);
}

#[test]
fn users_locks_elections_and_alarms_are_the_same_on_three_members() {
    compare(Transport::Plain, &SECURED, &["simple"]);
}

#[test]
fn users_locks_elections_and_alarms_are_the_same_on_three_members_by_tls() {
    compare(Transport::Tls, &SECURED, &["simple"]);
}

#[test]
fn users_locks_elections_and_alarms_are_the_same_on_three_members_by_certificates() {
    compare(Transport::MutualTls, &SECURED, &["simple"]);
}

/// Runs scripts one after the other on one cluster of each server, in each format and with both
/// generations of etcdctl.
fn compare(transport: Transport, scripts: &[(&str, &str)], formats: &[&str]) {
    let Some((pintle, etcd)) = Server::both() else { return };
    let wire = Wire::new(transport);
    let _alone = alone();
    let mut expected = Told::of(&etcd, &wire);
    let mut actual = Told::of(&pintle, &wire);
    let mut differences = Vec::new();
    for (version, etcdctl) in &clients() {
        for format in formats {
            for (name, text) in scripts {
                let script = Script::parse(text);
                let (expected, actual) = std::thread::scope(|scope| {
                    let expected = scope.spawn(|| expected.play(&script, etcdctl, format));
                    let actual = actual.play(&script, etcdctl, format);
                    (expected.join().expect("etcd's run"), actual)
                });
                let how = format!("{name} by {transport:?}: etcdctl {version} -w {format}");
                differences.extend(difference(&how, &expected, &actual));
            }
        }
    }
    let count = differences.len();
    assert!(count == 0, "{count} steps differ\n{}", differences.join("\n"));
}

/// A cluster and the names of what two clusters cannot have in common.
struct Told<'a> {
    cluster: Cluster,
    wire: &'a Wire,
    etcdctl: PathBuf,
    format: String,
    /// How often something was played.
    times: usize,
    /// What stands for an id.
    ids: BTreeMap<u64, String>,
    added: Option<u64>,
}

impl<'a> Told<'a> {
    fn of(server: &Server, wire: &'a Wire) -> Self {
        let secrets = wire.flags();
        let flags = [FLAGS[0], FLAGS[1], "--strict-reconfig-check=false", "--bcrypt-cost=4"];
        let flags: Vec<_> = flags.into_iter().chain(secrets.iter().map(String::as_str)).collect();
        let cluster = Cluster::start("ctl", &[server; 3], &flags).unwrap();
        let put = PutRequest { key: "foo".into(), value: "bar".into(), ..PutRequest::default() };
        cluster.call(0, &put).unwrap();
        cluster.move_leader(0).unwrap();
        cluster.same_hash().unwrap();
        for at in 0..cluster.size() {
            cluster.member(at).wait_for_storage_version().unwrap();
        }
        let ids = (0..cluster.size()).map(|at| (cluster.id(at).unwrap(), format!("ID{at}")));
        let ids = ids.collect();
        let (etcdctl, format) = Default::default();
        Self { cluster, wire, etcdctl, format, times: 0, ids, added: None }
    }

    /// What each step has shown.
    fn play(&mut self, script: &Script, etcdctl: &Path, format: &str) -> Vec<String> {
        self.etcdctl = etcdctl.to_owned();
        self.format = format.to_owned();
        self.times += 1;
        let mut play = Play::default();
        let mut shown = Vec::new();
        for step in &script.steps {
            if let Step::Command { args, .. } = step
                && args.starts_with(&["member".to_owned(), "add".to_owned()])
            {
                let outcome = e2e::run(&mut self.command(args), "", self.folder()).unwrap();
                // Before it is shown, for its id is new.
                self.learn();
                shown.push(self.show(args, &outcome));
                continue;
            }
            shown.push(play.take(self, step));
            if let Step::Command { args, .. } = step {
                match (args[0].as_str(), args.get(1).map(String::as_str)) {
                    // To a user members do not tell who leads.
                    ("move-leader", Some(_)) if args.len() == 2 => {
                        self.cluster.wait_for_leader().unwrap();
                    }
                    _ => {}
                }
            }
        }
        shown
    }

    fn fill_in(&self, word: &str) -> String {
        let hex = |id: u64| format!("{id:x}");
        let mut word = word.replace("ADDED", &self.added.map(hex).unwrap_or_default());
        word = word.replace("TIME", &self.times.to_string());
        for (id, name) in &self.ids {
            word = word.replace(name, &hex(*id));
        }
        for at in 0..self.cluster.size() {
            word = word.replace(&format!("PEER{at}"), self.cluster.peer_url(at));
        }
        word
    }

    /// Finds out who is new.
    fn learn(&mut self) {
        let known = |cluster: &Cluster| {
            let mut ids: Vec<_> = cluster.list().ok()?.into_iter().map(|it| it.id).collect();
            ids.retain(|id| *id != 0);
            Some(ids)
        };
        let ids = e2e::until(Duration::from_secs(10), || known(&self.cluster)).unwrap_or_default();
        for id in ids {
            if self.ids.get(&id).is_none_or(|name| name == "ADDED") {
                self.ids.insert(id, "ADDED".to_owned());
                self.added = Some(id);
            }
        }
    }

    fn without_names(&self, text: &str, args: &[String]) -> String {
        let mut text = text.to_owned();
        for (id, name) in &self.ids {
            // An id that begins with zeros is filled up with blanks in some places.
            text = text.replace(&format!(" {id:16x}"), &format!(" {name}"));
            text = text.replace(&format!("{id:x}"), name).replace(&id.to_string(), name);
        }
        for at in 0..3 {
            text = text.replace(self.cluster.peer_url(at), &format!("PEER{at}"));
            text = text.replace(&self.cluster.member(at).endpoint(), &format!("ENDPOINT{at}"));
        }
        // The client chooses whom it asks, and terms and indexes have a history.
        let text = mask(&text, &[], args);
        let text = numbers(&if args[0] == "member" { mask_cells(&text) } else { text });
        let has_order = args[0] == "endpoint" && args[1] != "health"
            || args[0] == "member" && args[1] == "list" && !text.contains("ADDED");
        if has_order { text } else { sorted(&text) }
    }
}

impl Stage for Told<'_> {
    fn folder(&self) -> &Path {
        self.cluster.scratch().path()
    }

    fn format(&self) -> &str {
        &self.format
    }

    fn command(&self, args: &[String]) -> Command {
        let mut command = Command::new(&self.etcdctl);
        command.env_clear().current_dir(self.folder());
        let endpoints = (0..3).map(|at| self.wire.endpoint(&self.cluster.member(at).endpoint()));
        let mut endpoints: Vec<_> = endpoints.collect();
        let watches = ["watch", "lock", "elect"].contains(&args[0].as_str());
        if watches && args.iter().any(|arg| arg == "--user") {
            // A member of etcd's may refuse a watch with a token that another one has just given
            // out, and nobody tries again.
            endpoints.truncate(1);
        }
        command.args(["--endpoints", &endpoints.join(",")]);
        command.args(self.wire.words()).args(["-w", &self.format]);
        command.args(args.iter().map(|word| self.fill_in(word)));
        command
    }

    fn show(&self, args: &[String], outcome: &Outcome) -> String {
        let mut stdout = self.without_names(&outcome.stdout, args);
        if args.starts_with(&["lease".to_owned(), "list".to_owned()]) {
            // Of locks of before, whose ids servers choose; how many there are is the same.
            let is_id = |line: &str| line.len() == 16 && u64::from_str_radix(line, 16).is_ok();
            stdout = stdout.lines().map(|it| if is_id(it) { "ID\n" } else { it }).collect();
        }
        let mut stderr = logs(&outcome.stderr);
        if args.iter().any(|arg| arg == "--user") {
            // A member of etcd's may not know a token yet that another one has just given out, so
            // that its client tries again, and says so.
            let kept = |line: &&str| !line.contains("retrying of unary invoker failed");
            stderr = stderr.lines().filter(kept).map(|line| format!("{line}\n")).collect();
            stderr.truncate(stderr.trim_end().len());
        }
        let stderr = self.without_names(&stderr, args);
        let words = args.join(" ");
        format!("$ etcdctl {words}\n{stdout}[stderr]\n{stderr}[exit {}]\n", outcome.code)
    }

    fn settle(&self) {
        for at in self.cluster.running() {
            self.cluster.member(at).wait_for_storage_version().unwrap();
        }
    }

    fn client(&self) -> Client {
        Client::connect(self.cluster.member(0)).unwrap()
    }
}

/// Masks what follows these words.
fn numbers(text: &str) -> String {
    const WORDS: [&str; 14] = [
        "\"member_id\":",
        "\"MemberID\" : ",
        "\"raft_term\":",
        "\"RaftTerm\" : ",
        "\"raftTerm\":",
        "\"raftIndex\":",
        "\"RaftIndex\" : ",
        "\"raftAppliedIndex\":",
        "\"RaftAppliedIndex\" : ",
        "\"cluster_id\":",
        "\"ClusterID\" : ",
        " to cluster ",
        " from cluster ",
        " in cluster ",
    ];
    let mut text = text.to_owned();
    for word in WORDS {
        let mut parts = text.split(word);
        let mut masked = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            masked.push_str(word);
            masked.push('*');
            let part = part.trim_start();
            masked.push_str(part.trim_start_matches(|c: char| c.is_ascii_alphanumeric()));
        }
        text = masked;
    }
    // Cells of a line or a table.
    let number = |cell: &str| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
    let line = |line: &str| {
        let cells = line.split('|').map(|cell| if number(cell) { "#" } else { cell });
        cells.collect::<Vec<_>>().join("|")
    };
    text.lines().map(|it| line(it) + "\n").collect()
}

/// Without the order of its parts, which depends on the id of who was added, or on luck.
fn sorted(text: &str) -> String {
    let text = text
        .replace("}|{", "}\n{")
        .replace("[{", "[\n{")
        .replace("=\"m", "=\"\nm")
        .replace("|m", "\nm");
    let mut lines: Vec<_> =
        text.lines().map(|line| line.trim_matches(['"', '[', ']', '{', '}'])).collect();
    lines.sort_unstable();
    lines.join("\n") + "\n"
}

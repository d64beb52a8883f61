//! What etcdctl prints of a cluster is the same of etcd's and of pintle's.
//!
//! The script is one line a command; `ID0` and `PEER0` are the first member's id and peer URL, and
//! `ADDED` is the id of who was added last.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Cluster, Server};
use proto::etcdserverpb::PutRequest;

use super::{FLAGS, alone};
use crate::transcripts::mask::{logs, mask, mask_cells};

const SCRIPT: &str = include_str!("ctl.txt");

#[test]
fn etcdctl_prints_of_a_cluster_what_it_prints_of_one_of_etcd() {
    compare(SCRIPT, &["simple", "json", "fields", "table"]);
}

#[test]
fn users_and_roles_of_a_cluster_are_those_of_one_of_etcd() {
    compare(include_str!("../scripts/auth.txt"), &["simple", "json"]);
}

/// Runs a script that leaves nothing behind, in each format and with both generations of etcdctl.
fn compare(script: &str, formats: &[&str]) {
    let Some((pintle, etcd)) = Server::both() else { return };
    let clients = [("3.7.1", e2e::peer("etcdctl")), ("distribution's", e2e::in_path("etcdctl"))];
    let clients: Vec<_> =
        clients.into_iter().filter_map(|(name, path)| Some((name, path?))).collect();
    let _alone = alone();
    let mut expected = Told::of(&etcd);
    let mut actual = Told::of(&pintle);
    let mut differences = Vec::new();
    for (version, etcdctl) in &clients {
        for format in formats {
            for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let expected = expected.take(line, etcdctl, format);
                let actual = actual.take(line, etcdctl, format);
                if expected != actual {
                    differences.push(format!(
                        "=== etcdctl {version} -w {format} {line}\n{expected}--- but pintle:\n{actual}"
                    ));
                }
            }
        }
    }
    let count = differences.len();
    assert!(count == 0, "{count} steps differ\n{}", differences.join("\n"));
}

/// A cluster and the names of what two clusters cannot have in common.
struct Told {
    cluster: Cluster,
    /// What stands for an id.
    ids: BTreeMap<u64, String>,
    added: Option<u64>,
}

impl Told {
    fn of(server: &Server) -> Self {
        let flags = [FLAGS[0], FLAGS[1], "--strict-reconfig-check=false"];
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
        Self { cluster, ids, added: None }
    }

    fn take(&mut self, line: &str, etcdctl: &Path, format: &str) -> String {
        let args: Vec<String> = line.split(' ').map(|word| self.fill_in(word)).collect();
        let mut command = Command::new(etcdctl);
        let folder = self.cluster.scratch().path().to_owned();
        let endpoints: Vec<_> = (0..3).map(|at| self.cluster.member(at).endpoint()).collect();
        command.env_clear().current_dir(&folder);
        command.args(["--endpoints", &endpoints.join(","), "-w", format]).args(&args);
        let outcome = e2e::run(&mut command, "", &folder).unwrap();
        if args[0] == "member" && args[1] == "add" {
            self.learn();
        }
        if args[0] == "move-leader" && outcome.code == 0 {
            self.cluster.wait_for_leader().unwrap();
        }
        let stdout = self.show(&outcome.stdout, &args);
        let mut stderr = logs(&outcome.stderr);
        if args.iter().any(|arg| arg == "--user") {
            // A member of etcd's may not know a token yet that another one has just given out, so
            // that its client tries again, and says so.
            let kept = |line: &&str| !line.contains("retrying of unary invoker failed");
            stderr = stderr.lines().filter(kept).map(|line| format!("{line}\n")).collect();
            stderr.truncate(stderr.trim_end().len());
        }
        let stderr = self.show(&stderr, &args);
        format!("{stdout}[stderr]\n{stderr}[exit {}]\n", outcome.code)
    }

    fn fill_in(&self, word: &str) -> String {
        let hex = |id: u64| format!("{id:x}");
        let mut word = word.replace("ADDED", &self.added.map(hex).unwrap_or_default());
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

    fn show(&self, text: &str, args: &[String]) -> String {
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

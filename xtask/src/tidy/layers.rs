//! Who may use whom: dependencies point downwards, and some crates must not know some things.

use super::Finding;
use super::walk::TextFile;

/// A crate of the workspace, by layer.
struct Crate {
    name: &'static str,
    layer: u8,
    /// Crates below that it must not know all the same.
    never: &'static [&'static str],
}

const fn row(layer: u8, name: &'static str, never: &'static [&'static str]) -> Crate {
    Crate { name, layer, never }
}

/// The layers, lowest last. A crate may use only crates of layers below its own.
const CRATES: [Crate; 22] = [
    row(7, "bench", &[]),
    row(7, "e2e", &[]),
    row(7, "oracle", &[]),
    row(7, "pintle", &[]),
    row(7, "pintlectl", &["state", "mvcc", "bolt", "wal", "raft", "node"]),
    row(7, "pintleutl", &["node", "raft"]),
    row(7, "sim", &[]),
    // A door that asks members through another one.
    row(6, "proxy", &["raft", "wal", "bolt", "mvcc", "state", "node"]),
    // A door has no logic and no storage.
    row(5, "api", &["raft", "wal", "bolt"]),
    row(5, "client", &["raft", "wal", "bolt", "mvcc", "state", "node"]),
    row(5, "peer", &["bolt", "mvcc", "state"]),
    row(5, "print", &["raft", "wal", "bolt", "mvcc", "state", "node", "net"]),
    row(4, "net", &["proto", "env", "raft", "wal", "bolt", "mvcc", "state"]),
    row(4, "node", &[]),
    // It reads no clock, and sees neither the log nor who leads.
    row(3, "state", &["raft", "wal"]),
    row(2, "mvcc", &["raft", "wal"]),
    row(1, "bolt", &["proto"]),
    row(1, "http2", &["proto", "env"]),
    row(1, "raft", &["proto", "env"]),
    row(1, "wal", &[]),
    row(0, "env", &[]),
    row(0, "proto", &[]),
];

/// Crates that are built into a binary of their own; nothing stands on them, not even a test below.
const BINARIES: u8 = 7;

/// Sockets and tasks belong to the layers from here on.
const ASYNC: u8 = 4;
const OF_ASYNC: [&str; 8] =
    ["axum", "h2", "hyper", "hyper-util", "tokio", "tokio-rustls", "tokio-util", "tonic"];

pub(crate) fn check(files: &[TextFile], findings: &mut Vec<Finding>) {
    for file in files {
        let Some(name) = crate_of_manifest(&file.path) else { continue };
        let mut report = |line, what| {
            findings.push(Finding { path: file.path.clone(), line, what });
        };
        if !file.text.contains("[lints]\nworkspace = true\n") {
            report(1, "takes no lints: add `[lints]` with `workspace = true`".to_owned());
        }
        let Some(user) = find(name) else {
            report(1, format!("{name} has no layer: add it to xtask/src/tidy/layers.rs"));
            continue;
        };
        for used in dependencies(&file.text) {
            if let Some(what) = objection(user, &used) {
                report(used.line, what);
            }
        }
    }
}

/// `crates/<name>/Cargo.toml`; xtask stands beside the layers.
fn crate_of_manifest(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml").filter(|name| !name.contains('/'))
}

fn find(name: &str) -> Option<&'static Crate> {
    CRATES.iter().find(|one| one.name == name)
}

/// What is wrong with `user` having this dependency.
fn objection(user: &Crate, used: &Dependency<'_>) -> Option<String> {
    let (user_name, name) = (user.name, used.name);
    if let Some(used_crate) = find(name) {
        if used.of_tests {
            let upside_down = used_crate.layer == BINARIES && user.layer < BINARIES;
            return upside_down.then(|| format!("tests of {user_name} use the binary {name}"));
        }
        if used_crate.layer >= user.layer {
            let (layer, below) = (user.layer, used_crate.layer);
            return Some(format!("{user_name} (layer {layer}) uses {name} (layer {below})"));
        }
        return user.never.contains(&name).then(|| format!("{user_name} must not know {name}"));
    }
    let out_of_place = !used.of_tests && user.layer < ASYNC && OF_ASYNC.contains(&name);
    out_of_place.then(|| format!("{name} is for layer {ASYNC} and up, not for {user_name}"))
}

struct Dependency<'a> {
    name: &'a str,
    of_tests: bool,
    /// From 1.
    line: usize,
}

/// What a manifest's tables of dependencies name, in either spelling: a line in `[dependencies]`,
/// or a table `[dependencies.name]`; also those of one target only.
fn dependencies(manifest: &str) -> Vec<Dependency<'_>> {
    let mut found = Vec::new();
    // Whether the lines that follow are dependencies, and then whether only of tests.
    let mut table = None;
    for (at, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = None;
            let (before, after) = header.split_once("dependencies").unwrap_or((header, "-"));
            let of_tests = before.ends_with("dev-");
            if after.is_empty() {
                table = Some(of_tests);
            } else if let Some(name) = after.strip_prefix('.') {
                found.push(Dependency { name: unquoted(name), of_tests, line: at + 1 });
            }
        } else if let Some(of_tests) = table
            && !line.is_empty()
            && !line.starts_with('#')
        {
            let end = line.find(['.', '=', ' ']).unwrap_or(line.len());
            found.push(Dependency { name: unquoted(&line[..end]), of_tests, line: at + 1 });
        }
    }
    found
}

fn unquoted(name: &str) -> &str {
    name.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::{TextFile, check};

    fn findings(name: &str, dependencies: &str) -> Vec<String> {
        let path = format!("crates/{name}/Cargo.toml");
        let text =
            format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{dependencies}");
        let mut findings = Vec::new();
        check(&[TextFile { path, text }], &mut findings);
        findings.iter().map(|finding| format!("{}: {}", finding.line, finding.what)).collect()
    }

    #[test]
    fn dependencies_point_downwards() {
        assert!(
            findings("mvcc", "[dependencies]\nbolt.workspace = true\nbytes = \"1\"\n").is_empty()
        );
        let upwards =
            "[dependencies]\n# why\nstate = { workspace = true }\nmvcc.workspace = true\n";
        assert_eq!(
            findings("mvcc", upwards),
            ["7: mvcc (layer 2) uses state (layer 3)", "8: mvcc (layer 2) uses mvcc (layer 2)"]
        );
    }

    #[test]
    fn a_door_does_not_know_the_storage() {
        let manifest = "[dependencies.bolt]\nworkspace = true\nfeatures = []\n";
        assert_eq!(findings("api", manifest), ["5: api must not know bolt"]);
    }

    #[test]
    fn tests_may_look_up_but_not_to_binaries() {
        assert!(findings("bolt", "[dev-dependencies]\nmvcc.workspace = true\n").is_empty());
        assert_eq!(
            findings("bolt", "[dev-dependencies]\npintle.workspace = true\n"),
            ["6: tests of bolt use the binary pintle"]
        );
    }

    #[test]
    fn sockets_are_for_the_upper_layers() {
        let manifest = "[target.'cfg(unix)'.dependencies]\ntokio = \"1\"\n";
        assert_eq!(findings("wal", manifest), ["6: tokio is for layer 4 and up, not for wal"]);
        assert!(findings("node", manifest).is_empty());
    }

    #[test]
    fn a_new_crate_needs_a_layer() {
        let what = "1: common has no layer: add it to xtask/src/tidy/layers.rs";
        assert_eq!(findings("common", ""), [what]);
    }
}

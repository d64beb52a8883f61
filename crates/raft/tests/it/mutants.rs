//! `tests/mutants.txt`: changes that some test must notice. To play them all takes a quarter of an
//! hour:
//!
//! ```text
//! RAFT_MUTANTS=all cargo test -p raft mutants -- --nocapture
//! ```
//!
//! or a word of what they are about in place of `all`. They are played on a copy of the crate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Default)]
struct Mutant {
    what: String,
    file: String,
    old: Vec<String>,
    new: Vec<String>,
    /// Tests of which one must fail; none if any will do.
    tests: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn mutants() -> Vec<Mutant> {
    let text = fs::read_to_string(root().join("tests/mutants.txt")).expect("the list is there");
    let mut mutants: Vec<Mutant> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (mark, rest) = line.split_at(1);
        if mark == "=" {
            mutants.push(Mutant { what: rest.trim().to_owned(), ..Mutant::default() });
            continue;
        }
        let mutant = mutants.last_mut().expect("a mutant begins with =");
        match mark {
            "@" => mutant.file = rest.trim().to_owned(),
            "-" => mutant.old.push(rest.to_owned()),
            "+" => mutant.new.push(rest.to_owned()),
            "?" => mutant.tests = rest.split('|').map(|test| test.trim().to_owned()).collect(),
            _ => panic!("not a line of a mutant: {line}"),
        }
    }
    mutants
}

impl Mutant {
    /// The file with the change in it.
    fn apply(&self) -> String {
        let source = fs::read_to_string(root().join(&self.file)).expect(&self.file);
        let old = self.old.join("\n");
        let times = source.matches(&old).count();
        assert_eq!(times, 1, "{}: what it changes is there {times} times", self.what);
        source.replacen(&old, &self.new.join("\n"), 1)
    }

    /// Why it was not killed as it should be, if so.
    fn play(&self, workspace: &Path) -> Option<String> {
        let file = workspace.join("crates/raft").join(&self.file);
        fs::write(&file, self.apply()).expect("the copy can be written");
        let tested = Command::new(env!("CARGO"))
            .args(["test", "--quiet", "--package", "raft", "--lib", "--test", "it"])
            .args(["--no-fail-fast", "--", "--skip", "mutants"])
            .current_dir(workspace)
            .env("CARGO_TARGET_DIR", workspace.join("target"))
            .env("RUST_BACKTRACE", "0")
            .env_remove("RAFT_MUTANTS")
            .output()
            .expect("cargo runs");
        let original = fs::read(root().join(&self.file)).expect(&self.file);
        fs::write(&file, original).expect("the copy can be written");
        let output = String::from_utf8_lossy(&tested.stdout);
        let failed: Vec<&str> =
            output.lines().filter(|line| line.starts_with("    ") && line.contains("::")).collect();
        if tested.status.success() {
            return Some(format!("{} survives", self.what));
        }
        if failed.is_empty() {
            let why = String::from_utf8_lossy(&tested.stderr);
            return Some(format!("{} does not build:\n{why}", self.what));
        }
        let meant = |test: &String| failed.iter().any(|line| line.contains(test.as_str()));
        if !self.tests.is_empty() && !self.tests.iter().any(meant) {
            return Some(format!("{} is killed by {failed:?} only", self.what));
        }
        None
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder for the copy");
    for entry in fs::read_dir(from).expect("the crate is there") {
        let path = entry.expect("the crate is there").path();
        let to = to.join(path.file_name().expect("it has a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, to).expect("the copy can be written");
        }
    }
}

/// A workspace with this crate alone.
fn workspace() -> PathBuf {
    let workspace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    let of_all = root().ancestors().nth(2).expect("crates/raft is in a workspace");
    let manifest = fs::read_to_string(of_all.join("Cargo.toml")).expect("a root manifest");
    let alone: String = manifest
        .lines()
        .map(|line| match line.starts_with("members = ") {
            true => "members = [\"crates/raft\"]\n".to_owned(),
            false => format!("{line}\n"),
        })
        .collect();
    let _ = fs::remove_dir_all(workspace.join("crates"));
    copy(root(), &workspace.join("crates/raft"));
    fs::write(workspace.join("Cargo.toml"), alone).expect("the copy can be written");
    fs::copy(of_all.join("Cargo.lock"), workspace.join("Cargo.lock")).expect("a lock file");
    workspace
}

#[test]
fn mutants_apply_and_are_killed_if_they_are_played() {
    let mutants = mutants();
    assert!(mutants.len() > 60, "{} mutants", mutants.len());
    for mutant in &mutants {
        assert_ne!(mutant.apply(), "", "{}", mutant.what);
    }
    let Ok(about) = std::env::var("RAFT_MUTANTS") else { return };
    let workspace = workspace();
    let mut alive = Vec::new();
    for mutant in mutants.iter().filter(|mutant| about == "all" || mutant.what.contains(&about)) {
        let result = mutant.play(&workspace);
        eprintln!("{}: {}", mutant.what, result.as_deref().unwrap_or("killed"));
        alive.extend(result);
    }
    assert!(alive.is_empty(), "{}", alive.join("\n"));
}

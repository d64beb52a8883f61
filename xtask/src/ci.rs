//! `cargo xtask ci`: every check there is, in one order, here and on any machine alike.
//!
//! All steps run, also after one has failed: one round should tell all that is wrong.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::{codegen, tidy};

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// What a step does, from the root folder.
type Check = fn(&Path) -> anyhow::Result<Outcome>;

/// Cheap ones first.
const STEPS: [(&str, Check); 10] = [
    ("fmt", |root| cargo(root, &["fmt", "--all", "--check"])),
    ("tidy", |root| tidy::run(root).map(|()| Outcome::Passed)),
    ("typos", |root| tool(root, "typos", &[])),
    ("codegen", |root| codegen::run(root, true).map(|()| Outcome::Passed)),
    ("clippy", clippy),
    ("fuzz", fuzz),
    ("doc", doc),
    ("test", |root| cargo(root, &["test", "--workspace", "--locked"])),
    ("deny", |root| tool(root, "cargo-deny", &["check", "bans", "licenses", "sources"])),
    ("advisories", advisories),
];

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    let mut summary = Vec::new();
    for (name, check) in STEPS {
        eprintln!("== {name}");
        let started = now();
        let outcome = check(root).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        let line = format!("{name:<12}{}", describe(&outcome, started.elapsed()));
        eprintln!("== {line}");
        summary.push(line);
        if matches!(outcome, Outcome::Failed(_)) {
            failed.push(name);
        }
    }
    eprintln!("\n{}", summary.join("\n"));
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("ci: failed: {}", failed.join(", ")),
    }
}

fn describe(outcome: &Outcome, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    match outcome {
        Outcome::Passed => format!("ok       {seconds:>7.1} s"),
        Outcome::Failed(why) => format!("FAILED   {seconds:>7.1} s   {why}"),
        Outcome::Skipped(why) => format!("skipped  {seconds:>7.1} s   {why}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "tells a person how long a step took")]
fn now() -> Instant {
    Instant::now()
}

fn clippy(root: &Path) -> anyhow::Result<Outcome> {
    cargo(root, &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
}

/// That the fuzz targets go with the crates; running them takes another compiler.
fn fuzz(root: &Path) -> anyhow::Result<Outcome> {
    let mut compiler = Command::new("c++");
    compiler.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    if !compiler.status().is_ok_and(|status| status.success()) {
        return Ok(Outcome::Skipped("there is no C++ compiler".to_owned()));
    }
    let all = ["--bins", "--examples", "--manifest-path", "fuzz/Cargo.toml"];
    cargo(root, &[&["check", "--locked"], &all[..]].concat())
}

fn doc(root: &Path) -> anyhow::Result<Outcome> {
    let mut command = cargo_command(root, &["doc", "--workspace", "--no-deps", "--locked"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    outcome_of(&mut command)
}

/// What others have found out about our dependencies depends on the day, not on the commit: it is
/// shown and does not fail a build.
fn advisories(root: &Path) -> anyhow::Result<Outcome> {
    Ok(match tool(root, "cargo-deny", &["check", "advisories"])? {
        Outcome::Failed(_) => {
            Outcome::Skipped("out of reach, or there are some: see above".to_owned())
        }
        other => other,
    })
}

fn cargo(root: &Path, args: &[&str]) -> anyhow::Result<Outcome> {
    outcome_of(&mut cargo_command(root, args))
}

fn cargo_command(root: &Path, args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root).args(args);
    command
}

/// Runs a program that a machine may lack.
fn tool(root: &Path, program: &str, args: &[&str]) -> anyhow::Result<Outcome> {
    let mut probe = Command::new(program);
    probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        return Ok(Outcome::Skipped(format!("{program} is not installed")));
    }
    outcome_of(Command::new(program).current_dir(root).args(args))
}

fn outcome_of(command: &mut Command) -> anyhow::Result<Outcome> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
    Ok(if status.success() { Outcome::Passed } else { Outcome::Failed(status.to_string()) })
}

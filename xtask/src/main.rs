//! The project's own chores: `ci`, `tidy`, `codegen`.

mod ci;
mod codegen;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use lexopt::Arg;

const USAGE: &str = "\
usage: cargo xtask <chore>

  ci                  every check there is
  tidy                the rules of the house that no compiler knows: layers, lengths, leftovers
  codegen [--check]   write crates/proto/src/generated from crates/proto/proto,
                      or only say whether it is up to date
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut parser = lexopt::Parser::from_env();
    let mut chore = None;
    let mut check = false;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Value(name) if chore.is_none() => chore = Some(name),
            Arg::Long("check") => check = true,
            Arg::Long("help") | Arg::Short('h') => {
                eprint!("{USAGE}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let root = repository_root()?;
    match chore.as_ref().and_then(|name| name.to_str()) {
        Some("ci") => ci::run(&root),
        Some("tidy") => tidy::run(&root),
        Some("codegen") => codegen::run(&root, check),
        Some(name) => bail!("no such chore: {name}\n{USAGE}"),
        None => bail!("which chore?\n{USAGE}"),
    }
}

/// The folder of the root manifest: xtask lies right below it.
fn repository_root() -> anyhow::Result<PathBuf> {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(xtask.parent().context("xtask has no parent folder")?.to_owned())
}

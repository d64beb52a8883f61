//! `cargo xtask tidy`: the house rules that no compiler knows.
//!
//! It reads files and nothing else, so it takes a blink and may run on every save. Each rule is a
//! function from a file to findings; a finding is one line, `file:line: what is wrong`.

mod layers;
mod mask;
mod ratchet;
mod source;
mod walk;

use std::fmt;
use std::path::Path;

use anyhow::bail;

use ratchet::Ratchet;

/// One violation of one rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// From 1.
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.what)
    }
}

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let files = walk::text_files(root)?;
    let mut ratchet = Ratchet::read(root)?;
    let mut findings = Vec::new();
    for file in &files {
        source::check(file, &mut ratchet, &mut findings);
    }
    layers::check(&files, &mut findings);
    ratchet.finish(&mut findings);
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("tidy: {count} findings in {} files", files.len()),
    }
}

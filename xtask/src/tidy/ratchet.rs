//! What is allowed to be too long for now: a list that may only shrink.
//!
//! A line of `xtask/tidy-exceptions.txt` is `<path> fn <name> <lines>` or `<path> file <lines>`.
//! Growing past the number listed is a finding, and so is a number that has become too large: the
//! list follows every improvement down.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::Finding;

pub(crate) const LIST: &str = "xtask/tidy-exceptions.txt";

/// Path and `fn <name>` or `file`.
type Thing = (String, String);

pub(crate) struct Ratchet {
    /// Lines allowed, and where the list says so.
    allowed: BTreeMap<Thing, (usize, usize)>,
    /// The longest of each thing on the list that was too long.
    seen: BTreeMap<Thing, usize>,
}

impl Ratchet {
    pub(crate) fn read(root: &Path) -> anyhow::Result<Ratchet> {
        let text = match fs::read_to_string(root.join(LIST)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context(LIST),
        };
        Ratchet::parse(&text)
    }

    /// Nothing is allowed.
    #[cfg(test)]
    pub(crate) fn none() -> Ratchet {
        Ratchet { allowed: BTreeMap::new(), seen: BTreeMap::new() }
    }

    fn parse(text: &str) -> anyhow::Result<Ratchet> {
        let mut allowed = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed = line.split_once(' ').and_then(|(path, rest)| {
                let (kind, lines) = rest.rsplit_once(' ')?;
                Some(((path.to_owned(), kind.to_owned()), lines.parse().ok()?))
            });
            let (thing, lines) =
                parsed.with_context(|| format!("{LIST}:{}: not an exception: {line}", at + 1))?;
            allowed.insert(thing, (lines, at + 1));
        }
        Ok(Ratchet { allowed, seen: BTreeMap::new() })
    }

    /// Whether `lines` of something that is too long may pass.
    pub(crate) fn permits(&mut self, path: &str, kind: &str, lines: usize) -> bool {
        let thing = (path.to_owned(), kind.to_owned());
        let Some(&(allowed, _)) = self.allowed.get(&thing) else { return false };
        let longest = self.seen.entry(thing).or_default();
        *longest = lines.max(*longest);
        lines <= allowed
    }

    /// Reports what the list allows beyond need.
    pub(crate) fn finish(&self, findings: &mut Vec<Finding>) {
        for (thing, &(allowed, line)) in &self.allowed {
            let what = match self.seen.get(thing) {
                None => "no longer too long: take it off the list".to_owned(),
                Some(&longest) if longest < allowed => {
                    format!("has {longest} lines now: list that")
                }
                Some(_) => continue,
            };
            findings.push(Finding {
                path: LIST.to_owned(),
                line,
                what: format!("{} {}: {what}", thing.0, thing.1),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ratchet;

    #[test]
    fn the_list_holds_and_shrinks() {
        let mut ratchet = Ratchet::parse("# why\na.rs fn f 80\na.rs file 900\nb.rs fn g 75\n")
            .expect("the list is well formed");
        assert!(ratchet.permits("a.rs", "fn f", 80));
        assert!(!ratchet.permits("a.rs", "fn f", 81), "it may not grow");
        assert!(!ratchet.permits("a.rs", "fn g", 71), "it is not on the list");
        assert!(ratchet.permits("a.rs", "file", 850));
        let mut findings = Vec::new();
        ratchet.finish(&mut findings);
        let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            findings,
            [
                "xtask/tidy-exceptions.txt:3: a.rs file: has 850 lines now: list that",
                "xtask/tidy-exceptions.txt:4: b.rs fn g: no longer too long: take it off the list",
            ]
        );
    }

    #[test]
    fn a_line_that_says_nothing_is_an_error() {
        assert!(Ratchet::parse("a.rs fn f\n").is_err());
        assert!(Ratchet::parse("a.rs\n").is_err());
    }
}

//! Which files are ours to check.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// A text file and its path from the root, with `/` between the parts.
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Kinds of file that people write by hand here. Golden files and fixtures are what they are.
const KINDS: [&str; 8] = ["rs", "proto", "toml", "md", "yml", "yaml", "sh", "service"];

/// Folders with a leading dot that are the project's all the same.
const DOTTED: [&str; 3] = [".cargo", ".ci", ".github"];

/// All files below `root` that the rules are about, in the order of their paths.
pub(crate) fn text_files(root: &Path) -> anyhow::Result<Vec<TextFile>> {
    let mut files = Vec::new();
    collect(root, "", &mut files)?;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<TextFile>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let hidden = name.starts_with('.') && !DOTTED.contains(&name.as_str());
            if !hidden && name != "target" && name != "fixtures" {
                collect(&entry.path(), &format!("{path}/"), files)?;
            }
        } else if kind.is_file() && is_text(&path) {
            let text =
                fs::read_to_string(entry.path()).with_context(|| format!("reading {path}"))?;
            files.push(TextFile { path, text });
        }
    }
    Ok(())
}

fn is_text(path: &str) -> bool {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|extension| KINDS.contains(&extension)) || path == ".ci/run"
}

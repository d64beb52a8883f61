//! Golden scripts: `tests/scripts/*.txt`, played and compared word for word.
//!
//! `RAFT_BLESS=1 cargo test -p raft` writes what our code puts out; read the difference before you
//! commit it.

#[path = "../../examples/raft-script/runner/mod.rs"]
pub(crate) mod runner;

use std::fs;
use std::path::Path;

#[test]
fn scripts_play_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "scripts are missing");
    let mut different = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let played = runner::play(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        if played == text {
            continue;
        }
        if std::env::var_os("RAFT_BLESS").is_some() {
            fs::write(&path, played).unwrap();
            continue;
        }
        let at = text.lines().zip(played.lines()).position(|(a, b)| a != b).unwrap_or_default();
        let line = |text: &str| text.lines().nth(at).unwrap_or("").to_string();
        different.push(format!(
            "{name}:{}\n  expected {}\n  played   {}",
            at + 1,
            line(&text),
            line(&played)
        ));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

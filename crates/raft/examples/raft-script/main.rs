//! `raft-script [--trace FILE] SCRIPT`: plays a script of cluster commands and prints what happens.
//!
//! The script is in the format of etcd-io/raft's interaction tests: a command with arguments, its
//! input lines if any, `----`, and the expected output, which is ignored here. The printed trace
//! is the script again, with the output that our code gives.
//!
//! With `--trace` the events of etcd-io/raft's TLA+ specification are written to a file, one JSON
//! object a line, for its `validate.sh`.

mod runner;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (events_to, script) = match arguments.as_slice() {
        [script] => (None, script),
        [flag, file, script] if flag == "--trace" => (Some(file), script),
        _ => {
            eprintln!("usage: raft-script [--trace FILE] SCRIPT");
            return ExitCode::from(2);
        }
    };
    match play(script, events_to) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("raft-script: {}: {error}", script.display());
            ExitCode::FAILURE
        }
    }
}

fn play(script: &OsString, events_to: Option<&OsString>) -> Result<(), String> {
    let text = std::fs::read_to_string(script).map_err(|error| error.to_string())?;
    let output = match events_to {
        None => runner::play(&text)?,
        Some(file) => {
            let (output, events) = runner::play_traced(&text)?;
            let written = std::fs::write(file, events);
            written.map_err(|error| format!("{}: {error}", file.display()))?;
            output
        }
    };
    std::io::stdout().write_all(output.as_bytes()).map_err(|error| error.to_string())
}

//! `raft-script FILE`: plays a script of cluster commands and prints what happens.
//!
//! The script is in the format of etcd-io/raft's interaction tests: a command with arguments, its
//! input lines if any, `----`, and the expected output, which is ignored here. The printed trace
//! is the script again, with the output that our code gives.

mod runner;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: raft-script FILE");
        return ExitCode::from(2);
    };
    let played = std::fs::read_to_string(&path)
        .map_err(|error| error.to_string())
        .and_then(|text| runner::play(&text));
    match played {
        Ok(trace) => match std::io::stdout().write_all(trace.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("raft-script: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

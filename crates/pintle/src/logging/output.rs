//! Where lines go.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use env::Clock;

use super::LogConfig;
use super::config::JOURNAL;
use super::journal::{self, Journal};
use super::rotation::RotatingFile;

/// The places that get every line. A line is one write, so that lines of several processes in one
/// file do not mix.
#[derive(Debug)]
pub(super) struct Outputs {
    all: Vec<Output>,
}

#[derive(Debug)]
enum Output {
    Stderr,
    Stdout,
    File(Mutex<File>),
    Rotating(Mutex<RotatingFile>),
    Journal(Journal),
    #[cfg(test)]
    Memory(Arc<Mutex<Vec<u8>>>),
}

impl Outputs {
    pub(super) fn stderr() -> Outputs {
        Outputs { all: vec![Output::Stderr] }
    }

    #[cfg(test)]
    pub(super) fn memory(bytes: Arc<Mutex<Vec<u8>>>) -> Outputs {
        Outputs { all: vec![Output::Memory(bytes)] }
    }

    pub(super) fn open(config: &LogConfig, clock: &Arc<dyn Clock>) -> Result<Outputs, String> {
        // As in etcd, "default" is standard error, and naming a place twice writes once.
        let mut names: Vec<&str> = config.outputs.iter().map(String::as_str).collect();
        for name in &mut names {
            if *name == "default" {
                *name = "stderr";
            }
        }
        names.sort_unstable();
        names.dedup();
        if names.contains(&"/dev/null") {
            names = vec!["/dev/null"];
        }
        let all = names.into_iter().map(|name| match name {
            "stderr" => Ok(Output::Stderr),
            "stdout" => Ok(Output::Stdout),
            JOURNAL => Journal::open(journal::SOCKET).map(Output::Journal),
            path => match &config.rotation {
                Some(rotation) => {
                    let file = RotatingFile::new(path, rotation.clone(), Arc::clone(clock));
                    Ok(Output::Rotating(Mutex::new(file)))
                }
                None => open_file(path).map(|file| Output::File(Mutex::new(file))),
            },
        });
        Ok(Outputs { all: all.collect::<Result<_, String>>()? })
    }

    /// Writes a line everywhere. A place that fails loses the line: there is nowhere to say so.
    pub(super) fn write(&self, line: &[u8]) {
        for output in &self.all {
            let _ = output.write(line);
        }
    }
}

impl Output {
    fn write(&self, line: &[u8]) -> io::Result<()> {
        match self {
            Output::Stderr => io::stderr().lock().write_all(line),
            Output::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line)?;
                stdout.flush()
            }
            Output::File(file) => locked(file).write_all(line),
            Output::Rotating(file) => locked(file).write(line),
            Output::Journal(journal) => journal.write(line),
            #[cfg(test)]
            Output::Memory(bytes) => locked(bytes).write_all(line),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_file(name: &str) -> Result<File, String> {
    let path = name.strip_prefix("file://").unwrap_or(name);
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(Path::new(path))
        .map_err(|error| format!("open sink {name:?}: open {path}: {}", plain(&error)))
}

/// An operating system's error without Rust's number behind it.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

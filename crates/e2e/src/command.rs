//! Running a client program to its end, or as long as we like.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit code, or minus the signal that ended it.
    pub code: i32,
    /// All that it printed.
    pub stdout: String,
    /// All that it complained about.
    pub stderr: String,
}

/// A command that runs.
///
/// Its outputs are files: a pipe that nobody reads would stop it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Starts it with this input; its outputs go to two files in `folder`.
    pub fn start(command: &mut Command, stdin: &str, folder: &Path) -> anyhow::Result<Self> {
        let stdout = unused(folder, "stdout");
        let stderr = unused(folder, "stderr");
        command.stdin(Stdio::piped());
        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        let child = command.spawn();
        let mut child = child.with_context(|| format!("starting {:?}", command.get_program()))?;
        let mut input = child.stdin.take().context("the input is a pipe")?;
        // A program may end without reading it all.
        let _ = input.write_all(stdin.as_bytes());
        drop(input);
        Ok(Self { child, stdout, stderr })
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        read(&self.stdout)
    }

    /// What it has complained about so far.
    pub fn complained(&self) -> String {
        read(&self.stderr)
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Interrupts it as Ctrl-C does, and waits for its end.
    pub fn interrupt(self) -> anyhow::Result<Outcome> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process has an id")?, Signal::INT)?;
        self.wait(Duration::from_secs(10))
    }

    /// Waits for its end; kills it after `limit`.
    pub fn wait(mut self, limit: Duration) -> anyhow::Result<Outcome> {
        let status = match wait::until(limit, || self.child.try_wait().transpose()) {
            Some(status) => status?,
            None => {
                self.child.kill()?;
                self.child.wait()?
            }
        };
        let (stdout, stderr) = (read(&self.stdout), read(&self.stderr));
        Ok(Outcome { code: code_of(status), stdout, stderr })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended, which is what we want of it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.stdout);
        let _ = std::fs::remove_file(&self.stderr);
    }
}

/// Runs a command to its end, at most a minute.
pub fn run(command: &mut Command, stdin: &str, folder: &Path) -> anyhow::Result<Outcome> {
    Running::start(command, stdin, folder)?.wait(Duration::from_secs(60))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn code_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or(status.signal().map(|signal| -signal)).unwrap_or(-1)
}

fn unused(folder: &Path, kind: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    folder.join(format!("{kind}-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

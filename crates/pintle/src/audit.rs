//! Writes the audit log: a thread that takes lines from the calls and puts them into a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use api::{Audit, AuditFilter, AuditLine, Services};
use env::RealClock;

use crate::config::Config;
use crate::logging::RotatingFile;

/// How soon the thread sees that it is to end.
const PATIENCE: Duration = Duration::from_millis(100);

/// The thread that writes. Dropping it writes what waits, and ends it.
#[derive(Debug)]
pub(crate) struct Writer {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A thread that panics has ended the process.
            let _ = thread.join();
        }
    }
}

/// Opens the audit log, where one is wanted. A file that cannot be written ends the start.
pub(crate) fn open(config: &Config, services: &Services) -> anyhow::Result<Option<Writer>> {
    let Some(wanted) = &config.own.audit_log else { return Ok(None) };
    let clock = Arc::new(RealClock::new());
    let mut file = RotatingFile::new(&wanted.path, wanted.rotation.clone(), clock);
    file.write(b"").with_context(|| format!("audit log {}", wanted.path.display()))?;
    let prefixes = wanted.prefixes.iter().map(|prefix| prefix.clone().into()).collect();
    let (audit, lines) = Audit::open(AuditFilter { methods: wanted.methods.clone(), prefixes });
    services.audit(audit);
    let ends = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ends);
    let thread = std::thread::Builder::new().name("audit".to_owned());
    let thread = thread.spawn(move || write(&mut file, &lines, &seen))?;
    Ok(Some(Writer { ends, thread: Some(thread) }))
}

fn write(file: &mut RotatingFile, lines: &Receiver<AuditLine>, ends: &AtomicBool) {
    let mut failing = false;
    loop {
        // Asked before: what came until then is still written.
        let last = ends.load(Ordering::Acquire);
        match lines.recv_timeout(PATIENCE) {
            Ok(mut line) => {
                line.push('\n');
                let failed = file.write(line.as_bytes()).err();
                if let Some(error) = failed.as_ref().filter(|_| !failing) {
                    tracing::error!(error = error.to_string(), "failed to write the audit log");
                }
                failing = failed.is_some();
            }
            Err(RecvTimeoutError::Timeout) if !last => {}
            Err(_) => return,
        }
    }
}

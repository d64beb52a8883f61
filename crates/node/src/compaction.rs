//! The thread that carries out compactions, in small steps with pauses between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use mvcc::{CompactJob, Progress};
use tokio::sync::watch;

use crate::metrics;

/// How long a job waits for readers of what it is to drop.
const RETRY: Duration = Duration::from_millis(10);

/// Hands jobs to the thread. What is not done when the member stops is taken up at the next start.
#[derive(Debug)]
pub(crate) struct Compactions {
    jobs: Mutex<Option<mpsc::Sender<CompactJob>>>,
    stop: Arc<AtomicBool>,
    finished: watch::Receiver<i64>,
}

/// How the thread works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Keys or records in one step.
    pub(crate) batch: usize,
    /// Between two steps.
    pub(crate) pause: Duration,
}

impl Compactions {
    /// Starts the thread; compactions up to `finished` are done. `failed` is told
    /// what ends it before its time.
    pub(crate) fn start(
        pace: Pace,
        finished: i64,
        failed: impl Fn(mvcc::Error) + Send + 'static,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, inbox) = mpsc::channel::<CompactJob>();
        let (done, finished) = watch::channel(finished);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let join = std::thread::Builder::new().name("compaction".to_owned()).spawn(move || {
            while let Ok(job) = inbox.recv() {
                let revision = job.revision();
                match run(job, pace, &stopped) {
                    Ok(true) => done.send_modify(|finished| *finished = revision.max(*finished)),
                    Ok(false) => return,
                    Err(error) => return failed(error),
                }
            }
        })?;
        Ok((Self { jobs: Mutex::new(Some(jobs)), stop, finished }, join))
    }

    /// Queues a job.
    pub(crate) fn add(&self, job: CompactJob) {
        if let Some(jobs) = &*self.jobs() {
            // The thread is gone only where the member has failed.
            let _ = jobs.send(job);
        }
    }

    /// Ends the thread after the step that it is at.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.jobs().take();
    }

    fn jobs(&self) -> MutexGuard<'_, Option<mpsc::Sender<CompactJob>>> {
        self.jobs.lock().expect("no holder of this lock panics")
    }

    /// The revision of the newest finished compaction.
    pub(crate) fn finished(&self) -> watch::Receiver<i64> {
        self.finished.clone()
    }
}

/// Whether the job was done to its end.
fn run(mut job: CompactJob, pace: Pace, stop: &AtomicBool) -> Result<bool, mvcc::Error> {
    while !stop.load(Ordering::Acquire) {
        let timer = metrics::COMPACTION_PAUSE.start_timer();
        let before = job.deleted();
        let progress = job.step(pace.batch)?;
        // The name says milliseconds.
        metrics::COMPACTION_PAUSE.observe(timer.stop_and_discard() * 1000.0);
        metrics::COMPACTED_KEYS.inc_by((job.deleted() - before) as u64);
        match progress {
            Progress::More => std::thread::park_timeout(pace.pause),
            Progress::Waiting => std::thread::park_timeout(RETRY),
            Progress::Done => {
                tracing::info!(
                    "compact-revision" = job.revision(),
                    "number-of-keys-compacted" = job.deleted(),
                    hash = job.hash().map(|hash| hash.hash),
                    "finished scheduled compaction"
                );
                return Ok(true);
            }
        }
    }
    Ok(false)
}

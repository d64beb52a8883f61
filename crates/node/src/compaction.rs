//! The thread that carries out compactions, in small steps with pauses between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use env::Clock;
use mvcc::{Backend, CompactJob, Progress};
use tokio::sync::watch;

use crate::{humane_bytes, metrics};

/// How long a job waits for readers of what it is to drop.
const RETRY: Duration = Duration::from_millis(10);

/// Hands jobs to the thread. What is not done when the member stops is taken up at the next start.
#[derive(Debug)]
pub(crate) struct Compactions {
    jobs: Mutex<Option<mpsc::Sender<CompactJob>>>,
    stop: Arc<AtomicBool>,
    /// To be woken from its rest.
    thread: Thread,
    finished: watch::Sender<i64>,
    site: Site,
}

/// Where the thread works.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    clock: Arc<dyn Clock>,
    backend: Arc<Mutex<Backend>>,
}

impl Site {
    pub(crate) fn new(clock: Arc<dyn Clock>, backend: Backend) -> Self {
        Self { clock, backend: Arc::new(Mutex::new(backend)) }
    }

    fn backend(&self) -> MutexGuard<'_, Backend> {
        self.backend.lock().expect("no holder of this lock panics")
    }
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
        site: Site,
        finished: i64,
        failed: impl Fn(mvcc::Error) + Send + 'static,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, inbox) = mpsc::channel::<CompactJob>();
        let finished = watch::Sender::new(finished);
        let (done, place) = (finished.clone(), site.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let join = std::thread::Builder::new().name("compaction".to_owned()).spawn(move || {
            while let Ok(job) = inbox.recv() {
                let revision = job.revision();
                match run(job, pace, &site, &stopped) {
                    Ok(true) => done.send_modify(|finished| *finished = revision.max(*finished)),
                    Ok(false) => return,
                    Err(error) => return failed(error),
                }
            }
        })?;
        let (jobs, thread) = (Mutex::new(Some(jobs)), join.thread().clone());
        Ok((Self { jobs, stop, thread, finished, site: place }, join))
    }

    /// Queues a job.
    pub(crate) fn add(&self, job: CompactJob) {
        if let Some(jobs) = &*self.jobs() {
            // The thread is gone only where the member has failed.
            let _ = jobs.send(job);
        }
    }

    /// The state was replaced: in the new one, what lies before `done` is compacted.
    pub(crate) fn replace(&self, backend: Backend, done: Option<i64>) {
        *self.site.backend() = backend;
        if let Some(done) = done {
            self.finished.send_modify(|finished| *finished = done.max(*finished));
        }
    }

    /// Ends the thread after the step that it is at.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.jobs().take();
        self.thread.unpark();
    }

    fn jobs(&self) -> MutexGuard<'_, Option<mpsc::Sender<CompactJob>>> {
        self.jobs.lock().expect("no holder of this lock panics")
    }

    /// The revision of the newest finished compaction.
    pub(crate) fn finished(&self) -> watch::Receiver<i64> {
        self.finished.subscribe()
    }
}

/// Whether the job was done to its end.
fn run(
    mut job: CompactJob,
    pace: Pace,
    site: &Site,
    stop: &AtomicBool,
) -> Result<bool, mvcc::Error> {
    let begun = site.clock.now();
    let mut in_index = true;
    while !stop.load(Ordering::Acquire) {
        let timer = metrics::COMPACTION_PAUSE.start_timer();
        let before = job.deleted();
        let progress = job.step(pace.batch)?;
        // The name says milliseconds.
        metrics::COMPACTION_PAUSE.observe(timer.stop_and_discard() * 1000.0);
        metrics::COMPACTED_KEYS.inc_by((job.deleted() - before) as u64);
        if in_index && !job.is_in_index() {
            in_index = false;
            metrics::INDEX_COMPACTION_PAUSE.observe(millis(site.clock.now() - begun));
            tracing::info!(revision = job.revision(), "compact tree index");
        }
        match progress {
            Progress::More => std::thread::park_timeout(pace.pause),
            Progress::Waiting => std::thread::park_timeout(RETRY),
            Progress::Done => {
                let took = site.clock.now() - begun;
                metrics::COMPACTION_TOTAL.observe(millis(took));
                metrics::COMPACTION_LAST.set(site.clock.unix().as_secs() as f64);
                let backend = site.backend().clone();
                tell_finished(&job, took, &backend);
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn tell_finished(job: &CompactJob, took: Duration, backend: &Backend) {
    let (size, in_use) = (backend.db().size(), backend.db().size_in_use());
    let hash = job.hash();
    tracing::info!(
        "compact-revision" = job.revision(),
        took = ?took,
        "number-of-keys-compacted" = job.deleted(),
        hash = hash.as_ref().map(|hash| hash.hash),
        "current-db-size-bytes" = size,
        "current-db-size" = humane_bytes(size),
        "current-db-size-in-use-bytes" = in_use,
        "current-db-size-in-use" = humane_bytes(in_use),
        "finished scheduled compaction"
    );
    if let Some(hash) = hash {
        tracing::info!(
            hash = hash.hash,
            revision = hash.revision,
            "compact-revision" = hash.compact_revision,
            "storing new hash"
        );
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

//! The thread that brings applied changes into the db file, and keeps the file small.
//!
//! The log makes a change durable long before it gets here: this thread is never waited for on
//! the way of a request, and a crash before its commit costs only a longer replay.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use mvcc::Backend;
use tokio::sync::{oneshot, watch};

use crate::metrics;

/// Pages that one step of the vacuum moves: a fraction of a millisecond of writing.
const VACUUM_PAGES: usize = 64;

/// The handle of the thread. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    todo: Mutex<Todo>,
    changed: Condvar,
    commits: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Todo {
    sealed: bool,
    stop: bool,
    vacuums: Vec<oneshot::Sender<Result<(), String>>>,
}

impl Committer {
    /// Starts the thread. `done` is called after each commit, and once with the failure that
    /// ends it.
    pub(crate) fn start(
        backend: Backend,
        done: impl Fn(Result<(), String>) + Send + 'static,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let shared = Arc::new(Shared {
            todo: Mutex::default(),
            changed: Condvar::new(),
            commits: watch::Sender::new(0),
        });
        let this = Self { shared };
        let thread = this.clone();
        let join = std::thread::Builder::new()
            .name("db".to_owned())
            .spawn(move || thread.run(&backend, &done))?;
        Ok((this, join))
    }

    /// There is a sealed buffer to commit.
    pub(crate) fn sealed(&self) {
        self.todo().sealed = true;
        self.shared.changed.notify_one();
    }

    /// Makes the file as small as it can be; answered when that is done.
    pub(crate) fn vacuum(&self) -> oneshot::Receiver<Result<(), String>> {
        let (answer, done) = oneshot::channel();
        self.todo().vacuums.push(answer);
        self.shared.changed.notify_one();
        done
    }

    /// Ends the thread once what is sealed is committed.
    pub(crate) fn stop(&self) {
        self.todo().stop = true;
        self.shared.changed.notify_one();
    }

    /// Counts commits, for those who wait for one.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.shared.commits.subscribe()
    }

    fn todo(&self) -> MutexGuard<'_, Todo> {
        self.shared.todo.lock().expect("no holder of this lock panics")
    }

    fn next(&self) -> Todo {
        let mut todo = self.todo();
        loop {
            if todo.sealed || todo.stop || !todo.vacuums.is_empty() {
                let stop = todo.stop;
                let next = std::mem::take(&mut *todo);
                todo.stop = stop;
                return next;
            }
            todo = self.shared.changed.wait(todo).expect("no holder of this lock panics");
        }
    }

    fn run(&self, backend: &Backend, done: &impl Fn(Result<(), String>)) {
        loop {
            let todo = self.next();
            if todo.sealed && !self.commit(backend, done) {
                return;
            }
            for answer in todo.vacuums {
                // Whoever asked may have gone away.
                let _ = answer.send(self.vacuum_all(backend, done));
            }
            if todo.stop && !self.todo().sealed {
                return;
            }
        }
    }

    /// Commits go on between the steps.
    fn vacuum_all(
        &self,
        backend: &Backend,
        done: &impl Fn(Result<(), String>),
    ) -> Result<(), String> {
        loop {
            let step = backend.db().vacuum(VACUUM_PAGES).map_err(|error| error.to_string())?;
            if !step.more {
                return Ok(());
            }
            let sealed = std::mem::take(&mut self.todo().sealed);
            if sealed && !self.commit(backend, done) {
                return Err("the db file cannot be written".to_owned());
            }
        }
    }

    fn commit(&self, backend: &Backend, done: &impl Fn(Result<(), String>)) -> bool {
        let timer = metrics::BACKEND_COMMIT.start_timer();
        let committed = backend.commit_sealed().map_err(|error| error.to_string());
        timer.observe_duration();
        let went_well = committed.is_ok();
        // First what `done` tells, then the wake-up: who wakes looks at it, and waits for ever
        // where it does not find this commit there.
        done(committed.map(drop));
        self.shared.commits.send_modify(|count| *count += 1);
        went_well
    }
}

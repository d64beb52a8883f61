//! The thread that brings applied changes into the db file, and keeps the file small.
//!
//! The log makes a change durable long before it gets here: this thread is never waited for on
//! the way of a request, and a crash before its commit costs only a longer replay.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use env::Clock;
use mvcc::Backend;
use tokio::sync::{oneshot, watch};

use crate::metrics;
use crate::vacuum::{LEAST_BYTES, Vacuum, step_pages};

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
    /// The thread is gone.
    closed: bool,
    vacuums: Vec<oneshot::Sender<Result<(), String>>>,
    /// The db file that takes the place of the one before.
    replaced: Option<Backend>,
}

/// What the thread works on.
struct Worker<D> {
    committer: Committer,
    backend: Backend,
    clock: Arc<dyn Clock>,
    vacuum: Vacuum,
    done: D,
}

impl Committer {
    /// Starts the thread. `done` is called after each commit, and once with the failure that
    /// ends it.
    pub(crate) fn start<D>(
        backend: Backend,
        clock: Arc<dyn Clock>,
        done: D,
    ) -> std::io::Result<(Self, JoinHandle<()>)>
    where
        D: Fn(Result<(), String>) + Send + 'static,
    {
        let shared = Arc::new(Shared {
            todo: Mutex::default(),
            changed: Condvar::new(),
            commits: watch::Sender::new(0),
        });
        let this = Self { shared };
        let vacuum = Vacuum::new(LEAST_BYTES);
        let worker = Worker { committer: this.clone(), backend, clock, vacuum, done };
        let join = std::thread::Builder::new().name("db".to_owned()).spawn(move || worker.run())?;
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
        let mut todo = self.todo();
        if !todo.closed {
            todo.vacuums.push(answer);
        }
        drop(todo);
        self.shared.changed.notify_one();
        done
    }

    /// Another db file takes the place of the one before. What that one lacks is of no use.
    pub(crate) fn replace(&self, backend: Backend) {
        let mut todo = self.todo();
        todo.replaced = Some(backend);
        todo.sealed = false;
        drop(todo);
        self.shared.changed.notify_one();
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

    /// What there is to do; nothing where that was long enough in coming.
    fn next(&self, patience: Option<Duration>) -> Todo {
        let idle = |todo: &mut Todo| {
            !(todo.sealed || todo.stop || !todo.vacuums.is_empty() || todo.replaced.is_some())
        };
        let (todo, changed) = (self.todo(), &self.shared.changed);
        let poisoned = "no holder of this lock panics";
        let mut todo = match patience {
            Some(time) => changed.wait_timeout_while(todo, time, idle).expect(poisoned).0,
            None => changed.wait_while(todo, idle).expect(poisoned),
        };
        let stop = todo.stop;
        let next = std::mem::take(&mut *todo);
        todo.stop = stop;
        next
    }

    fn take_sealed(&self) -> bool {
        std::mem::take(&mut self.todo().sealed)
    }
}

/// The file cannot be written, and the member was told.
struct Failed;

impl<D: Fn(Result<(), String>)> Worker<D> {
    fn run(mut self) {
        // The member was told.
        let _ = self.work();
        let mut todo = self.committer.todo();
        todo.closed = true;
        // Who waits for these hears that it is over.
        todo.vacuums.clear();
    }

    fn work(&mut self) -> Result<(), Failed> {
        loop {
            let now = self.clock.now();
            let due = self.vacuum.due(now, self.backend.db());
            let todo = self.committer.next(due.map(|due| due.saturating_sub(now)));
            if let Some(backend) = todo.replaced {
                self.backend = backend;
                // Who waits for a commit of the one before looks again.
                self.committer.shared.commits.send_modify(|count| *count += 1);
            }
            if todo.sealed {
                self.commit()?;
            }
            for answer in todo.vacuums {
                let done = self.vacuum_all()?;
                // Whoever asked may have gone away.
                let _ = answer.send(done);
            }
            if todo.stop && !self.committer.todo().sealed {
                return Ok(());
            }
            let stepped = self.vacuum.step(self.backend.db(), || self.clock.now());
            stepped.map_err(|error| self.fail(&error))?;
        }
    }

    /// Commits go on between the steps.
    fn vacuum_all(&self) -> Result<Result<(), String>, Failed> {
        loop {
            match self.backend.db().vacuum(step_pages(self.backend.db())) {
                Ok(step) if !step.more => return Ok(Ok(())),
                Ok(_) => {}
                Err(error) if error.is_write_failure() && !error.is_disk_full() => {
                    return Err(self.fail(&error));
                }
                Err(error) => return Ok(Err(error.to_string())),
            }
            if self.committer.take_sealed() {
                self.commit()?;
            }
        }
    }

    fn commit(&self) -> Result<(), Failed> {
        let timer = metrics::BACKEND_COMMIT.start_timer();
        let committed = self.backend.commit_sealed();
        timer.observe_duration();
        match committed {
            Ok(_) => {
                // First what `done` tells, then the wake-up: who wakes looks at it, and waits for
                // ever where it does not find this commit there.
                (self.done)(Ok(()));
                self.committer.shared.commits.send_modify(|count| *count += 1);
                Ok(())
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    fn fail(&self, error: &bolt::Error) -> Failed {
        (self.done)(Err(error.to_string()));
        self.committer.shared.commits.send_modify(|count| *count += 1);
        Failed
    }
}

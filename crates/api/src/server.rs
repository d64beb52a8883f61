//! The threads that serve clients: one runtime per core, connections handed out in turn.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use net::{BoundSocket, Connection, ConnectionLimit, Listener, LocalAddress, Secured, Security};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::door::{self, Offer, Via};
use crate::host::Host;
use crate::service::Services;

/// Connections that a worker has not picked up yet; more are closed at once.
const INBOX_CONNECTIONS: usize = 4096;
/// After a failed accept (too many open files), how long to leave the listener alone.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket cannot be had, or not asked for its address.
    #[error("cannot listen on a bound socket: {0}")]
    Socket(#[from] io::Error),
    /// The server goes down.
    #[error("the server is stopping")]
    Stopping,
}

/// The client side of a member: accepts connections and answers calls until it is stopped.
pub struct Server<H = Services> {
    host: Arc<H>,
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    inbox: mpsc::Sender<Task>,
    runtime: Handle,
    thread: JoinHandle<()>,
}

/// What a listener offers, and how it is guarded.
#[derive(Debug, Clone)]
struct Door {
    offer: Offer,
    security: Security,
}

/// What a worker is given to do.
#[derive(Debug)]
enum Task {
    Listen { listener: Listener, door: Door, everybody: Vec<mpsc::Sender<Task>> },
    Serve { connection: Connection, door: Door },
}

impl<H: Host> Server<H> {
    /// Starts `threads` runtimes. When the server is stopped, calls under way get `grace` to end.
    pub fn start(host: &Arc<H>, threads: usize, grace: Duration) -> io::Result<Self> {
        let mut workers = Vec::new();
        for number in 0..threads.max(1) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (inbox, tasks) = mpsc::channel(INBOX_CONNECTIONS);
            let (ours, stopped) = (Arc::clone(host), host.stop().subscribe());
            let handle = runtime.handle().clone();
            let thread = std::thread::Builder::new()
                .name(format!("api-{number}"))
                .spawn(move || runtime.block_on(work(ours, tasks, stopped, grace)))?;
            workers.push(Worker { inbox, runtime: handle, thread });
        }
        Ok(Self { host: Arc::clone(host), workers })
    }

    /// Serves what `offer` says to whoever connects. The answer is where the socket really
    /// listens, which a port of 0 leaves to the system.
    pub fn open(
        &self,
        socket: BoundSocket,
        limit: ConnectionLimit,
        offer: Offer,
        security: Security,
    ) -> Result<LocalAddress, ListenError> {
        let first = self.workers.first().ok_or(ListenError::Stopping)?;
        let listener = {
            let _entered = first.runtime.enter();
            socket.listen(limit)?
        };
        let address = listener.local_address()?;
        let everybody = self.workers.iter().map(|worker| worker.inbox.clone()).collect();
        let task = Task::Listen { listener, door: Door { offer, security }, everybody };
        first.inbox.try_send(task).map_err(|_| ListenError::Stopping)?;
        Ok(address)
    }

    /// Takes no more connections, ends streams, lets other calls end within the grace, and joins
    /// the threads.
    pub fn stop(self) {
        self.host.stop().send_replace(true);
        for worker in self.workers {
            drop(worker.inbox);
            worker.thread.join().expect("a panicking worker has ended the process");
        }
    }
}

async fn work<H: Host>(
    host: Arc<H>,
    mut tasks: mpsc::Receiver<Task>,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let stopped = stop.clone();
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(task) = tasks.recv() => {
                start(&host, &mut running, task, &stopped);
            }
            Some(_) = running.join_next(), if !running.is_empty() => {}
        }
    }
    let all_end = async { while running.join_next().await.is_some() {} };
    // What is not done by then ends with the runtime.
    let _ = tokio::time::timeout(grace, all_end).await;
}

fn start<H: Host>(
    host: &Arc<H>,
    running: &mut JoinSet<()>,
    task: Task,
    stop: &watch::Receiver<bool>,
) {
    match task {
        Task::Listen { listener, door, everybody } => {
            running.spawn(accept(listener, door, everybody, stop.clone()));
        }
        Task::Serve { connection, door } => {
            let Connection { stream, peer, permit } = connection;
            let Ok(stream) = stream.onto_current_runtime() else { return };
            let local = stream.local_address();
            let (host, mut stop) = (Arc::clone(host), stop.clone());
            running.spawn(async move {
                let secured = tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => None,
                    secured = door.security.secure(stream, peer) => secured,
                };
                if let Some(Secured { stream, is_tls, common_name }) = secured {
                    let via = Via { peer, local, is_tls, common_name, offer: door.offer };
                    door::serve(host, stream, via, stop).await;
                }
                drop(permit);
            });
        }
    }
}

async fn accept(
    listener: Listener,
    door: Door,
    workers: Vec<mpsc::Sender<Task>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut turn = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok(connection) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // A worker whose inbox is full is beyond help; the peer sees the connection close.
        let task = Task::Serve { connection, door: door.clone() };
        let _ = workers[turn % workers.len()].try_send(task);
        turn += 1;
    }
}

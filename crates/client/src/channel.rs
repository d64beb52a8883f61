use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::call::Call;
use crate::connection::{Connection, Metadata};
use crate::endpoint::Endpoint;
use crate::{Error, Tls};

/// How long an endpoint that could not be reached is left alone, at first and at most.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// Between rounds of asking everybody again.
const ROUND: Duration = Duration::from_millis(25);
/// How often a question is asked, as etcd's clients do it.
const ATTEMPTS: usize = 100;
/// What a server says that hears of no leader: worth one round, not a hundred attempts.
const NO_LEADER: &str = "etcdserver: no leader";

/// Whom to speak to, and within which limits.
#[derive(Debug, Clone)]
pub struct ChannelOptions {
    /// URLs, or `host:port` alone; there must be one.
    pub endpoints: Vec<String>,
    /// For connecting to one of them.
    pub dial_timeout: Duration,
    /// Between pings: never more often than every ten seconds, and 0 for none.
    pub keepalive_time: Duration,
    /// For the answer to a ping.
    pub keepalive_timeout: Duration,
    /// Whether pings go out while there are no calls.
    pub ping_idle: bool,
    /// TLS, where it is spoken.
    pub tls: Tls,
    /// The largest message that is sent.
    pub send_bytes: usize,
    /// The largest message that is taken.
    pub receive_bytes: usize,
}

/// Whether a call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It changes nothing: as often as it takes.
    Always,
    /// Only while it has reached nobody.
    Unsent,
}

/// Any number of calls at a time to a cluster, over a connection to each endpoint. Endpoints have
/// their turn one after the other; those that cannot be reached are passed over.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: ChannelOptions,
    /// Where connections live, whoever needs them.
    runtime: Handle,
    remotes: Mutex<Vec<Arc<Remote>>>,
    turn: AtomicUsize,
    /// Somebody was reached, or could not be.
    changed: Notify,
}

#[derive(Debug)]
struct Remote {
    endpoint: Endpoint,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Idle { failures: u32 },
    Dialling { failures: u32 },
    Ready(Arc<Connection>),
    Failed { failures: u32, until: Instant, error: Error },
}

impl Remote {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a connection that is of no use any more.
    fn forget(&self, connection: &Arc<Connection>) {
        let mut state = self.state();
        if let State::Ready(ours) = &*state
            && Arc::ptr_eq(ours, connection)
        {
            *state = State::Idle { failures: 0 };
        }
    }
}

type Reached = (Arc<Remote>, Arc<Connection>);

impl Channel {
    /// Reads the endpoints; connections are made when there is something to ask, on the runtime
    /// that this is called on.
    pub fn new(options: ChannelOptions) -> Result<Channel, Error> {
        let remotes = Mutex::new(remotes(&options.endpoints)?);
        let runtime = Handle::current();
        let (turn, changed) = (AtomicUsize::new(0), Notify::new());
        Ok(Channel { inner: Arc::new(Inner { options, runtime, remotes, turn, changed }) })
    }

    /// Goes on with these endpoints, and says whether they are others than before. Connections to
    /// those that stay are kept.
    pub fn set_endpoints(&self, endpoints: &[String]) -> Result<bool, Error> {
        let mut fresh = remotes(endpoints)?;
        let mut known = self.inner.remotes();
        let mut kept = 0;
        for remote in &mut fresh {
            if let Some(same) = known.iter().find(|same| same.endpoint == remote.endpoint) {
                *remote = Arc::clone(same);
                kept += 1;
            }
        }
        let changed = kept != fresh.len() || kept != known.len();
        *known = fresh;
        Ok(changed)
    }

    /// One message there, one back.
    pub async fn unary(
        &self,
        path: &str,
        metadata: &Metadata,
        message: &[u8],
        repeat: Repeat,
    ) -> Result<Bytes, Error> {
        let mut attempt = 0;
        loop {
            let mut call = self.stream(path, metadata).await?;
            self.check_sent(message)?;
            call.send_bytes(message, true)?;
            let error = match call.only_bytes().await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            attempt += 1;
            let everybody = self.inner.remotes().len();
            let patience = match &error {
                Error::Lost(_) => ATTEMPTS,
                Error::Status { code: Error::UNAVAILABLE, message } if message == NO_LEADER => {
                    everybody
                }
                Error::Status { code: Error::UNAVAILABLE, .. } => ATTEMPTS,
                _ => 0,
            };
            if repeat == Repeat::Unsent || attempt >= patience {
                return Err(error);
            }
            if attempt % everybody.max(1) == 0 {
                sleep(ROUND).await;
            }
        }
    }

    fn check_sent(&self, message: &[u8]) -> Result<(), Error> {
        let limit = self.inner.options.send_bytes;
        if message.len() > limit {
            return Err(Error::too_large("sent", message.len(), limit));
        }
        Ok(())
    }

    /// Begins a call, with whoever is there.
    pub async fn stream(&self, path: &str, metadata: &Metadata) -> Result<Call, Error> {
        let mut attempts = self.inner.remotes().len() + 1;
        loop {
            let (remote, connection) = Inner::reach(&self.inner).await?;
            attempts -= 1;
            match connection.call_as(path, metadata).await {
                Ok(mut call) => {
                    call.limit(self.inner.options.receive_bytes);
                    return Ok(call);
                }
                // Nothing of it was sent.
                Err(error) => {
                    remote.forget(&connection);
                    if attempts == 0 {
                        return Err(error);
                    }
                }
            }
        }
    }
}

fn remotes(endpoints: &[String]) -> Result<Vec<Arc<Remote>>, Error> {
    let remotes = endpoints.iter().map(|endpoint| {
        let state = Mutex::new(State::Idle { failures: 0 });
        Ok(Arc::new(Remote { endpoint: Endpoint::parse(endpoint)?, state }))
    });
    let remotes = remotes.collect::<Result<Vec<_>, Error>>()?;
    if remotes.is_empty() {
        let reason = "at least one is needed".to_owned();
        return Err(Error::Endpoint { endpoint: String::new(), reason });
    }
    Ok(remotes)
}

/// What a look at all endpoints has shown.
enum Look {
    Reached(Reached),
    Wait,
    Nobody(Error),
}

impl Inner {
    fn remotes(&self) -> MutexGuard<'_, Vec<Arc<Remote>>> {
        self.remotes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to whoever is next and can be reached.
    async fn reach(inner: &Arc<Self>) -> Result<Reached, Error> {
        loop {
            let changed = inner.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            match Self::look(inner) {
                Look::Reached(reached) => return Ok(reached),
                Look::Nobody(error) => return Err(error),
                Look::Wait => changed.await,
            }
        }
    }

    /// Whoever is not connected and not left alone is dialled beside.
    fn look(inner: &Arc<Self>) -> Look {
        let remotes = inner.remotes().clone();
        let first = inner.turn.fetch_add(1, Ordering::Relaxed);
        let (mut reached, mut wait, mut last) = (None, false, Error::Timeout);
        for step in 0..remotes.len() {
            let Some(remote) = remotes.get(first.wrapping_add(step) % remotes.len()) else {
                continue;
            };
            let mut state = remote.state();
            let failures = match &*state {
                State::Ready(connection) if !connection.is_closed() => {
                    reached.get_or_insert_with(|| (Arc::clone(remote), Arc::clone(connection)));
                    continue;
                }
                State::Dialling { .. } => {
                    wait = true;
                    continue;
                }
                State::Failed { until, error, .. } if *until > Instant::now() => {
                    last = error.clone();
                    continue;
                }
                State::Failed { failures, .. } | State::Idle { failures } => *failures,
                State::Ready(_) => 0,
            };
            *state = State::Dialling { failures };
            drop(state);
            wait = true;
            inner.runtime.spawn(Self::dial(Arc::clone(inner), Arc::clone(remote)));
        }
        match reached {
            Some(reached) => Look::Reached(reached),
            None if wait => Look::Wait,
            None => Look::Nobody(last),
        }
    }

    async fn dial(inner: Arc<Self>, remote: Arc<Remote>) {
        let Self { options, .. } = &*inner;
        let dialled =
            timeout(options.dial_timeout, Connection::dial(&remote.endpoint, &options.tls)).await;
        let dialled = dialled.unwrap_or_else(|_| {
            let endpoint = remote.endpoint.to_string();
            Err(Error::Unreachable { endpoint, reason: "i/o timeout".to_owned() })
        });
        let mut state = remote.state();
        *state = match dialled {
            Ok(mut connection) => {
                let ChannelOptions { keepalive_time, keepalive_timeout, ping_idle, .. } = *options;
                connection.ping_for_ever(keepalive_time, keepalive_timeout, ping_idle);
                State::Ready(Arc::new(connection))
            }
            Err(error) => {
                let failures = match *state {
                    State::Dialling { failures } => failures.saturating_add(1),
                    _ => 1,
                };
                let pause = PAUSE.saturating_mul(1 << failures.min(6)).min(PAUSE_MAX);
                State::Failed { failures, until: Instant::now() + pause, error }
            }
        };
        drop(state);
        inner.changed.notify_waiters();
    }
}

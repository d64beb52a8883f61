//! Takes connections and passes their bytes on.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use env::Random;
use tokio::io::copy;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval_at, sleep, timeout};

use super::endpoints::Endpoint;
use crate::command::{DIAL_PATIENCE, reason};
use crate::logging::Logger;

/// After a failed accept (too many open files), how long to leave the listener alone.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often those that failed are tried when nothing is said.
const DEFAULT_RETRY: Duration = Duration::from_secs(300);

/// An endpoint, and whether it was there last.
struct Remote {
    endpoint: Endpoint,
    inactive: AtomicBool,
}

impl Remote {
    fn is_active(&self) -> bool {
        !self.inactive.load(Ordering::Relaxed)
    }
}

/// Forwards to endpoints in turn, by priority and weight.
pub(super) struct Proxy {
    logger: Logger,
    remotes: Vec<Arc<Remote>>,
    retry: Duration,
    choice: Mutex<Choice>,
}

struct Choice {
    chance: Random,
    turn: usize,
}

impl Proxy {
    pub(super) fn new(
        logger: Logger,
        endpoints: Vec<Endpoint>,
        retry: Duration,
        chance: Random,
    ) -> Arc<Self> {
        let remotes = endpoints
            .into_iter()
            .map(|endpoint| Arc::new(Remote { endpoint, inactive: AtomicBool::new(false) }))
            .collect();
        let retry = if retry.is_zero() { DEFAULT_RETRY } else { retry };
        let choice = Mutex::new(Choice { chance, turn: 0 });
        Arc::new(Self { logger, remotes, retry, choice })
    }

    /// Serves for ever.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) -> Infallible {
        let addresses = self.remotes.iter().map(|remote| remote.endpoint.address());
        let line = self.logger.info("ready to proxy client requests");
        line.list("endpoints", addresses.collect::<Vec<_>>()).send();
        let mut serving = JoinSet::new();
        let mut retries = interval_at(tokio::time::Instant::now() + self.retry, self.retry);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => drop(serving.spawn(Arc::clone(&self).serve(client))),
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                },
                _ = retries.tick() => {
                    for remote in self.remotes.iter().filter(|remote| !remote.is_active()) {
                        serving.spawn(Arc::clone(&self).retry(Arc::clone(remote)));
                    }
                }
                Some(_) = serving.join_next(), if !serving.is_empty() => {}
            }
        }
    }

    async fn serve(self: Arc<Self>, mut client: TcpStream) {
        let Some(mut member) = self.connect().await else { return };
        let (mut from_client, mut to_client) = client.split();
        let (mut from_member, mut to_member) = member.split();
        // Whoever ends first ends both.
        tokio::select! {
            _ = copy(&mut from_client, &mut to_member) => {}
            _ = copy(&mut from_member, &mut to_client) => {}
        }
    }

    /// A connection to whoever is there.
    async fn connect(&self) -> Option<TcpStream> {
        loop {
            let remote = self.pick()?;
            let address = remote.endpoint.address();
            let error = match dial(&address).await {
                Ok(stream) => return Some(stream),
                Err(error) => error,
            };
            remote.inactive.store(true, Ordering::Relaxed);
            let line = self.logger.warn("deactivated endpoint").text("address", &address);
            line.duration("interval", self.retry).error(error).send();
        }
    }

    async fn retry(self: Arc<Self>, remote: Arc<Remote>) {
        let address = remote.endpoint.address();
        match dial(&address).await {
            Ok(_) => {
                remote.inactive.store(false, Ordering::Relaxed);
                self.logger.info("activated").text("address", &address).send();
            }
            Err(error) => {
                let message = "failed to activate endpoint (stay inactive for another interval)";
                let line = self.logger.warn(message).text("address", &address);
                line.duration("interval", self.retry).error(error).send();
            }
        }
    }

    /// Of those that are there and have the best priority, one by weight; those without a weight
    /// have their turn one after the other, and beside others seldom.
    fn pick(&self) -> Option<Arc<Remote>> {
        let active = || self.remotes.iter().filter(|remote| remote.is_active());
        let best = active().map(|remote| remote.endpoint.priority).min()?;
        let (weighted, unweighted): (Vec<_>, Vec<_>) = active()
            .filter(|remote| remote.endpoint.priority == best)
            .partition(|remote| remote.endpoint.weight > 0);
        let mut choice = self.choice.lock().expect("no holder of this lock panics");
        if weighted.is_empty() || (!unweighted.is_empty() && choice.chance.chance(1, 100)) {
            choice.turn = choice.turn.wrapping_add(1);
            return unweighted.get(choice.turn % unweighted.len()).map(|one| Arc::clone(one));
        }
        let weight = |remote: &Remote| u64::from(remote.endpoint.weight);
        let mut left = choice.chance.below(weighted.iter().map(|remote| weight(remote)).sum());
        for remote in weighted {
            match left.checked_sub(weight(remote)) {
                Some(rest) => left = rest,
                None => return Some(Arc::clone(remote)),
            }
        }
        None
    }
}

async fn dial(address: &str) -> Result<TcpStream, String> {
    match timeout(DIAL_PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("dial tcp {address}: connect: {}", reason(&error))),
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn endpoint(port: u16, priority: u16, weight: u16) -> Endpoint {
        Endpoint { host: "127.0.0.1".to_owned(), port, priority, weight }
    }

    fn proxy(endpoints: Vec<Endpoint>, retry: Duration) -> Arc<Proxy> {
        Proxy::new(Logger::memory().0, endpoints, retry, Random::new(7))
    }

    #[test]
    fn the_best_priority_has_it_by_weight() {
        let proxy = proxy(
            vec![endpoint(1, 1, 0), endpoint(2, 0, 30), endpoint(3, 0, 10), endpoint(4, 0, 0)],
            Duration::ZERO,
        );
        let picked = |proxy: &Proxy| {
            let mut counts = [0; 5];
            for _ in 0..4000 {
                counts[usize::from(proxy.pick().expect("somebody is there").endpoint.port)] += 1;
            }
            counts
        };
        let counts = picked(&proxy);
        assert!(counts[1] == 0 && (20..80).contains(&counts[4]), "{counts:?}");
        assert!((2700..3200).contains(&counts[2]), "{counts:?}");
        for remote in &proxy.remotes[1..] {
            remote.inactive.store(true, Ordering::Relaxed);
        }
        assert_eq!(picked(&proxy)[1], 4000);
        proxy.remotes[0].inactive.store(true, Ordering::Relaxed);
        assert!(proxy.pick().is_none());
    }

    #[tokio::test]
    async fn bytes_go_both_ways_to_whoever_is_there() {
        let member = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let gone_port = gone.local_addr().expect("is bound").port();
        drop(gone);
        let port = member.local_addr().expect("is bound").port();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let endpoints = vec![endpoint(gone_port, 0, 0), endpoint(port, 0, 0)];
        let proxy = proxy(endpoints, Duration::from_millis(10));
        let running = tokio::spawn(Arc::clone(&proxy).run(listener));
        for _ in 0..4 {
            let mut client = TcpStream::connect(address).await.expect("is taken");
            client.write_all(b"ping").await.expect("writes");
            let (mut served, _) = member.accept().await.expect("somebody comes");
            let mut heard = [0; 4];
            served.read_exact(&mut heard).await.expect("hears");
            served.write_all(&heard).await.expect("writes");
            client.read_exact(&mut heard).await.expect("hears");
            assert_eq!(&heard, b"ping");
            drop(served);
            assert_eq!(client.read(&mut heard).await.expect("is told"), 0);
        }
        // Who is back has its turn again.
        let back = TcpListener::bind(("127.0.0.1", gone_port)).await.expect("binds");
        let seen = timeout(Duration::from_secs(20), back.accept()).await;
        assert!(seen.is_ok(), "nobody has looked");
        running.abort();
    }
}

//! What lies between members: a proxy in front of each one's peer port, which can lose what one
//! member sends to another, or hold it up.
//!
//! ```text
//!   member 0 --dials--> proxy of 1 --dials--> peer port of 1
//!                        |
//!                        who is it? (the kernel knows), and what is between the two?
//! ```
//!
//! What goes over a cut link is held back and not lost, as TCP would send it again; neither end
//! hears of the cut. So no right is needed that a test does not have.

mod owner;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Two members by their places in the cluster: who sends, and to whom.
type Link = (usize, usize);

/// What is wrong with the links.
#[derive(Debug, Clone, Default)]
struct Weather {
    cut: BTreeSet<Link>,
    delays: BTreeMap<Link, Duration>,
}

/// All proxies of a cluster.
#[derive(Debug)]
pub(crate) struct Links {
    weather: watch::Sender<Weather>,
    /// The processes of the members, by their places.
    pids: Arc<Mutex<Vec<Option<u32>>>>,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self { weather: watch::Sender::new(Weather::default()), pids: Arc::default() }
    }

    /// Puts a proxy in front of the next member.
    pub(crate) fn add(
        &self,
        runtime: &Handle,
        front: SocketAddr,
        behind: SocketAddr,
    ) -> anyhow::Result<()> {
        let listener = runtime.block_on(TcpListener::bind(front));
        let listener = listener.context("listening for members")?;
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        let proxy = Proxy {
            to: pids.len(),
            behind,
            front,
            pids: self.pids.clone(),
            weather: self.weather.subscribe(),
        };
        pids.push(None);
        // It ends with the runtime.
        runtime.spawn(proxy.serve(listener));
        Ok(())
    }

    /// Tells which process a member is now.
    pub(crate) fn is_process(&self, at: usize, pid: Option<u32>) {
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = pids.get_mut(at) {
            *known = pid;
        }
    }

    /// Loses what `from` sends to `to`, until all is well again.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        self.weather.send_modify(|weather| _ = weather.cut.insert((from, to)));
    }

    /// Holds up what `from` sends to `to`: all that is read at once by so much.
    pub(crate) fn delay(&self, from: usize, to: usize, time: Duration) {
        self.weather.send_modify(|weather| _ = weather.delays.insert((from, to), time));
    }

    /// All is well again.
    pub(crate) fn heal(&self) {
        self.weather.send_replace(Weather::default());
    }
}

/// The way to one member.
#[derive(Debug, Clone)]
struct Proxy {
    to: usize,
    behind: SocketAddr,
    front: SocketAddr,
    pids: Arc<Mutex<Vec<Option<u32>>>>,
    weather: watch::Receiver<Weather>,
}

impl Proxy {
    async fn serve(self, listener: TcpListener) {
        loop {
            // What fails to be accepted is gone already.
            let Ok((client, address)) = listener.accept().await else { continue };
            let proxy = self.clone();
            // Either end may break off, and then so does the other.
            tokio::spawn(async move { proxy.pass(client, address).await.unwrap_or_default() });
        }
    }

    async fn pass(&self, client: TcpStream, address: SocketAddr) -> std::io::Result<()> {
        let Some(from) = self.member_at(address) else { return Ok(()) };
        let there = Way { link: (from, self.to), weather: self.weather.clone() };
        let back = Way { link: (self.to, from), weather: self.weather.clone() };
        if there.is_cut() || back.is_cut() {
            // Nobody is reached now; who gives up meanwhile shall not be heard of later.
            there.open().await;
            back.open().await;
            let ready = client.ready(Interest::READABLE);
            let ready = tokio::time::timeout(Duration::from_millis(1), ready).await;
            if ready.is_ok_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed())) {
                return Ok(());
            }
        }
        let server = TcpStream::connect(self.behind).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (client_reads, client_writes) = client.into_split();
        let (server_reads, server_writes) = server.into_split();
        let there = there.pump(client_reads, server_writes);
        tokio::try_join!(there, back.pump(server_reads, client_writes))?;
        Ok(())
    }

    /// Which member has dialled; none if it has ended, or is a stranger.
    fn member_at(&self, address: SocketAddr) -> Option<usize> {
        let inode = owner::socket_inode(address, self.front)?;
        let pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        pids.iter().position(|pid| pid.is_some_and(|pid| owner::has_socket(pid, inode)))
    }
}

/// One direction of a connection.
#[derive(Debug)]
struct Way {
    link: Link,
    weather: watch::Receiver<Weather>,
}

impl Way {
    fn is_cut(&self) -> bool {
        self.weather.borrow().cut.contains(&self.link)
    }

    /// Waits until it is not cut; for ever if the cluster ends before.
    async fn open(&self) {
        let mut weather = self.weather.clone();
        if weather.wait_for(|weather| !weather.cut.contains(&self.link)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from.read(&mut buffer).await;
            let delay = self.weather.borrow().delays.get(&self.link).copied();
            if let Some(delay) = delay {
                tokio::time::sleep(delay).await;
            }
            if self.is_cut() {
                self.open().await;
            }
            match read? {
                0 => return to.shutdown().await,
                length => to.write_all(&buffer[..length]).await?,
            }
        }
    }
}

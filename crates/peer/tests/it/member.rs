//! Members to test with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use env::{RealClock, RealDisk};
use net::{BoundSocket, ConnectionLimit, SocketOptions, Url};
use node::{AutoCompaction, Bootstrap, Node, Options, Running, World};
use peer::{Identity, Server, Transport};
use proto::etcdserverpb::{InternalRaftRequest, PutRequest, RangeRequest};
use tokio::time::Instant;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Of connections, unless said otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
pub(crate) const TOKEN: &str = "a-token";

/// A directory that goes with its value.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pintle-peer-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left over does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A socket on a port that nobody else has, and its URL.
pub(crate) fn socket() -> (BoundSocket, String) {
    let any = Url::parse("http://127.0.0.1:0").expect("a URL");
    let socket = BoundSocket::bind(&any, SocketOptions::default()).expect("a free port");
    // Only a listener tells where it is; the port is taken again at once, by name.
    let runtime = runtime();
    let _entered = runtime.enter();
    let listener = socket.listen(ConnectionLimit::new(1)).expect("it listens");
    let url = format!("http://{}", listener.local_address().expect("it is bound"));
    drop(listener);
    (bind(&url), url)
}

pub(crate) fn bind(url: &str) -> BoundSocket {
    let url = Url::parse(url).expect("a URL");
    BoundSocket::bind(&url, SocketOptions::default()).expect("the port is free")
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn options(data_dir: &Path, name: &str, bootstrap: Option<Bootstrap>) -> Options {
    Options {
        name: name.to_owned(),
        data_dir: data_dir.to_owned(),
        wal_dir: None,
        client_urls: vec!["http://127.0.0.1:2379".to_owned()],
        bootstrap,
        force_new_cluster: false,
        tick: Duration::from_millis(50),
        election_ticks: 10,
        pre_vote: true,
        catchup_entries: 10,
        strict_reconfig_check: false,
        snapshot_count: 20,
        max_snapshots: 5,
        max_wals: 5,
        quota_bytes: 0,
        batch_interval: Duration::from_millis(20),
        batch_limit: 10_000,
        request_bytes: 8 << 20,
        max_learners: 1,
        auto_compaction: AutoCompaction::Off,
        compaction_batch: 1000,
        compaction_pause: Duration::from_millis(1),
        corrupt_check_interval: None,
        compact_hash_check_interval: None,
        downgrade_check_interval: Duration::from_secs(5),
        initial_corrupt_check: false,
        initial_election_tick_advance: true,
        warning_apply_duration: Duration::from_millis(100),
        features: Vec::new(),
        no_fsync: true,
        value_budget_bytes: 1 << 20,
        page_cache_bytes: 1 << 20,
        simple_token_ttl: Some(Duration::from_secs(300)),
        recent_events_bytes: 2 << 20,
        disarm_when_space: false,
    }
}

/// A member that runs, with its door.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) directory: Directory,
    running: Option<(Running, Arc<Transport>)>,
}

/// A token of which they think that its owner may do nothing.
pub(crate) const NOBODY: &[u8] = b"nobody";

/// Who may change the members: whoever does not show that token.
struct Users;

impl peer::Gate for Users {
    fn admin(&self, token: Option<Bytes>) -> peer::Judged {
        let refused = token.is_some_and(|token| token == NOBODY);
        let denied = || node::Error::Rejected(node::Rejected::PermissionDenied);
        Box::pin(async move { if refused { Err(denied()) } else { Ok(()) } })
    }
}

impl Member {
    pub(crate) fn start(
        name: &str,
        socket: BoundSocket,
        url: &str,
        bootstrap: Option<Bootstrap>,
        directory: Directory,
    ) -> Self {
        Self::start_with(name, socket, url, bootstrap, directory, DEADLINE)
    }

    /// With another time after which connections are given up.
    pub(crate) fn start_with(
        name: &str,
        socket: BoundSocket,
        url: &str,
        bootstrap: Option<Bootstrap>,
        directory: Directory,
        deadline: Duration,
    ) -> Self {
        let world = World { disk: Arc::new(RealDisk), clock: Arc::new(RealClock::new()) };
        let running = Running::start(world, options(&directory.0, name, bootstrap));
        let running = running.expect("the directory is fit to start on");
        let node = running.node().clone();
        let identity = Identity {
            dialer: peer::Dialer::default(),
            member: node.member_id(),
            cluster: node.cluster_id(),
            urls: vec![url.to_owned()],
            dial_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(6),
            read_timeout: deadline,
            write_timeout: deadline,
        };
        let transport = Transport::start(node, identity).expect("a thread is to be had");
        running.connect(Arc::clone(&transport) as Arc<dyn node::Peers>);
        let limit = ConnectionLimit::new(u64::MAX);
        let server = Server::new(&transport, Arc::new(Users));
        server.open(socket, limit, net::Security::Plain).expect("it listens");
        let (name, url) = (name.to_owned(), url.to_owned());
        Self { name, url, directory, running: Some((running, transport)) }
    }

    /// The only member of its cluster.
    pub(crate) fn alone() -> Self {
        let (socket, url) = socket();
        let bootstrap = Bootstrap::with_new([("m0", [url.clone()])], TOKEN);
        let member = Self::start("m0", socket, &url, Some(bootstrap), Directory::new());
        runtime().block_on(member.running().publish()).expect("it leads at once");
        member
    }

    pub(crate) fn running(&self) -> &Running {
        &self.running.as_ref().expect("it runs").0
    }

    pub(crate) fn node(&self) -> &Node {
        self.running().node()
    }

    pub(crate) fn transport(&self) -> &Arc<Transport> {
        &self.running.as_ref().expect("it runs").1
    }

    pub(crate) fn host(&self) -> &str {
        self.url.strip_prefix("http://").expect("plain HTTP")
    }

    /// Ends it, as far as others notice, at once.
    pub(crate) fn stop(&mut self) {
        if let Some((running, transport)) = self.running.take() {
            transport.stop();
            let failed = running.failure().borrow().is_some();
            let stopped = running.stop();
            assert!(failed || stopped.is_ok(), "{stopped:?}");
        }
    }

    /// Starts it once more on what it has on disk.
    pub(crate) fn restart(mut self) -> Self {
        self.stop();
        let (name, url) = (self.name.clone(), self.url.clone());
        let directory = std::mem::replace(&mut self.directory, Directory::new());
        Self::start(&name, bind(&url), &url, None, directory)
    }

    pub(crate) fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<i64, node::Error> {
        let put =
            PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() };
        let request = InternalRaftRequest { put: Some(put), ..Default::default() };
        runtime().block_on(self.node().propose(request)).map(|(_, revision)| revision)
    }

    /// Whether it holds a key, by its own data.
    pub(crate) fn holds(&self, key: &str) -> bool {
        let range = RangeRequest { key: key.to_owned().into(), ..Default::default() };
        let read = runtime().block_on(self.node().range(&range)).expect("it is read");
        read.count == 1
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// Lets other threads go on.
#[expect(clippy::disallowed_methods, reason = "members do not wake their tests")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// Waits for something that must come to be.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited for {what}");
        pause();
    }
}

//! A member with its threads, on a real directory.

mod begin;
mod cluster;
mod leases;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use env::{RealClock, RealDisk};
use node::{AutoCompaction, Bootstrap, Error, Options, Running, World};
use proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthUserAddRequest, AuthUserChangePasswordRequest,
    AuthUserGrantRoleRequest, CompactionRequest, InternalAuthenticateRequest, InternalRaftRequest,
    PutRequest, RangeRequest, RequestHeader,
};
use proto::membershippb::DowngradeInfoSetRequest;
use tokio::runtime::{Builder, Runtime};

const PEER_URL: &str = "http://127.0.0.1:2380";

fn options(data_dir: &Path) -> Options {
    Options {
        name: "n1".to_owned(),
        data_dir: data_dir.to_owned(),
        wal_dir: None,
        client_urls: vec!["http://127.0.0.1:2379".to_owned()],
        bootstrap: Some(Bootstrap::with_new([("n1", [PEER_URL])], "etcd-cluster")),
        force_new_cluster: false,
        tick: Duration::from_millis(100),
        election_ticks: 10,
        pre_vote: true,
        catchup_entries: 5000,
        strict_reconfig_check: true,
        snapshot_count: 10_000,
        max_snapshots: 5,
        max_wals: 5,
        quota_bytes: 0,
        batch_interval: Duration::from_millis(100),
        batch_limit: 10_000,
        request_bytes: 1_572_864,
        max_learners: 1,
        auto_compaction: AutoCompaction::Off,
        compaction_batch: 1000,
        compaction_pause: Duration::from_millis(1),
        corrupt_check_interval: None,
        compact_hash_check_interval: None,
        downgrade_check_interval: Duration::from_secs(5),
        initial_corrupt_check: false,
        initial_election_tick_advance: false,
        warning_apply_duration: Duration::from_millis(100),
        features: Vec::new(),
        no_fsync: false,
        value_budget_bytes: 1 << 20,
        page_cache_bytes: 1 << 20,
        simple_token_ttl: Some(Duration::from_secs(300)),
        recent_events_bytes: 2 << 20,
        disarm_when_space: false,
    }
}

fn start(data_dir: &Path) -> Running {
    let world = World { disk: Arc::new(RealDisk), clock: Arc::new(RealClock::new()) };
    Running::start(world, options(data_dir)).expect("the directory is fit to start on")
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime is to be had")
}

/// A directory that goes with its value.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pintle-node-{}-{name}", std::process::id()));
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left over does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn put(key: &'static str) -> InternalRaftRequest {
    let put = PutRequest { key: key.into(), value: "v".into(), ..Default::default() };
    InternalRaftRequest { put: Some(put), ..Default::default() }
}

#[test]
fn what_was_put_is_there_after_a_restart() {
    let directory = Directory::new("restart");
    let runtime = runtime();
    for (number, key) in ["a", "b", "c"].into_iter().enumerate() {
        let running = start(&directory.0);
        runtime.block_on(async {
            running.publish().await.expect("a single member leads at once");
            let (_, revision) = running.node().propose(put(key)).await.expect("a put is taken");
            assert_eq!(revision, number as i64 + 2);
            running.node().read_barrier().await.expect("the member leads");
            let all = RangeRequest {
                key: Bytes::from_static(b"\0"),
                range_end: Bytes::from_static(b"\0"),
                ..Default::default()
            };
            let read = running.node().range(&all).await.expect("it is here");
            assert_eq!(read.count, number as i64 + 1);
        });
        running.stop().expect("nothing stands in the way");
    }
}

/// Operators may let compactions rest for as long as they like.
#[test]
fn a_member_stops_while_a_compaction_rests() {
    let directory = Directory::new("rest");
    let world = World { disk: Arc::new(RealDisk), clock: Arc::new(RealClock::new()) };
    let rests = Duration::from_secs(3600);
    let rests = Options { compaction_batch: 1, compaction_pause: rests, ..options(&directory.0) };
    let running = Running::start(world, rests).expect("the directory is fit to start on");
    runtime().block_on(async {
        running.publish().await.expect("a single member leads at once");
        for key in ["a", "a", "b", "b"] {
            running.node().propose(put(key)).await.expect("a put is taken");
        }
        let compaction = Some(CompactionRequest { revision: 5, physical: false });
        let request = InternalRaftRequest { compaction, ..Default::default() };
        running.node().propose(request).await.expect("a compaction is taken");
    });
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(running.stop()));
    let stopped = told.recv_timeout(Duration::from_secs(30)).expect("it does not wait for it");
    stopped.expect("nothing stands in the way");
}

#[test]
fn a_second_member_on_the_same_directory_is_refused() {
    let directory = Directory::new("lock");
    let running = start(&directory.0);
    let world = World { disk: Arc::new(RealDisk), clock: Arc::new(RealClock::new()) };
    let refused = Running::start(world, options(&directory.0)).map(drop);
    let refused = refused.expect_err("the directory is taken").to_string();
    assert!(refused.starts_with("another process holds the lock on"), "{refused}");
    running.stop().expect("nothing stands in the way");
}

/// Makes `root`, with that role, and turns auth on.
async fn enable_auth(running: &Running) {
    let root = || "root".to_owned();
    let user = AuthUserAddRequest { name: root(), ..Default::default() };
    let role = AuthRoleAddRequest { name: root() };
    let grant = AuthUserGrantRoleRequest { user: root(), role: root() };
    let steps = [
        InternalRaftRequest { auth_user_add: Some(Box::new(user)), ..Default::default() },
        InternalRaftRequest { auth_role_add: Some(Box::new(role)), ..Default::default() },
        InternalRaftRequest { auth_user_grant_role: Some(Box::new(grant)), ..Default::default() },
        InternalRaftRequest {
            auth_enable: Some(Box::new(AuthEnableRequest {})),
            ..Default::default()
        },
    ];
    for step in steps {
        running.node().propose(step).await.expect("the log may hold this");
    }
}

/// Gives `root` the token `letters` and the index before its entry.
async fn authenticate(running: &Running, letters: &str) -> String {
    let authenticate = InternalAuthenticateRequest {
        name: "root".to_owned(),
        simple_token: letters.to_owned(),
        ..Default::default()
    };
    let request =
        InternalRaftRequest { authenticate: Some(Box::new(authenticate)), ..Default::default() };
    match running.node().propose(request).await {
        Ok((state::Reply::Auth(state::AuthReply::Authenticated { token, .. }), _)) => token,
        other => panic!("no token: {other:?}"),
    }
}

#[test]
fn auth_is_on_after_a_restart_and_a_token_is_known_until_its_user_is_another() {
    let directory = Directory::new("auth");
    let runtime = runtime();
    let running = start(&directory.0);
    let node = running.node().clone();
    runtime.block_on(async {
        running.publish().await.expect("it is alone");
        assert!(!node.is_auth_enabled());
        enable_auth(&running).await;
        let token = authenticate(&running, "abc").await;
        let found = node.user_of_token(&token).await.expect("it was just given out");
        assert_eq!((&*found.username, found.revision), ("root", node.auth().revision()));
        for other in ["", "abc", "abc.1", "abc.1.1", ".1", "abc.-1"] {
            assert_eq!(node.user_of_token(other).await, None, "{other}");
        }
        let change = AuthUserChangePasswordRequest { name: "root".into(), ..Default::default() };
        let header = RequestHeader { username: "root".into(), ..Default::default() };
        let request = InternalRaftRequest {
            header: Some(header),
            auth_user_change_password: Some(Box::new(change)),
            ..Default::default()
        };
        node.propose(request).await.expect("root may");
        assert_eq!(node.user_of_token(&token).await, None, "the password is another");
        // Where tokens are of another kind there are no letters, and nothing to guess.
        let bare = authenticate(&running, "").await;
        assert_eq!(node.user_of_token(&bare).await, None);
    });
    drop(node);
    running.stop().expect("nothing stands in the way");
    let running = start(&directory.0);
    runtime.block_on(running.publish()).expect("it is alone");
    assert!(running.node().is_auth_enabled());
    running.stop().expect("nothing stands in the way");
}

/// An entry that cannot be applied ends the member; what it has half done must not reach the db
/// file, and whoever asks for something is told.
#[test]
fn after_a_failure_nothing_is_done_and_nobody_waits() {
    let directory = Directory::new("failure");
    let runtime = runtime();
    let running = start(&directory.0);
    runtime.block_on(async {
        running.publish().await.expect("a single member leads at once");
        let node = running.node();
        node.propose(put("a")).await.expect("a put is taken");
        let set = DowngradeInfoSetRequest { enabled: true, ver: "none".to_owned() };
        let cannot =
            InternalRaftRequest { downgrade_info_set: Some(Box::new(set)), ..Default::default() };
        assert_eq!(node.propose(cannot).await.map(drop), Err(Error::Stopped));
        assert_eq!(node.propose(put("b")).await.map(drop), Err(Error::Stopped));
        assert_eq!(node.read_barrier().await, Err(Error::Stopped));
        assert_eq!(node.flush().await, Err(Error::Stopped));
        assert_eq!(node.defragment().await, Err(Error::Stopped));
        assert_eq!(node.image().await.map(drop), Err(Error::Stopped));
    });
    let failure = running.failure().borrow().clone().expect("it has failed");
    assert!(failure.contains("downgrade target"), "{failure}");
    let stopped = running.stop().expect_err("it did not stop in order").to_string();
    assert!(stopped.contains("downgrade target"), "{stopped}");
}

#[test]
fn only_so_many_long_reads_are_under_way_at_a_time() {
    let directory = Directory::new("aside");
    let runtime = runtime();
    let running = start(&directory.0);
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    runtime.block_on(async {
        let reads = (0..40).map(|number| {
            let (node, under_way, most) =
                (running.node().clone(), Arc::clone(&under_way), Arc::clone(&most));
            tokio::spawn(async move {
                let read = move || {
                    let now = 1 + under_way.fetch_add(1, Ordering::SeqCst);
                    most.fetch_max(now, Ordering::SeqCst);
                    (0..50).for_each(|_| std::thread::yield_now());
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    number
                };
                assert_eq!(node.aside(read).await, Ok(number));
            })
        });
        for read in reads.collect::<Vec<_>>() {
            read.await.expect("it ends");
        }
    });
    assert!((1..=4).contains(&most.load(Ordering::SeqCst)));
    running.stop().expect("nothing stands in the way");
}

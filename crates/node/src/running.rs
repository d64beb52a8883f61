//! The threads of a member, from start to stop.

use std::sync::mpsc;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use proto::etcdserverpb::InternalRaftRequest;
use proto::membershippb::{Attributes, ClusterMemberAttrSetRequest};
use tokio::sync::watch;

use crate::boot::{World, boot};
use crate::compaction::{Compactions, Pace, Site};
use crate::db::Committer;
use crate::life::Who;
use crate::node::{Around, Limits, Node, Shared, fail};
use crate::queue::{Input, Order};
use crate::{Fatal, Options, Peers, metrics};

/// How often the version of the cluster is looked at.
const VERSION_INTERVAL: Duration = Duration::from_secs(4);

/// How often to look whether somebody leads.
const LEADER_POLL: Duration = Duration::from_millis(5);

/// A member that runs. Who holds this stops it.
pub struct Running {
    node: Node,
    options: Options,
    failure: watch::Receiver<Option<String>>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Opens the data directory, replays the log, and starts the threads.
    pub fn start(world: World, options: Options) -> Result<Self, Fatal> {
        crate::metrics::register();
        let mut booted = boot(&world, &options)?;
        crate::metrics::name_member(booted.member_id, &options.features);
        let (failures, failure) = watch::channel(None);
        let driver = Arc::new(OnceLock::<std::thread::Thread>::new());
        let backend = booted.drive.state().views().backend.clone();
        let (committer, db) = {
            let (standing, driver) = (Arc::clone(&booted.standing), Arc::clone(&driver));
            let failures = failures.clone();
            Committer::start(backend.clone(), Arc::clone(&world.clock), move |done| {
                if let Err(failure) = done {
                    fail(&standing, &failures, &failure);
                }
                if let Some(thread) = driver.get() {
                    thread.unpark();
                }
            })
            .map_err(no_thread)?
        };
        let resumed = booted.drive.take_resumed_compaction();
        let finished = match &resumed {
            Some(_) => 0,
            None => booted.drive.state().views().reader.compact_revision(),
        };
        let (compactions, compaction) = {
            let (standing, failures) = (Arc::clone(&booted.standing), failures.clone());
            let pace = Pace { batch: options.compaction_batch, pause: options.compaction_pause };
            let site = Site::new(Arc::clone(&world.clock), backend.clone());
            Compactions::start(pace, site, finished, move |error| {
                fail(&standing, &failures, &error.to_string());
            })
            .map_err(no_thread)?
        };
        resumed.into_iter().for_each(|job| compactions.add(job));
        let (segments, segment) = start_segments().map_err(no_thread)?;
        let (syncs, sync_jobs) = mpsc::channel();
        let limits = Limits {
            request_bytes: options.request_bytes,
            request_timeout: options.request_timeout(),
            election_timeout: options.tick * options.election_ticks,
            strict_reconfig: options.strict_reconfig_check,
        };
        let around = Around {
            world,
            driver: Arc::clone(&driver),
            committer,
            compactions,
            segments,
            syncs,
            failure: failures,
            limits,
        };
        let node = Node { shared: Arc::new(Shared::new(booted, around)) };
        let drive = start_drive(Arc::clone(&node.shared)).map_err(no_thread)?;
        let sync = start_syncs(Arc::downgrade(&node.shared), sync_jobs).map_err(no_thread)?;
        let threads = vec![drive, db, compaction, segment, sync];
        Ok(Self { node, options, failure, threads })
    }

    /// The handle for callers.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Connects this member to the others, by who carries its words. Once, and not at all where it
    /// will always be alone.
    pub fn connect(&self, peers: Arc<dyn Peers>) {
        let shared = &self.node.shared;
        shared.others.set(peers);
        shared.drive().introduce();
        shared.wake();
    }

    /// Hands the lead over before this member stops, so that nobody has to wait for an election.
    pub async fn hand_over(&self) {
        let (node, who) = (&self.node, self.who());
        if !node.is_leader() {
            return who.stops_as_follower(node.shared.standing.leader.read());
        }
        if node.shared.standing.reads_freely.is_up() {
            return who.stops_alone();
        }
        let handed_over = match node.longest_connected() {
            Some(to) => node.move_leader(to).await,
            None => Err(crate::Error::Unhealthy),
        };
        if let Err(failure) = handed_over {
            who.leadership_stays(&failure);
        }
    }

    /// Turns to the reason once the member cannot go on.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.clone()
    }

    /// Tells the cluster who this member is and which version it speaks; then it is ready to
    /// serve.
    pub async fn publish(&self) -> Result<(), crate::Error> {
        let member_id = self.node.shared.member_id;
        let attributes = Attributes {
            name: self.options.name.clone(),
            client_urls: self.options.client_urls.clone(),
        };
        let set = ClusterMemberAttrSetRequest { member_id, member_attributes: Some(attributes) };
        self.propose(InternalRaftRequest {
            cluster_member_attr_set: Some(Box::new(set)),
            ..Default::default()
        })
        .await?;
        let timeout = self.options.request_timeout();
        self.who().published(&self.options.name, &self.options.client_urls, timeout);
        if self.node.is_leader() { self.node.update_cluster_version().await } else { Ok(()) }
    }

    /// Compares what this member holds with what the others hold, where that is wanted.
    pub async fn check_initially(&self) -> Result<(), crate::Error> {
        if self.options.initial_corrupt_check { self.node.check_initially().await } else { Ok(()) }
    }

    fn who(&self) -> Who {
        Who { cluster_id: self.node.shared.cluster_id, member_id: self.node.shared.member_id }
    }

    /// What a member that serves looks at from time to time. Never returns.
    pub async fn watch(&self) {
        let Options { corrupt_check_interval, compact_hash_check_interval, .. } = self.options;
        tokio::join!(
            self.watch_versions(),
            self.watch_downgrade(),
            self.node.watch_corruption(corrupt_check_interval),
            self.node.watch_compaction_hashes(compact_hash_check_interval),
            self.node.watch_tokens(),
            self.node.watch_space(self.options.disarm_when_space),
        );
    }

    /// Keeps the version that the members agreed on where it should be. A new leader looks at once.
    async fn watch_versions(&self) {
        let mut leaders = self.node.shared.standing.leaders();
        loop {
            let elsewhere = leaders.changed();
            let _ = tokio::time::timeout(VERSION_INTERVAL, elsewhere).await;
            if !self.node.is_leader() {
                continue;
            }
            if let Err(failure) = self.node.update_cluster_version().await {
                let error = failure.to_string();
                tracing::warn!(error, "failed to update cluster version");
            }
        }
    }

    /// Ends a downgrade when it is done.
    async fn watch_downgrade(&self) {
        loop {
            tokio::time::sleep(self.options.downgrade_check_interval).await;
            if self.node.is_leader()
                && let Err(failure) = self.node.end_downgrade_if_done().await
            {
                let error = failure.to_string();
                tracing::warn!(error, "failed to cancel downgrade");
            }
        }
    }

    /// Proposes until that is done: again where nobody leads, or who led was lost.
    async fn propose(&self, request: InternalRaftRequest) -> Result<(), crate::Error> {
        loop {
            match self.node.propose(request.clone()).await {
                Err(crate::Error::NoLeader | crate::Error::LeaderLost | crate::Error::Timeout) => {}
                other => return other.map(drop),
            }
            if self.node.shared.standing.stopped.is_up() {
                return Err(crate::Error::Stopped);
            }
            tokio::time::sleep(LEADER_POLL).await;
        }
    }

    /// Stops the threads in order and leaves everything applied in the db file.
    pub fn stop(self) -> Result<(), Fatal> {
        let Self { node, threads, failure, .. } = self;
        let shared = node.shared;
        shared.standing.stopped.set(true);
        shared.wake();
        shared.committer.stop();
        shared.compactions.stop();
        let mut threads = threads.into_iter();
        for thread in threads.by_ref().take(3) {
            thread.join().map_err(|_| Fatal::Raft("a thread has panicked".to_owned()))?;
        }
        let failed = failure.borrow().clone();
        match failed {
            Some(failure) => Err(Fatal::Raft(failure)),
            None => shared.drive().close(),
        }
    }
}

fn no_thread(source: std::io::Error) -> Fatal {
    Fatal::Io { what: "start a thread of", path: std::path::PathBuf::new(), source }
}

fn start_drive(shared: Arc<Shared>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("drive".to_owned()).spawn(move || {
        let known = shared.driver.set(std::thread::current());
        known.expect("a member has one drive");
        let mut input = Input::default();
        while !shared.standing.stopped.is_up() {
            let wake_at = {
                let mut drive = shared.drive();
                shared.step(&mut drive, &mut input);
                drive.wake_at()
            };
            if shared.queue.len() == 0 {
                std::thread::park_timeout(wake_at.saturating_sub(shared.world.clock.now()));
            }
        }
        // Those who still wait hear that it is over when their answers are dropped.
        shared.queue.take(&mut input);
    })
}

/// The thread that syncs the log where that takes long. It ends with the last sender.
fn start_syncs(
    shared: Weak<Shared>,
    inbox: mpsc::Receiver<(u64, wal::SyncJob)>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("sync".to_owned()).spawn(move || {
        for (number, job) in inbox {
            let Some(shared) = shared.upgrade() else { return };
            let begun = shared.world.clock.now();
            let outcome = job.run().map_err(|error| error.to_string());
            let took = shared.world.clock.now().saturating_sub(begun);
            metrics::WAL_FSYNC.observe(took.as_secs_f64());
            shared.standing.note_sync(took);
            shared.queue.order(Order::Synced { number, outcome });
            shared.wake();
        }
    })
}

/// The thread that prepares log segments. It ends with the last sender.
fn start_segments() -> std::io::Result<(mpsc::Sender<wal::NextSegmentJob>, JoinHandle<()>)> {
    let (jobs, inbox) = mpsc::channel::<wal::NextSegmentJob>();
    let thread = std::thread::Builder::new().name("segments".to_owned()).spawn(move || {
        for job in inbox {
            if let Err(error) = job.run() {
                // The log then makes the segment itself when it needs it, and says so if it cannot.
                tracing::warn!(error = %error, "failed to prepare the next log segment");
            }
        }
    })?;
    Ok((jobs, thread))
}

//! Clients of all members that write down what they asked and were told, and whether one store
//! that does one request after the other could have told them that. Some watch meanwhile, and must
//! have heard of everything in the end; and some hold leases.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use e2e::{Cluster, Grpc, Rpc, Status};
use env::Random;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, compare,
    request_op,
};
use sim::{
    Answer, Broken, History, LeaseRecord, Leniency, Operation, Outcome, Replay, Request, Watcher,
};
use tokio::task::JoinHandle;

use super::holder::{Held, Holder};
use super::watcher::{Watching, seen};

const CLIENTS: u64 = 6;
const WATCHERS: usize = 2;
const HOLDERS: u64 = 2;
const KEYS: u64 = 12;

/// Clients do not wait for what a member that hangs, or that has lost its leader, may say later.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Some hundred requests a second from all are load enough, and their history is soon checked.
const PACE: Duration = Duration::from_millis(5);

/// All members and this test share a clock. How late leases end is for other tests.
const ON_TIME: Leniency =
    Leniency { fastest: 1.01, slowest: 0.99, overtime: Duration::from_secs(3600) };

/// Clients at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Client>>,
    watchers: Vec<JoinHandle<Watcher>>,
    holders: Vec<JoinHandle<Held>>,
    history: History,
}

/// What all clients know.
pub(crate) struct Shared {
    pub(crate) over: AtomicBool,
    /// Writes that were acknowledged.
    acknowledged: AtomicUsize,
    /// The last revision that there is, 0 while nobody knows.
    pub(crate) last_revision: AtomicI64,
    /// Where the clients go.
    endpoints: Mutex<Vec<SocketAddr>>,
}

impl Shared {
    pub(crate) fn endpoints(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of it.
pub(crate) struct Told {
    history: History,
    watchers: Vec<Watcher>,
    leases: Vec<LeaseRecord>,
    /// How many writes were acknowledged.
    pub(crate) acknowledged: usize,
    /// The longest time in which no write was.
    pub(crate) longest_gap: Duration,
    /// How often what a client asked another member after an error failed too.
    pub(crate) failed_twice: usize,
    /// What failed, and how often.
    pub(crate) errors: BTreeMap<String, usize>,
}

struct Client {
    number: u64,
    random: Random,
    shared: Arc<Shared>,
    connection: Option<(SocketAddr, Grpc)>,
    /// The newest revision that it was told of on this connection, and before the load.
    newest_here: i64,
    first: i64,
    /// Who has failed last.
    avoids: Option<SocketAddr>,
    /// What was asked last has failed.
    has_failed: bool,
    failed_twice: usize,
    operations: Vec<Operation>,
    errors: BTreeMap<String, usize>,
    /// The newest revision of keys that it has heard of.
    known: HashMap<Bytes, i64>,
}

impl Load {
    /// Clients of all members that run now.
    pub(crate) fn start(cluster: &Cluster, seed: u64) -> Self {
        let reply =
            cluster.running().into_iter().find_map(|at| cluster.call(at, &e2e::everything(0)).ok());
        let reply = reply.expect("one member serves before the load");
        let shared = Arc::new(Shared {
            over: AtomicBool::new(false),
            acknowledged: AtomicUsize::new(0),
            last_revision: AtomicI64::new(0),
            endpoints: Mutex::new(addresses(cluster)),
        });
        let revision = reply.header.expect("a reply has a header").revision;
        let mut random = Random::new(seed);
        let clients = (0..CLIENTS).map(|number| {
            let client = Client {
                number,
                random: random.split(),
                shared: shared.clone(),
                connection: None,
                newest_here: 0,
                first: revision,
                avoids: None,
                has_failed: false,
                failed_twice: 0,
                operations: Vec::new(),
                errors: BTreeMap::new(),
                known: HashMap::new(),
            };
            cluster.runtime().spawn(client.work())
        });
        let clients = clients.collect();
        let watchers = (0..WATCHERS).map(|_| {
            let watching = Watching::new(random.split(), shared.clone(), revision);
            cluster.runtime().spawn(watching.watch())
        });
        let watchers = watchers.collect();
        let holders = (0..HOLDERS).map(|number| {
            let holder = Holder::new(100 + number, random.split(), shared.clone());
            cluster.runtime().spawn(holder.hold())
        });
        let holders = holders.collect();
        let history = History { revision, rows: reply.kvs, ..History::default() };
        Self { shared, clients, watchers, holders, history }
    }

    /// Sends the clients to the members that run now.
    pub(crate) fn follow(&self, cluster: &Cluster) {
        *self.shared.endpoints() = addresses(cluster);
    }

    /// Waits until so many more writes were acknowledged.
    pub(crate) fn go_on_for(&self, writes: usize) {
        let wanted = self.shared.acknowledged.load(Ordering::Relaxed) + writes;
        let enough = || (self.shared.acknowledged.load(Ordering::Relaxed) >= wanted).then_some(());
        let done = e2e::until(Duration::from_secs(60), enough);
        assert!(done.is_some(), "no {writes} writes were acknowledged within a minute");
    }

    /// Reads what a member has, and says that it was asked for what the cluster has.
    pub(crate) fn pretend_linearizable(&self, cluster: &Cluster, at: usize) -> Operation {
        let all = e2e::everything(0);
        let called = moment();
        let reply = cluster.call(at, &RangeRequest { serializable: true, ..all.clone() }).unwrap();
        let outcome = Outcome::Answered { returned: moment(), answer: reply.into() };
        Operation { client: CLIENTS, called, request: Request::Range(all), outcome }
    }

    /// Ends it, and lets every member that runs tell what is there now.
    pub(crate) fn finish(self, cluster: &Cluster) -> Told {
        self.shared.over.store(true, Ordering::Relaxed);
        let mut history = self.history;
        let mut errors = BTreeMap::new();
        let mut failed_twice = 0;
        for client in self.clients {
            let client = cluster.runtime().block_on(client).expect("a client does not panic");
            history.operations.extend(client.operations);
            failed_twice += client.failed_twice;
            for (what, count) in client.errors {
                *errors.entry(what).or_default() += count;
            }
        }
        let longest_gap = longest_gap(&history.operations);
        let mut leases = Vec::new();
        for holder in self.holders {
            let held = cluster.runtime().block_on(holder).expect("a holder does not panic");
            history.operations.extend(held.operations);
            leases.extend(held.records);
        }
        // Of an old leader of etcd that was cut off, leases may be over which a new one renewed.
        if (0..cluster.size()).any(|at| cluster.member(at).name() != "pintle") {
            leases.clear();
        }
        for at in cluster.running() {
            let called = moment();
            let all = e2e::everything(0);
            let reply = cluster.call(at, &all).unwrap_or_else(|status| panic!("m{at}: {status:?}"));
            let outcome = Outcome::Answered { returned: moment(), answer: reply.into() };
            let (client, request) = (CLIENTS + at as u64, Request::Range(all));
            history.operations.push(Operation { client, called, request, outcome });
        }
        let watchers = end_of_watchers(cluster, &self.shared, self.watchers, &history);
        // Of two requests without an answer they may know which one was done.
        history.events = watchers.iter().flat_map(seen).collect();
        let acknowledged = self.shared.acknowledged.load(Ordering::Relaxed);
        Told { history, watchers, leases, acknowledged, longest_gap, failed_twice, errors }
    }
}

/// Watchers go on until they have heard of the last revision that anybody was told.
fn end_of_watchers(
    cluster: &Cluster,
    shared: &Shared,
    watchers: Vec<JoinHandle<Watcher>>,
    history: &History,
) -> Vec<Watcher> {
    let revisions = history.operations.iter().map(|asked| match &asked.outcome {
        Outcome::Answered { answer, .. } => answer.revision(),
        Outcome::Unknown => 0,
    });
    shared.last_revision.store(revisions.max().unwrap_or(0), Ordering::Relaxed);
    let end = |watcher: JoinHandle<Watcher>| {
        let limit = Duration::from_secs(30);
        let ended = async { tokio::time::timeout(limit, watcher).await };
        let watcher = cluster.runtime().block_on(ended);
        watcher.expect("a watcher hears of everything in time").expect("a watcher does not panic")
    };
    watchers.into_iter().map(end).collect()
}

impl Told {
    /// No answer was stale, no acknowledged write is missing, no revision has gone back.
    #[track_caller]
    pub(crate) fn check(&self, what: &str) -> Replay {
        let unknown =
            self.history.operations.iter().filter(|asked| asked.outcome == Outcome::Unknown);
        eprintln!(
            "{what}: {} requests, {} writes acknowledged, {} of unknown fate, longest gap {:?}, \
             errors {:?}",
            self.history.operations.len(),
            self.acknowledged,
            unknown.count(),
            self.longest_gap,
            self.errors,
        );
        self.judge().unwrap_or_else(|broken| panic!("{what}: {broken}"))
    }

    /// The same, for who wants to be told what is wrong.
    pub(crate) fn judge(&self) -> Result<Replay, Broken> {
        let replay = sim::check_linearizable(&self.history)?;
        for watcher in &self.watchers {
            sim::check_watch(watcher, &replay, Some(replay.revision))?;
        }
        sim::check_leases(&self.leases, ON_TIME)?;
        Ok(replay)
    }

    /// Adds what somebody else was told meanwhile.
    pub(crate) fn add(&mut self, operation: Operation) {
        self.history.operations.push(operation);
    }
}

impl Client {
    async fn work(mut self) -> Self {
        while !self.shared.over.load(Ordering::Relaxed) {
            self.ask_once().await;
            tokio::time::sleep(PACE).await;
        }
        self
    }

    /// Asks whoever it is connected to; after an error, and sometimes without one, somebody else.
    async fn ask_once(&mut self) {
        if self.random.chance(1, 50) {
            self.connection = None;
        }
        let Some((address, grpc)) = self.connection().await else { return };
        let request = self.next_request();
        let called = moment();
        let answer = tokio::time::timeout(PATIENCE, answer(&grpc, &request)).await;
        let returned = moment();
        let status = match answer {
            Ok(Ok(answer)) => return self.note(called, request, returned, answer),
            Ok(Err(status)) => status,
            Err(_) => Status { code: 4, message: "(no reply) in time".to_owned() },
        };
        self.connection = None;
        self.avoids = Some(address);
        self.failed_twice += usize::from(std::mem::replace(&mut self.has_failed, true));
        *self.errors.entry(status.message.clone()).or_default() += 1;
        // A learner does nothing, and a read that fails has done nothing.
        let is_read = matches!(request, Request::Range(_));
        if !is_read && status.message != "etcdserver: rpc not supported for learner" {
            let client = self.number;
            self.operations.push(Operation { client, called, request, outcome: Outcome::Unknown });
        }
    }

    /// Who cannot be connected to is not asked, and so has not failed.
    async fn connection(&mut self) -> Option<(SocketAddr, Grpc)> {
        if self.connection.is_none() {
            let address = self.choose();
            let connecting = tokio::time::timeout(PATIENCE, Grpc::connect(address)).await;
            self.connection = connecting.ok().and_then(Result::ok).map(|grpc| (address, grpc));
            self.newest_here = 0;
            if self.connection.is_none() {
                self.avoids = Some(address);
            }
        }
        self.connection.clone()
    }

    fn choose(&mut self) -> SocketAddr {
        let endpoints = self.shared.endpoints();
        let mut others = endpoints.clone();
        others.retain(|address| Some(*address) != self.avoids);
        let choice = if others.is_empty() { &*endpoints } else { &others };
        choice[self.random.index(choice.len())]
    }

    fn note(&mut self, called: u64, request: Request, returned: u64, answer: Answer) {
        self.has_failed = false;
        let here = std::mem::replace(&mut self.newest_here, answer.revision());
        assert!(self.newest_here >= here, "after revision {here}: {request:?}, {answer:?}");
        if answer.revision() < self.first {
            // A member that is behind the beginning may say so, if that is what it was asked.
            assert!(is_serializable(&request), "after {}: {request:?}, {answer:?}", self.first);
            return;
        }
        self.learn(&request, &answer);
        let (client, wrote) = (self.number, has_written(&answer));
        let outcome = Outcome::Answered { returned, answer };
        self.operations.push(Operation { client, called, request, outcome });
        self.shared.acknowledged.fetch_add(usize::from(wrote), Ordering::Relaxed);
    }

    fn learn(&mut self, request: &Request, answer: &Answer) {
        let rows = match answer {
            Answer::Range { kvs, .. } => kvs.clone(),
            Answer::Txn { ops, .. } => match &ops[..] {
                [Answer::Range { kvs, .. }] => kvs.clone(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        for row in rows {
            self.known.insert(row.key, row.mod_revision);
        }
        let (Request::Txn(txn), Answer::Txn { succeeded: true, revision, .. }) = (request, answer)
        else {
            return;
        };
        self.known.extend(txn.compare.iter().map(|compare| (compare.key.clone(), *revision)));
    }

    fn next_request(&mut self) -> Request {
        let key = Bytes::from(format!("k{:02}", self.random.below(KEYS)));
        match self.random.below(100) {
            0..25 => Request::Range(RangeRequest { key, ..RangeRequest::default() }),
            25..35 => {
                Request::Range(RangeRequest { key, serializable: true, ..RangeRequest::default() })
            }
            35..40 => Request::Range(e2e::everything(0)),
            40..70 => Request::Put(self.next_put(key)),
            70..95 => Request::Txn(self.next_txn(key)),
            _ => Request::DeleteRange(DeleteRangeRequest { key, ..DeleteRangeRequest::default() }),
        }
    }

    /// Each value is written once, so that who reads it knows by whom.
    fn next_put(&mut self, key: Bytes) -> PutRequest {
        let value = format!("{}-{:x}", self.number, self.random.next_u64());
        PutRequest { key, value: value.into(), ..PutRequest::default() }
    }

    /// Puts a key if it is as known, and else reads it.
    fn next_txn(&mut self, key: Bytes) -> TxnRequest {
        let known = self.known.get(&key).copied().unwrap_or(0);
        let compare = Compare {
            result: compare::CompareResult::Equal.into(),
            target: compare::CompareTarget::Mod.into(),
            key: key.clone(),
            target_union: Some(compare::TargetUnion::ModRevision(known)),
            ..Compare::default()
        };
        let range = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let put = request_op::Request::RequestPut(self.next_put(key));
        let range = request_op::Request::RequestRange(range);
        let op = |request| vec![RequestOp { request: Some(request) }];
        TxnRequest { compare: vec![compare], success: op(put), failure: op(range) }
    }
}

async fn answer(grpc: &Grpc, request: &Request) -> Result<Answer, Status> {
    async fn ask<R: Rpc>(grpc: &Grpc, request: &R) -> Result<Answer, Status>
    where
        Answer: From<R::Reply>,
    {
        grpc.call(request).await.map(Answer::from)
    }
    match request {
        Request::Range(range) => ask(grpc, range).await,
        Request::Put(put) => ask(grpc, put).await,
        Request::DeleteRange(delete) => ask(grpc, delete).await,
        Request::Txn(txn) => ask(grpc, txn).await,
        Request::LeaseRevoke(_) => unreachable!("no client has leases"),
    }
}

fn is_serializable(request: &Request) -> bool {
    matches!(request, Request::Range(range) if range.serializable)
}

fn has_written(answer: &Answer) -> bool {
    match answer {
        Answer::Put { .. } => true,
        Answer::Delete { deleted, .. } => *deleted > 0,
        Answer::Txn { succeeded, .. } => *succeeded,
        _ => false,
    }
}

/// The longest time in which no write was acknowledged.
fn longest_gap(operations: &[Operation]) -> Duration {
    let acknowledged = operations.iter().filter_map(|asked| match &asked.outcome {
        Outcome::Answered { returned, answer } => has_written(answer).then_some(*returned),
        Outcome::Unknown => None,
    });
    let mut acknowledged: Vec<_> = acknowledged.collect();
    acknowledged.sort_unstable();
    let gaps = acknowledged.windows(2).map(|pair| pair[1] - pair[0]);
    Duration::from_nanos(gaps.max().unwrap_or(0))
}

fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.running().into_iter().map(|at| cluster.member(at).address()).collect()
}

/// Now, in the history's unit.
pub(crate) fn moment() -> u64 {
    u64::try_from(e2e::now().as_nanos()).expect("no test takes five hundred years")
}

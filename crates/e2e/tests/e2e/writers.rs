//! Writers that know what must be there: each owns some keys, writes one request after the other,
//! and remembers every reply.
//!
//! A request without a reply (the server was killed) is the only thing that a writer does not know:
//! then its keys are either as before or as after it, whole.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use e2e::{Client, Grpc, Member, Status};
use env::Random;
use proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, HashKvRequest, HashKvResponse,
    LeaseGrantRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    compare, request_op,
};
use proto::mvccpb::KeyValue;
use tokio::runtime::Runtime;

const WRITERS: usize = 16;
const KEYS: u64 = 8;
const LEASES: i64 = 4;

/// Keys and what they hold.
type Keys = BTreeMap<String, KeyValue>;

/// All the writers, and what they know of the store over crashes and restarts.
pub(crate) struct Writers {
    writers: Vec<Writer>,
    /// Revisions that were given to somebody: nobody else may get one of them again.
    revisions: HashSet<i64>,
    compacted: i64,
    hash: Option<HashKvResponse>,
    random: Random,
    runtime: Runtime,
}

struct Writer {
    number: usize,
    random: Random,
    keys: Keys,
    /// What the keys are if the request without a reply was done; revisions in it are 0.
    perhaps: Option<Keys>,
    /// Newest last; revision, key, and what was put there.
    history: Vec<(i64, String, Option<KeyValue>)>,
    /// Revisions of the replies since they were last looked at together.
    given: Vec<i64>,
}

impl Writers {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let writers = (0..WRITERS).map(|number| Writer {
            number,
            random: random.split(),
            keys: Keys::new(),
            perhaps: None,
            history: Vec::new(),
            given: Vec::new(),
        });
        Self {
            writers: writers.collect(),
            revisions: HashSet::new(),
            compacted: 0,
            hash: None,
            random,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime starts"),
        }
    }

    /// Grants the leases that puts use; once, on an empty store.
    pub(crate) fn grant_leases(&self, member: &Member) {
        let client = Client::connect(member).unwrap();
        for id in 1..=LEASES {
            client.call(&LeaseGrantRequest { ttl: 100_000, id }).unwrap();
        }
    }

    /// Writes with all hands for a random while; `end` then stops or kills the member under them.
    pub(crate) fn write_until(&mut self, member: &mut Member, end: impl FnOnce(&mut Member)) {
        let address = member.address();
        let over = Arc::new(AtomicBool::new(false));
        let while_ms = 20 + self.random.below(300);
        let writers = std::mem::take(&mut self.writers);
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = writers
            .into_iter()
            .map(|mut writer| {
                let over = over.clone();
                let acknowledged = acknowledged.clone();
                self.runtime.spawn(async move {
                    // It may be over before this one has begun.
                    let Ok(grpc) = Grpc::connect(address).await else { return writer };
                    while !over.load(Ordering::Relaxed) && writer.write(&grpc).await {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    writer
                })
            })
            .collect();
        e2e::pause(Duration::from_millis(while_ms));
        // A slow machine may not have come to write yet.
        let some = || (acknowledged.load(Ordering::Relaxed) > 0).then_some(());
        e2e::until(Duration::from_secs(30), some).expect("somebody has written");
        end(member);
        over.store(true, Ordering::Relaxed);
        for task in tasks {
            let writer = self.runtime.block_on(task).expect("a writer does not panic");
            self.writers.push(writer);
        }
        self.no_revision_is_given_twice();
    }

    /// Reads everything and compares it with what is known.
    pub(crate) fn verify(&mut self, member: &Member) {
        let client = Client::connect(member).unwrap();
        let reply = client.call(&e2e::everything(0)).unwrap();
        let header = reply.header.expect("a reply has a header");
        let newest = self.revisions.iter().max().copied().unwrap_or(1);
        assert!(
            header.revision >= newest,
            "{} is at revision {}, but {newest} was acknowledged",
            member.name(),
            header.revision
        );
        let mut found: Vec<Keys> = vec![Keys::new(); WRITERS];
        for kv in reply.kvs {
            let key = String::from_utf8_lossy(&kv.key).into_owned();
            let number = key.split('/').next().and_then(|number| number.parse::<usize>().ok());
            found[number.expect("only writers write")].insert(key, kv);
        }
        for (writer, found) in self.writers.iter_mut().zip(found) {
            writer.settle(found, member.name());
        }
        self.no_revision_is_given_twice();
        self.verify_history(&client);
        self.verify_leases(&client);
        self.verify_hash(&client);
    }

    /// Compacts some way behind the newest revision.
    pub(crate) fn compact(&mut self, member: &Member) {
        let newest = self.revisions.iter().max().copied().unwrap_or(1);
        let revision = newest - i64::try_from(self.random.below(200)).unwrap_or(0);
        if revision <= self.compacted {
            return;
        }
        let client = Client::connect(member).unwrap();
        let physical = self.random.chance(1, 2);
        client.call(&CompactionRequest { revision, physical }).unwrap();
        self.compacted = revision;
        self.hash = None;
        self.verify_hash(&client);
    }

    /// How many writes were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.revisions.len()
    }

    fn no_revision_is_given_twice(&mut self) {
        for revision in self.writers.iter_mut().flat_map(|writer| writer.given.drain(..)) {
            assert!(self.revisions.insert(revision), "revision {revision} was given twice");
        }
    }

    /// Some of the old values are still to be had at their revisions.
    fn verify_history(&mut self, client: &Client) {
        for writer in &mut self.writers {
            writer.history.retain(|(revision, ..)| *revision >= self.compacted);
            if writer.history.is_empty() {
                continue;
            }
            let at = writer.random.index(writer.history.len());
            let (revision, name, value) = &writer.history[at];
            let (key, revision) = (name.clone().into(), *revision);
            let request = RangeRequest { key, revision, ..RangeRequest::default() };
            let reply = client.call(&request).unwrap();
            assert_eq!(reply.kvs.first(), value.as_ref(), "{name} at revision {revision}");
        }
    }

    fn verify_leases(&self, client: &Client) {
        for id in 1..=LEASES {
            let reply = client.call(&LeaseTimeToLiveRequest { id, keys: true }).unwrap();
            assert_eq!(reply.granted_ttl, 100_000, "lease {id}");
            let attached: HashSet<_> =
                reply.keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
            let known = self.writers.iter().flat_map(|writer| &writer.keys);
            let known = known.filter(|(_, kv)| kv.lease == id).map(|(key, _)| key.clone());
            assert_eq!(attached, known.collect(), "keys of lease {id}");
        }
    }

    /// The hash of all history up to the last look is what it was then, whoever computes it.
    fn verify_hash(&mut self, client: &Client) {
        if let Some(before) = self.hash {
            let now = client.call(&HashKvRequest { revision: before.hash_revision }).unwrap();
            assert_eq!(HashKvResponse { header: None, ..now }, before);
        }
        let now = client.call(&HashKvRequest { revision: 0 }).unwrap();
        self.hash = Some(HashKvResponse { header: None, ..now });
    }
}

impl Writer {
    /// Writes once; false if nobody answered.
    async fn write(&mut self, grpc: &Grpc) -> bool {
        let (request, mut after) = self.next_request();
        match grpc.call(&request).await {
            Ok(reply) => {
                assert!(reply.succeeded, "{request:?} on {:?}", self.keys);
                let revision = reply.header.expect("a reply has a header").revision;
                date(&mut after, revision);
                self.remember(revision, after);
                true
            }
            Err(Status { code: 14 | 4 | 1, .. }) => {
                self.perhaps = Some(after);
                false
            }
            Err(status) => panic!("{status:?} for {request:?}"),
        }
    }

    /// A transaction that puts one or two keys and perhaps deletes one, if the keys are as known;
    /// and what they are then.
    fn next_request(&mut self) -> (TxnRequest, Keys) {
        let mut request = TxnRequest::default();
        let mut after = self.keys.clone();
        let first = self.random.below(KEYS);
        for step in 0..1 + self.random.below(3) {
            let key = format!("{:02}/{}", self.number, (first + step) % KEYS);
            let known = self.keys.get(&key);
            request.compare.push(unchanged(&key, known));
            // The first one always puts: then every request has a revision of its own.
            let operation = if step > 0 && known.is_some() && self.random.chance(1, 3) {
                after.remove(&key);
                let key = key.into();
                let delete = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
                request_op::Request::RequestDeleteRange(delete)
            } else {
                let put = self.next_put(&key);
                let kv = after.entry(key).or_default();
                kv.key = put.key.clone();
                kv.value = put.value.clone();
                kv.lease = put.lease;
                kv.version += 1;
                kv.mod_revision = 0;
                request_op::Request::RequestPut(put)
            };
            request.success.push(RequestOp { request: Some(operation) });
        }
        (request, after)
    }

    fn next_put(&mut self, key: &str) -> PutRequest {
        // Mostly small; now and then some pages long.
        let length = if self.random.chance(1, 50) { 20_000 } else { self.random.index(300) };
        let mut value = vec![0; length];
        self.random.fill(&mut value);
        let lease = if self.random.chance(1, 4) { 1 + self.random.below(LEASES as u64) } else { 0 };
        let (key, value, lease) = (key.to_owned().into(), value.into(), lease as i64);
        PutRequest { key, value, lease, ..PutRequest::default() }
    }

    fn remember(&mut self, revision: i64, after: Keys) {
        self.given.push(revision);
        for (key, kv) in &after {
            if kv.mod_revision == revision {
                self.history.push((revision, key.clone(), Some(kv.clone())));
            }
        }
        for key in self.keys.keys().filter(|key| !after.contains_key(*key)) {
            self.history.push((revision, key.clone(), None));
        }
        self.keys = after;
    }

    /// Takes what is there as known, if it is what it must be.
    fn settle(&mut self, found: Keys, server: &str) {
        if found == self.keys {
            self.perhaps = None;
            return;
        }
        let Some(mut perhaps) = self.perhaps.take() else {
            panic!("after {server}'s start: found {found:#?}, acknowledged {:#?}", self.keys);
        };
        let revision = found.values().map(|kv| kv.mod_revision).max().unwrap_or(0);
        let newest = self.history.last().map_or(0, |(revision, ..)| *revision);
        assert!(revision > newest, "an unanswered write at {revision}, after one at {newest}");
        date(&mut perhaps, revision);
        assert_eq!(found, perhaps, "after {server}'s start: neither before nor after the write");
        self.remember(revision, perhaps);
    }
}

/// Says at which revision the keys changed that have none yet.
fn date(keys: &mut Keys, revision: i64) {
    for kv in keys.values_mut().filter(|kv| kv.mod_revision == 0) {
        kv.mod_revision = revision;
        if kv.create_revision == 0 {
            kv.create_revision = revision;
        }
    }
}

fn unchanged(key: &str, known: Option<&KeyValue>) -> Compare {
    let revision = known.map_or(0, |kv| kv.mod_revision);
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Mod.into(),
        key: key.to_owned().into(),
        target_union: Some(compare::TargetUnion::ModRevision(revision)),
        ..Compare::default()
    }
}

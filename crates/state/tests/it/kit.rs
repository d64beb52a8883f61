use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use env::RealDisk;
use mvcc::{Backend, KvFields, Progress};
use proto::Message;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    DeleteRangeRequest, InternalRaftRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
    RangeRequest, RequestOp, TxnRequest,
};
use proto::raftpb::{ConfChange, ConfState, Entry, EntryType};
use state::{
    Applied, ConfChanged, Effect, EntryId, EntryRequest, MemberChange, Options, Outcome, State,
};

/// A directory that is gone when the test is over.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pintle-state-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What is left behind harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) fn open_backend(db: &Path) -> Backend {
    Backend::open(Arc::new(RealDisk), db, bolt::Options::default()).expect("a db file")
}

/// A member without raft: it applies what it is given, one entry after the other.
pub(crate) struct Machine {
    pub(crate) state: State,
    next: u64,
    voters: Vec<u64>,
    /// Where the db lies, if nobody else takes care of it.
    dir: Option<TempDir>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let dir = TempDir::new();
        let machine = Self::open(&dir.path().join("db"), options);
        Self { dir: Some(dir), ..machine }
    }

    pub(crate) fn open(db: &Path, options: Options) -> Self {
        let state = State::open(open_backend(db), options).expect("a readable state");
        let next = state.applied().index + 1;
        Self { state, next, voters: Vec::new(), dir: None }
    }

    /// Commits everything and opens the db file again.
    pub(crate) fn restart(mut self, options: Options) -> Self {
        self.commit();
        let dir = self.dir.take().expect("a machine with its own directory");
        drop(self);
        let machine = Self::open(&dir.path().join("db"), options);
        Self { dir: Some(dir), ..machine }
    }

    pub(crate) fn next_id(&mut self) -> EntryId {
        let at = EntryId { index: self.next, term: 2 };
        self.next += 1;
        at
    }

    /// Applies a request as the next entry, for a client that waits.
    pub(crate) fn apply(&mut self, request: &InternalRaftRequest) -> Applied {
        let at = self.next_id();
        self.state.apply(at, request, true).expect("an entry that can be applied")
    }

    pub(crate) fn outcome(&mut self, request: &InternalRaftRequest) -> Outcome {
        self.apply(request).outcome
    }

    /// Applies a conf change as the next entry.
    pub(crate) fn change(&mut self, change: &ConfChange) -> ConfChanged {
        let at = self.next_id();
        self.state.apply_conf_change(at, change).expect("a change that can be applied")
    }

    /// Where an entry of a log stands; it is the one that comes next.
    pub(crate) fn id_of(&mut self, entry: &Entry) -> EntryId {
        self.next = entry.index() + 1;
        EntryId { index: entry.index(), term: entry.term() }
    }

    /// Applies an entry of a log, and all that follows from it.
    pub(crate) fn apply_entry(&mut self, entry: &Entry) {
        let at = self.id_of(entry);
        let data = Bytes::copy_from_slice(entry.data());
        if entry.r#type() == EntryType::EntryConfChange {
            return self.apply_conf_change(at, &data);
        }
        match EntryRequest::read(&data).expect("a request") {
            EntryRequest::Request(request) => {
                let applied = self.state.apply(at, &request, false).expect("an entry");
                run(applied.effect);
            }
            EntryRequest::Empty | EntryRequest::Ignored { .. } => self.state.apply_empty(at),
        }
    }

    fn apply_conf_change(&mut self, at: EntryId, data: &Bytes) {
        let change = ConfChange::decode(data.clone()).expect("a conf change");
        match self.state.apply_conf_change(at, &change).expect("a conf change") {
            ConfChanged::Accepted(MemberChange::Add(member)) if !member.is_learner => {
                self.voters.push(member.id.0);
            }
            ConfChanged::Accepted(MemberChange::Remove(id)) => {
                self.voters.retain(|voter| *voter != id.0);
            }
            ConfChanged::Accepted(_) => {}
            ConfChanged::Rejected(_) | ConfChanged::Old => return,
        }
        let members = self.state.views().members.roster();
        self.state.set_conf_state(ConfState {
            voters: self.voters.clone(),
            learners: members.learners().map(|member| member.id.0).collect(),
            ..ConfState::default()
        });
    }

    /// Brings everything to the db file.
    pub(crate) fn commit(&mut self) {
        let backend = self.state.views().backend.clone();
        while self.state.seal() {
            backend.commit_sealed().expect("a commit");
        }
    }

    /// Key, value, create and mod revision, version, lease of all keys.
    pub(crate) fn rows(&self) -> Vec<String> {
        let all = mvcc::Range::of(mvcc::KeyRange::all());
        let ranged = self.state.views().reader.range(&all).expect("all rows");
        ranged.kvs.iter().map(row).collect()
    }

    pub(crate) fn revision(&self) -> i64 {
        self.state.views().reader.current_revision()
    }
}

/// A row as one line.
pub(crate) fn row(kv: &Bytes) -> String {
    let kv = KvFields::parse(kv).expect("a row");
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let KvFields { create_revision, mod_revision, version, lease, .. } = kv;
    format!(
        "{}={} {create_revision}/{mod_revision}/{version}/{lease}",
        text(kv.key),
        text(kv.value)
    )
}

/// Does what follows from an entry outside of the state.
pub(crate) fn run(effect: Effect) {
    if let Effect::Compaction(mut job) = effect {
        while job.step(1000).expect("a step") != Progress::Done {}
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() }
}

pub(crate) fn put_op(key: &str, value: &str) -> RequestOp {
    op(Request::RequestPut(put(key, value)))
}

pub(crate) fn range_op(key: &str, end: &str) -> RequestOp {
    op(Request::RequestRange(range(key, end)))
}

pub(crate) fn delete_op(key: &str, end: &str) -> RequestOp {
    op(Request::RequestDeleteRange(delete(key, end)))
}

pub(crate) fn txn_op(txn: TxnRequest) -> RequestOp {
    op(Request::RequestTxn(txn))
}

pub(crate) fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

pub(crate) fn range(key: &str, end: &str) -> RangeRequest {
    RangeRequest { key: bytes(key), range_end: bytes(end), ..RangeRequest::default() }
}

pub(crate) fn delete(key: &str, end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: true }
}

pub(crate) fn on_put(put: PutRequest) -> InternalRaftRequest {
    InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() }
}

pub(crate) fn on_delete(delete: DeleteRangeRequest) -> InternalRaftRequest {
    InternalRaftRequest { delete_range: Some(delete), ..InternalRaftRequest::default() }
}

pub(crate) fn on_txn(txn: TxnRequest) -> InternalRaftRequest {
    InternalRaftRequest { txn: Some(txn), ..InternalRaftRequest::default() }
}

pub(crate) fn on_grant(id: i64, ttl: i64) -> InternalRaftRequest {
    let grant = LeaseGrantRequest { ttl, id };
    InternalRaftRequest { lease_grant: Some(grant), ..InternalRaftRequest::default() }
}

pub(crate) fn on_revoke(id: i64) -> InternalRaftRequest {
    let revoke = LeaseRevokeRequest { id };
    InternalRaftRequest { lease_revoke: Some(revoke), ..InternalRaftRequest::default() }
}

pub(crate) fn on_compact(revision: i64) -> InternalRaftRequest {
    let compaction = proto::etcdserverpb::CompactionRequest { revision, physical: false };
    InternalRaftRequest { compaction: Some(compaction), ..InternalRaftRequest::default() }
}

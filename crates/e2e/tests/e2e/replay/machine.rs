//! Our state, fed with the entries of a log, without raft and in one thread.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::{Random, RealDisk};
use mvcc::{Backend, CompactJob, KeyRange, Progress, Range};
use proto::Message as _;
use proto::etcdserverpb::HashKvResponse;
use proto::raftpb::{ConfChange, ConfState, Entry, EntryType};
use state::{ConfChanged, Effect, EntryId, EntryRequest, MemberChange, Options, State};

pub(super) struct Machine {
    state: State,
    voters: Vec<u64>,
    compactions: VecDeque<CompactJob>,
    random: Random,
}

impl Machine {
    pub(super) fn open(db: &Path, random: Random) -> Self {
        let options = bolt::Options { no_sync: true, ..bolt::Options::default() };
        let backend = Backend::open(Arc::new(RealDisk), db, options).expect("a new db file");
        // The shortest TTL at a heartbeat of 10 ms and an election of 100 ms.
        let options = Options { min_lease_ttl: state::min_lease_ttl(10, 10), ..Options::default() };
        let state = State::open(backend, options).expect("a new state");
        Self { state, voters: Vec::new(), compactions: VecDeque::new(), random }
    }

    /// Applies an entry; then, by chance, goes on with compactions or commits.
    pub(super) fn apply(&mut self, entry: &Entry) {
        let at = EntryId { index: entry.index(), term: entry.term() };
        let data = Bytes::copy_from_slice(entry.data());
        if entry.r#type() == EntryType::EntryConfChange {
            self.change(at, &data);
            return;
        }
        match EntryRequest::read(&data).expect("a request") {
            EntryRequest::Request(request) => {
                let answered = self.random.chance(1, 2);
                let applied = self.state.apply(at, &request, answered).expect("an entry");
                if let Effect::Compaction(job) = applied.effect {
                    self.compactions.push_back(job);
                }
                // The client waited for it, so it was done before the next entry.
                if request.compaction.is_some_and(|compaction| compaction.physical) {
                    while self.compact() {}
                }
            }
            EntryRequest::Empty | EntryRequest::Ignored { .. } => self.state.apply_empty(at),
        }
        if self.random.chance(1, 4) {
            self.compact();
        }
        if self.random.chance(1, 10) {
            self.commit();
        }
    }

    /// The hash as the rpc has it.
    pub(super) fn hash_kv(&self, revision: i64) -> HashKvResponse {
        let hash = self.state.views().reader.hash_kv(revision).expect("a revision that is kept");
        HashKvResponse {
            header: None,
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.revision,
        }
    }

    /// Whether no key lives at a revision.
    pub(super) fn is_empty_at(&self, revision: i64) -> bool {
        let all = KeyRange::From(Bytes::new());
        let ranged = self.state.views().reader.range(&Range { revision, ..Range::of(all) });
        ranged.expect("a revision that is kept").count == 0
    }

    /// Ends in good order: no compaction is half done, and all is in the file.
    pub(super) fn finish(mut self) {
        while self.compact() {}
        self.commit();
    }

    /// Does a part of the oldest compaction; false if there is none.
    fn compact(&mut self) -> bool {
        let limit = 1 + self.random.index(20);
        let Some(job) = self.compactions.front_mut() else { return false };
        if job.step(limit).expect("a step of a compaction") == Progress::Done {
            self.compactions.pop_front();
        }
        true
    }

    fn commit(&mut self) {
        while self.state.seal() {
            self.state.views().backend.commit_sealed().expect("a commit");
        }
    }

    fn change(&mut self, at: EntryId, data: &Bytes) {
        let change = ConfChange::decode(data.clone()).expect("a conf change");
        let changed = self.state.apply_conf_change(at, &change).expect("a conf change");
        let ConfChanged::Accepted(MemberChange::Add(member)) = changed else {
            panic!("the only change is the member itself, not {changed:?}");
        };
        self.voters.push(member.id.0);
        let conf_state = ConfState { voters: self.voters.clone(), ..ConfState::default() };
        self.state.set_conf_state(conf_state);
    }
}

//! What the cluster has agreed on, and what follows from it.

use std::collections::{BTreeMap, HashMap};

use proto::Message as _;
use proto::etcdserverpb::InternalRaftRequest;
use proto::raftpb::{Entry, EntryType, Message, MessageType};
use raft::StateRole;
use state::Rejected;

use super::host::Host;
use crate::check::{Broken, LogId, RaftWatch, Says};
use crate::model::Model;
use crate::reference::Reference;
use crate::told::Told;
use crate::verdict::{Checked, Checker, ensure};

/// What a request must be answered with, and the revision after it.
pub(super) type Due = (Result<Told, Rejected>, i64);

pub(super) struct Truth {
    pub(super) raft: RaftWatch,
    /// Entries that were seen in some log and are not committed yet, by index and term.
    seen: BTreeMap<(u64, u64), Entry>,
    /// What is committed, from index 1 on.
    pub(super) log: Vec<Entry>,
    pub(super) model: Model,
    pub(super) reference: Reference,
    /// What clients have asked, by id.
    asked: HashMap<u64, InternalRaftRequest>,
    due: HashMap<u64, Due>,
    /// Leases whose end no client has asked for, since the last look.
    pub(super) ended: Vec<i64>,
    pub(super) compactions: u64,
    pub(super) changes: u64,
}

impl Truth {
    pub(super) fn new(min_lease_ttl: i64) -> Checked<Self> {
        Ok(Self {
            raft: RaftWatch::new(),
            seen: BTreeMap::new(),
            log: Vec::new(),
            model: Model::new(min_lease_ttl),
            reference: Reference::new(min_lease_ttl)?,
            asked: HashMap::new(),
            due: HashMap::new(),
            ended: Vec::new(),
            compactions: 0,
            changes: 0,
        })
    }

    pub(super) fn asked(&mut self, id: u64, request: InternalRaftRequest) -> Checked {
        let before = self.asked.insert(id, request);
        ensure(before.is_none(), Checker::Log, || format!("the id {id:x} was given twice"))
    }

    /// What a request must be answered with, once it is committed.
    pub(super) fn due(&self, id: u64) -> Option<&Due> {
        self.due.get(&id)
    }

    /// How much is committed.
    pub(super) fn committed(&self) -> u64 {
        self.log.len() as u64
    }

    /// Looks at a member after a step.
    pub(super) fn look(&mut self, host: &Host) -> Checked {
        let Some(member) = &host.member else { return Ok(()) };
        let status = member.raft();
        let says = Says {
            member: host.id,
            term: status.hard_state.term.0,
            vote: status.hard_state.vote.map_or(0, raft::NodeId::get),
            leads: status.soft_state.role == StateRole::Leader,
            commit: status.hard_state.commit.0,
            applied: member.applied().index,
            first_index: status.first_index.0,
            last_index: status.last_index.0,
            entry: &|index| member.entry(index).map(|entry| log_id(&entry)),
        };
        let from = self.raft.look(&says).map_err(raft_broken)?;
        for index in from.max(self.committed() + 1)..=says.last_index {
            if let Some(entry) = member.entry(index) {
                self.seen.insert((index, entry.term()), entry);
            }
        }
        if says.commit > self.committed() && !self.has_seen_up_to(says.commit) {
            // Many at once, of which some are not in memory any more.
            let entries = host.read_log().unwrap_or_default().into_iter();
            for entry in entries.filter(|entry| entry.index() <= says.commit) {
                self.seen.entry((entry.index(), entry.term())).or_insert_with(|| entry.clone());
                let found = self.raft.committed_on_disk(host.id, entry.index(), log_id(&entry));
                found.map_err(raft_broken)?;
            }
        }
        while self.committed() < says.commit {
            let index = self.committed() + 1;
            // Which term it is of, this member knows, or the one that has committed it before.
            let known = self.raft.committed(index);
            let entry = known.and_then(|id| self.seen.get(&(index, id.term)).cloned());
            let Some(entry) = entry else {
                let what = format!("{says:?} has committed {index}, which nobody has seen");
                return Err((Checker::Raft, what));
            };
            self.commit(entry)?;
        }
        Ok(())
    }

    fn has_seen_up_to(&self, commit: u64) -> bool {
        let mut new = self.committed() + 1..=commit;
        new.all(|index| {
            let known = self.raft.committed(index);
            known.is_some_and(|id| self.seen.contains_key(&(index, id.term)))
        })
    }

    fn commit(&mut self, entry: Entry) -> Checked {
        let index = entry.index();
        self.seen.retain(|(at, _), _| *at > index);
        self.reference.apply(&entry)?;
        if entry.r#type() != EntryType::EntryNormal {
            self.changes += 1;
        } else if !entry.data().is_empty() {
            let request = InternalRaftRequest::decode(entry.data())
                .map_err(|error| (Checker::Log, format!("entry {index}: {error}")))?;
            self.commit_request(index, request)?;
        }
        self.log.push(entry);
        Ok(())
    }

    fn commit_request(&mut self, index: u64, request: InternalRaftRequest) -> Checked {
        let id = request.header.as_ref().map_or(0, |header| header.id);
        let told = self.model.apply(&request);
        self.compactions += u64::from(told == Ok(Told::Compaction));
        let plain = InternalRaftRequest { header: None, ..request };
        match self.asked.get(&id) {
            Some(asked) => ensure(*asked == plain, Checker::Log, || {
                format!("entry {index} is {plain:?}, asked was {asked:?}")
            })?,
            // A leader asks by itself for the end of leases.
            None => {
                let revoke = plain.lease_revoke.as_ref();
                ensure(revoke.is_some(), Checker::Log, || {
                    format!("entry {index} was never asked for: {plain:?}")
                })?;
                if told.is_ok() {
                    self.ended.extend(revoke.map(|revoke| revoke.id));
                }
            }
        }
        let revision = self.model.revision();
        let before = self.due.insert(id, (told, revision));
        ensure(before.is_none(), Checker::Log, || {
            format!("entry {index} is there for the second time: {plain:?}")
        })
    }

    /// Looks at what a member says to another one.
    pub(super) fn hear(&mut self, message: &Message) -> Checked {
        let (member, term, to) = (message.from(), message.term(), message.to());
        let voted = match message.r#type() {
            MessageType::MsgVoteResp if !message.reject() => self.raft.voted(member, term, to),
            // Who asks for votes has voted for itself.
            MessageType::MsgVote => self.raft.voted(member, term, member),
            _ => Ok(()),
        };
        voted.map_err(raft_broken)
    }
}

fn log_id(entry: &Entry) -> LogId {
    let checksum = crc32c::crc32c(&entry.r#type.unwrap_or_default().to_le_bytes());
    LogId { term: entry.term(), checksum: crc32c::crc32c_append(checksum, entry.data()) }
}

fn raft_broken(broken: Broken) -> (Checker, String) {
    (Checker::Raft, broken.to_string())
}

//! Consensus, pure: messages in, Ready out.
//!
//! The algorithm is Raft with etcd-io/raft's semantics, because that is what etcd's users and
//! mixed clusters get; the code is our own.
//!
//! ```text
//!      propose, read_index, campaign ...        messages of other members
//!                     |                                   |
//!                     v                                   v
//!                .----------------- RawNode -------------------.
//!                |  role: follower | candidate | leader        |
//!     tick  ---> |  log: unstable tail over your Storage       |
//!                |  tracker: configuration, progress of members|
//!                '---------------------------------------------'
//!                     |               |                 |
//!                 Ready.append    Ready.messages    Ready.apply
//!                     v               v                 v
//!              write, sync        send now       apply, then
//!              on_append_done -> send what was   on_apply_done
//!                                held back
//! ```
//!
//! # The loop
//!
//! There is one mode: storage is written asynchronously, in order, and the driver says when. To
//! do all of it on the spot is this loop:
//!
//! ```
//! use raft::{Config, ConfState, EntryBody, MemStorage, NodeId, RawNode, Ready, StateRole};
//!
//! let id = NodeId::new(1).unwrap();
//! let mut storage = MemStorage::<&str>::new();
//! storage.set_conf_state(ConfState { voters: vec![id], ..ConfState::default() });
//! let mut node = RawNode::new(Config::new(id), storage)?;
//! let (mut ready, mut outbox, mut state) = (Ready::default(), Vec::new(), Vec::new());
//!
//! node.campaign()?;
//! let mut proposed = false;
//! while node.has_ready() {
//!     node.ready(&mut ready)?;
//!     outbox.append(&mut ready.messages);
//!     if let Some(append) = ready.append.take() {
//!         // Here the write-ahead log is written, and synced if `append.must_sync`.
//!         let storage = node.storage_mut();
//!         if let Some(hard_state) = append.hard_state {
//!             storage.set_hard_state(hard_state);
//!         }
//!         if let Some(snapshot) = append.snapshot {
//!             storage.apply_snapshot(snapshot)?;
//!         }
//!         storage.append(append.entries)?;
//!         node.on_append_done(append.ticket, &mut outbox)?;
//!     }
//!     if let Some(apply) = ready.apply.take() {
//!         for entry in &apply.entries {
//!             match &entry.body {
//!                 EntryBody::Normal(payload) => state.push(payload.clone()),
//!                 EntryBody::ConfChange(change) => {
//!                     node.apply_conf_change(entry.id.index, change)?;
//!                 }
//!                 EntryBody::Empty | EntryBody::Refused => {}
//!             }
//!         }
//!         node.on_apply_done(apply.ticket)?;
//!     }
//!     // `outbox` is sent here.
//!     if !proposed && node.status().soft_state.role == StateRole::Leader {
//!         node.propose("hello")?;
//!         proposed = true;
//!     }
//! }
//! assert_eq!(state, ["hello"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When the connection to the leader drops
//!
//! An election need not wait for the timer then. The driver of each follower
//!
//! 1. calls [`RawNode::forget_leader`] at once: it will grant a pre-vote from now on;
//! 2. calls [`RawNode::pre_campaign`] after a moment that differs from member to member, if there
//!    is no leader and no new term by then; where two ask at once, one calls
//!    [`RawNode::stand_back`]; and, if there is still no leader, each asks again some times, each
//!    time later, against votes that were split all the same;
//! 3. calls [`RawNode::remember_leader`] if the connection is back before anything came of it.
//!
//! It is safe at any time, since it only shortens the wait before a pre-vote. And a healthy leader
//! keeps its office while a link flaps: whoever hears of it refuses ([`Config::check_quorum`] must
//! be on, everywhere), so as long as fewer than a majority have lost it, the question is asked in
//! vain, and a question raises no term. Links that flap in turn, within less time than an answer
//! is on its way, are not covered: an answer may then be counted by the next question.
//!
//! # What it never knows
//!
//! No clock, disk, socket, thread or ambient chance (`no_std` enforces it); no encoding; what an
//! entry means; who the application's users are. Reply to a client when its entry is *applied*,
//! never when it is appended.
//!
//! # Invariants
//!
//! - At most one leader per term; a leader never changes its log; logs that agree on an entry
//!   agree on all before it; what is committed is in the log of every later leader.
//! - `applied <= applying <= committed <= last_index`; `matched < next` for every member.
//! - A vote, a request for votes, and an acknowledgement leave when what they rest on is on disk
//!   ([`Body::waits_for_append`]).
//! - Term, vote and commit index never decrease; a vote is given once per term.
//! - What a peer sends can make a node answer, ignore, or fail ([`Fatal`]); it cannot panic it.
//!
//! # Deliberate differences from etcd-io/raft v3.7.0
//!
//! All are local, so that mixed clusters work. Traces may differ by these and nothing else.
//!
//! | here | there | why | test |
//! |---|---|---|---|
//! | `Vote` waits for the candidate's own append | sent at once | a candidate that crashes before its term is on disk campaigns in the same term again, with another log, and is voted for again | `hole_5_1` |
//! | handing out a conf change forces a synced commit index | no sync | a crash must not undo a configuration | `hole_5_2` |
//! | a sole voter, too, answers reads only after a commit in its term | at once | it does not know what was committed before | `hole_5_3` |
//! | "sole voter" means this node | any one voter | a removed leader sees one voter too | `hole_5_4` |
//! | a removed or demoted leader steps down | an option, off in etcd | it leads without a vote | `a_leader_that_is_removed_or_demoted_steps_down` |
//! | a refusal by a member that is no voter any more says what is committed | a bare refusal | if its removal is not known to be committed, its vote may be needed and it may be unable to give it | `hole_5_4_the_member_that_stays` |
//! | one entry is always handed out, whatever the limit | a limit of 0 stops a restarted node | liveness | `hole_5_5` |
//! | one definition of "leave joint", and the result is checked at propose | two, form only | a change that passes and then fails stops every replica | `hole_5_6` |
//! | snapshot and entries in one append: snapshot first; no snapshot to send is "later" | undefined; panic | both happen | `hole_5_7` |
//! | a conf change from before a received snapshot is not applied on top of its configuration | applied, which fails or corrupts it | with asynchronous storage an apply may be under way | `a_conf_change_from_before_a_snapshot` |
//! | reads of an earlier leadership are dropped, pending ones are bounded | kept, unbounded | memory, and nobody waits for them | `a_deposed_leader_answers_nothing`, `etcd_12680_reads_beyond_the_bound_are_dropped` |
//! | lease-based reads end with the first `TimeoutNow` of a term | go on | the target may be elected at once | `openraft_1747_a_lease_ends_with_a_transfer` |
//! | a leader of several whose storage stalls for an election timeout steps down | leads for ever | it commits no more without the others (etcd #13527) | `etcd_13527_a_leader_whose_disk_stalls_steps_down` |
//! | a lost log, a contradicted committed entry, failing storage: [`Fatal`] | panic | a driver decides | `raft_25_a_member_that_lost_its_log`, `openraft_1892_a_member_that_contradicts_the_leader` |
//! | a member that denies what it has acknowledged is probed anew | asked the same for ever | so a lost log is repaired | `raft_104_a_member_that_lost_its_log` |
//! | what was applied counts as committed at a restart | an applied index beyond the stored commit index panics | a state machine may be saved when a commit index is not | `what_was_applied_is_committed_at_a_restart` |
//! | entries of an append are checked to be consecutive, with rising terms | trusted | peers cannot break the log | `appends_that_no_leader_can_have_sent` |
//! | a message of term zero is old news | taken for a local call, in any term | nothing that comes from outside is local | `a_message_of_term_zero_is_old_news` |
//!
//! # Files, in reading order
//!
//! `types` `entry` `conf_change` `message` the words; `storage` `storage/mem` what the driver
//! keeps; `config` `error`; `quorum` `quorum/majority` `quorum/joint` the arithmetic;
//! `tracker` `tracker/progress` `tracker/inflights` the members; `conf_changer`; `log_unstable`
//! `log`; `read_only`; `raft` and `raft/*` the roles; `ready` `raw_node` `status` the door;
//! `describe` what scripts print; `trace` events for the TLA+ specification.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod conf_change;
mod conf_changer;
mod config;
mod describe;
mod entry;
mod error;
mod log;
mod log_unstable;
mod message;
mod quorum;
mod raft;
mod raw_node;
mod read_only;
mod ready;
mod rng;
mod status;
mod storage;
mod trace;
mod tracker;
mod types;

pub use conf_change::{
    ConfChange, ConfChangeKind, ConfChangeSingle, ConfChangeTransition, ConfState,
};
pub use config::Config;
pub use entry::{Entry, EntryBody, Payload};
pub use error::{
    CampaignRefused, ConfChangeError, ConfigError, DropReason, Fatal, OutOfOrder, StartError,
    StepError, StorageError,
};
pub use message::{Body, Message};
pub use quorum::VoteResult;
pub use quorum::joint::JointConfig;
pub use raft::SnapshotStatus;
pub use raw_node::RawNode;
pub use read_only::{ReadOnlyOption, ReadState};
pub use ready::{AppendTicket, ApplyTicket, PendingAppend, Ready, StorageAppend, StorageApply};
pub use status::Status;
pub use storage::mem::MemStorage;
pub use storage::{Snapshot, SnapshotMeta, Storage};
pub use trace::{TraceEvent, TraceKind};
pub use tracker::Config as Membership;
pub use tracker::progress::{Progress, ProgressState};
pub use types::{EntryId, HardState, LogIndex, NodeId, NodeSet, SoftState, StateRole, Term};

//! Whole members, and clusters of them, in one thread from a seed: faults, workloads, checkers.
//!
//! ```text
//!             seed
//!               |
//!   workload ---+--> [ run ] --propose, step, commit, compact, ...--> [ node::Stepped ]
//!                       |  ^                                               |
//!           death and   |  '--- answers, reads, events                     v
//!           recovery    v                                    [ Tap ] -> [ env::SimDisk ]
//!                   [ checks ]  log = what was asked, in order     (digest)   (faults)
//!                       |       answers, rows, leases, alarms = [ Model ]
//!                       '------ hashes = [ Reference ], a state that never crashed
//! ```
//!
//! What holds:
//!
//! * The seed decides everything. Two runs of one seed make the same calls to the disk, in the
//!   same order, with the same bytes; their digests say so.
//! * The model shares no code with the member: it does the plain thing with plain maps.
//! * The log is the judge of what happened. Of what was asked it must have all that was
//!   acknowledged, and of the rest only what was asked first.
//!
//! `cluster` plays several members with a network between them, by the same model and reference:
//! what is committed is the judge there. What clients, watchers and lease holders have seen is
//! held against itself as well, by checkers that know no cluster (`check`): they judge what real
//! members answer, too.
//!
//! It never knows sockets and threads.
//!
//! Files in reading order: `run`, `recovery`, `asked`, `workload`, `model`, `told`, `reference`,
//! `watch`, `leases`, `tap`, `digest`, `verdict`; then `check`, and then `cluster`.

mod asked;
mod check;
mod cluster;
mod digest;
mod leases;
mod model;
mod recovery;
mod reference;
mod run;
mod sabotage;
mod tap;
mod told;
mod verdict;
mod watch;
mod workload;

pub use check::{
    Answer, Broken, Change, History, LeasePromise, LeaseRecord, Leniency, LogId, MemberHash,
    Moment, Operation, Outcome, RaftWatch, Replay, Request, Rule, Says, SeenEvent, WatchRecord,
    Watcher, check_hashes, check_leases, check_linearizable, check_watch,
};
pub use cluster::{ClusterBug, ClusterPlan, ClusterReport, Story, lose_leaders, run_cluster};
pub use run::{Bug, Plan, Report, run};
pub use verdict::{Checker, Violation};

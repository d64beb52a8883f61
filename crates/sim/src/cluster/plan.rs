//! What a run of a cluster is to be, and what came of it.

use std::time::Duration;

use env::Random;

use crate::check::Leniency;

/// What a run is to be.
#[derive(Debug, Clone, Copy)]
pub struct ClusterPlan {
    /// For how long things go wrong, in simulated time.
    pub time: Duration,
    /// How many members it begins with; the seed decides where this is `None`.
    pub members: Option<usize>,
    /// What happens beside the requests of clients.
    pub story: Story,
    /// What is wrong on purpose.
    pub bug: Option<ClusterBug>,
}

impl Default for ClusterPlan {
    fn default() -> Self {
        Self { time: Duration::from_secs(25), members: None, story: Story::Anything, bug: None }
    }
}

/// What happens in a run beside the requests of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// Whatever the seed says.
    Anything,
    /// Nothing.
    Peace,
    /// One follower's link to the leader breaks again and again, and is made anew at once. The
    /// leader must go on leading.
    FlappingLink,
    /// The processes of the leader and of so many others end at once, and come back when somebody
    /// else has long led. Links and disks are as quick or slow as the seed says.
    LostLeaders { others: usize },
}

impl Story {
    /// Whether nothing happens in it that could cost a leader its lead.
    pub(super) fn is_stable(self) -> bool {
        matches!(self, Self::Peace | Self::FlappingLink)
    }
}

/// Something wrong on purpose, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterBug {
    /// Disks say that they have synced logs, and have not.
    UnsyncedLog,
    /// Refusals of votes arrive as votes.
    VoteTwice,
    /// A member's word that it has appended arrives as word of more than that.
    AppendedMore,
    /// One member is sent other entries than all others.
    OtherEntries,
    /// Linearizable reads are answered without asking anybody.
    NoBarrier,
    /// Answers name another revision.
    WrongRevision,
    /// A watcher misses an event.
    DroppedEvent,
    /// A watcher is told of an event twice.
    DoubledEvent,
    /// Clocks run four times as fast as they are allowed to.
    FastClock,
    /// Nobody looks at leases.
    EndlessLease,
    /// One member has not applied an entry.
    SkippedApply,
    /// Nobody hears anybody once all is well again.
    Deaf,
}

/// What happened in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterReport {
    /// A checksum over all messages, all calls to disks and all answers.
    pub digest: u64,
    /// Steps of members.
    pub steps: u64,
    /// Committed entries.
    pub entries: u64,
    /// Terms that had a leader.
    pub elections: u64,
    /// Messages that arrived.
    pub messages: u64,
    /// Messages that got lost.
    pub lost_messages: u64,
    /// Requests that were answered.
    pub answers: u64,
    /// Requests that nobody heard of again.
    pub unanswered: u64,
    /// Of those, what was done all the same.
    pub unanswered_done: u64,
    /// Linearizable reads that were answered.
    pub reads: u64,
    /// Renewals of leases that were answered.
    pub renewals: u64,
    /// Leases that ended by themselves.
    pub expired: u64,
    /// Events that were watched.
    pub events: u64,
    /// Times that a watcher began again.
    pub resumed: u64,
    /// Compactions that were agreed on.
    pub compactions: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Times that only a process ended.
    pub kills: u64,
    /// Times that a member was stopped in order.
    pub stops: u64,
    /// Times that a process stood still.
    pub pauses: u64,
    /// Failures of disks that ended a process.
    pub failures: u64,
    /// Cuts of links.
    pub partitions: u64,
    /// Links that broke and were made anew.
    pub flaps: u64,
    /// Clocks that were changed.
    pub clocks: u64,
    /// Leaders that were asked to hand over.
    pub transfers: u64,
    /// Changes of the members that were agreed on.
    pub changes: u64,
    /// States that were taken from another member.
    pub states: u64,
}

impl ClusterReport {
    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        self.digest = self.digest.rotate_left(1) ^ other.digest;
        let mine = self.counts_mut();
        for (mine, (_, theirs)) in mine.into_iter().zip(other.counts()) {
            *mine += theirs;
        }
    }

    /// All counts with their names.
    pub fn counts(&self) -> [(&'static str, u64); 25] {
        [
            ("steps", self.steps),
            ("entries", self.entries),
            ("elections", self.elections),
            ("messages", self.messages),
            ("lost messages", self.lost_messages),
            ("answers", self.answers),
            ("unanswered requests", self.unanswered),
            ("unanswered requests that were done", self.unanswered_done),
            ("reads", self.reads),
            ("renewals", self.renewals),
            ("expired leases", self.expired),
            ("events", self.events),
            ("resumed watchers", self.resumed),
            ("compactions", self.compactions),
            ("power cuts", self.power_cuts),
            ("kills", self.kills),
            ("stops", self.stops),
            ("pauses", self.pauses),
            ("failures", self.failures),
            ("partitions", self.partitions),
            ("flaps", self.flaps),
            ("changed clocks", self.clocks),
            ("transfers", self.transfers),
            ("changes", self.changes),
            ("states", self.states),
        ]
    }

    fn counts_mut(&mut self) -> [&mut u64; 25] {
        [
            &mut self.steps,
            &mut self.entries,
            &mut self.elections,
            &mut self.messages,
            &mut self.lost_messages,
            &mut self.answers,
            &mut self.unanswered,
            &mut self.unanswered_done,
            &mut self.reads,
            &mut self.renewals,
            &mut self.expired,
            &mut self.events,
            &mut self.resumed,
            &mut self.compactions,
            &mut self.power_cuts,
            &mut self.kills,
            &mut self.stops,
            &mut self.pauses,
            &mut self.failures,
            &mut self.partitions,
            &mut self.flaps,
            &mut self.clocks,
            &mut self.transfers,
            &mut self.changes,
            &mut self.states,
        ]
    }
}

/// How much of what goes wrong in a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    /// Weights, in the order of [`Fault::ALL`].
    weights: [u64; Fault::ALL.len()],
    /// Between two faults, on the average.
    pub(super) pause_ms: u64,
    pub(super) clocks: Clocks,
    pub(super) changes_members: bool,
    /// Members start with other options than before.
    pub(super) flips_options: bool,
}

/// How clocks may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clocks {
    True,
    Skewed,
    /// A jump may end a lease at any time.
    Jumping,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Crash,
    Stop,
    Pause,
    Partition,
    Flap,
    Weather,
    SlowDisk,
    FailingDisk,
    FullDisk,
    Clock,
    Transfer,
}

impl Fault {
    pub(super) const ALL: [Self; 11] = [
        Self::Crash,
        Self::Stop,
        Self::Pause,
        Self::Partition,
        Self::Flap,
        Self::Weather,
        Self::SlowDisk,
        Self::FailingDisk,
        Self::FullDisk,
        Self::Clock,
        Self::Transfer,
    ];
}

impl Mix {
    /// Of every kind a different share in every run; some are missing.
    pub(super) fn any(random: &mut Random) -> Self {
        let weights = [(); Fault::ALL.len()].map(|()| [0, 1, 2, 6][random.index(4)]);
        let clocks = [Clocks::True, Clocks::True, Clocks::Skewed, Clocks::Jumping];
        Self {
            weights,
            pause_ms: [200, 700, 2500][random.index(3)],
            clocks: clocks[random.index(4)],
            changes_members: random.chance(1, 2),
            flips_options: random.chance(1, 4),
        }
    }

    pub(super) fn peace() -> Self {
        Self {
            weights: [0; Fault::ALL.len()],
            pause_ms: 1000,
            clocks: Clocks::True,
            changes_members: false,
            flips_options: false,
        }
    }

    pub(super) fn draw(&self, random: &mut Random) -> Option<Fault> {
        let mut at = random.below(self.weights.iter().sum());
        Fault::ALL.into_iter().zip(self.weights).find_map(|(fault, weight)| {
            let hit = at < weight;
            at = at.saturating_sub(weight);
            hit.then_some(fault)
        })
    }

    pub(super) fn leniency(&self) -> Leniency {
        let (fastest, slowest) = match self.clocks {
            Clocks::True => (1.0, 1.0),
            Clocks::Skewed => (2.0, 0.5),
            Clocks::Jumping => (1e6, 0.5),
        };
        Leniency { fastest, slowest, overtime: Duration::from_secs(3600) }
    }
}

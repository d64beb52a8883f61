//! What is to happen, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::raftpb;

/// A host by its place in the list of all.
pub(super) type HostAt = usize;

/// What happens. What is meant for a member that has died since, as its host's `life` tells, comes
/// to nothing.
#[derive(Debug)]
pub(super) enum Event {
    /// A member has something to do without being asked.
    Wake { host: HostAt, life: u64 },
    /// A message arrives.
    Deliver { from: HostAt, to: HostAt, link: u64, message: Box<raftpb::Message> },
    /// A state arrives, or gets lost on its way.
    State { from: HostAt, life: u64, to: HostAt, lost: bool, sent: Box<SentState> },
    /// What became of a state is known to its sender.
    StateSent { host: HostAt, life: u64, to: u64, arrived: bool },
    /// A broken connection is noticed.
    Lost { host: HostAt, life: u64, peer: HostAt },
    /// It is there again.
    Heard { host: HostAt, life: u64, peer: HostAt },
    /// A member hears that it was removed.
    Removed { host: HostAt, life: u64 },
    /// A sync of a log has taken its time.
    Synced { host: HostAt, life: u64, number: u64 },
    /// What the threads of a member do beside its drive.
    Chores { host: HostAt, life: u64 },
    /// A stopped process goes on.
    Resume { host: HostAt, life: u64 },
    /// A machine is switched on.
    Start { host: HostAt },
    /// A client does the next thing.
    Client { client: usize },
    /// A client waits no longer.
    GiveUp { client: usize, ask: u64 },
    /// A renewal arrives at the leader.
    Renewal { client: usize, ask: u64, at: HostAt, lease: i64 },
    /// Its answer arrives.
    Renewed { client: usize, ask: u64, ttl: Option<i64> },
    /// A watcher connects again.
    Watch { watcher: usize },
    /// Something goes wrong.
    Fault,
    /// Links are well again.
    Heal { wave: u64 },
    /// Somebody changes the members.
    Change,
}

/// A state on its way.
#[derive(Debug)]
pub(super) struct SentState {
    pub(super) message: raftpb::Message,
    pub(super) image: Vec<u8>,
}

/// All events to come, in order.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    now: Duration,
    /// Of the same moment, what was planned first comes first.
    planned: u64,
    events: BTreeMap<(Duration, u64), Event>,
}

impl Timeline {
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn at(&mut self, time: Duration, event: Event) {
        self.planned += 1;
        self.events.insert((time.max(self.now), self.planned), event);
    }

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    /// The next event before `end`; without one it is `end` now.
    pub(super) fn next(&mut self, end: Duration) -> Option<Event> {
        let due = self.events.first_entry().filter(|first| first.key().0 <= end);
        let Some(due) = due else {
            self.now = self.now.max(end);
            return None;
        };
        let ((time, _), event) = due.remove_entry();
        self.now = time;
        Some(event)
    }

    /// Takes back what clients were to do.
    pub(super) fn forget_clients(&mut self) {
        self.events.retain(|_, event| {
            !matches!(
                event,
                Event::Client { .. }
                    | Event::GiveUp { .. }
                    | Event::Renewal { .. }
                    | Event::Renewed { .. }
            )
        });
    }
}

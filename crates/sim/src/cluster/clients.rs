//! Clients: each asks one thing at a time, of some member, and waits only so long.

use std::time::Duration;

use env::Random;
use node::Error;
use proto::etcdserverpb::{InternalRaftRequest, LeaseCheckpoint, LeaseCheckpointRequest};
use state::{LeaseId, RangeReply, Renewal};

use super::Cluster;
use super::asks::{Ask, Asks};
use super::plan::ClusterBug;
use super::timeline::{Event, HostAt};
use crate::check::{Answer, LeasePromise, LeaseRecord, Moment, Operation, Outcome, Request};
use crate::told::Told;
use crate::verdict::{Checked, Checker, ensure};

/// What is known of what clients asked.
#[derive(Debug, Default)]
pub(super) struct Histories {
    pub(super) operations: Vec<Operation>,
    pub(super) leases: Vec<LeaseRecord>,
    /// The newest revision that anybody asked to compact to.
    pub(super) compacted: i64,
}

pub(super) struct Client {
    random: Random,
    pub(super) asks: Asks,
    /// Whom it talks to.
    at: HostAt,
    /// Counts what it has asked.
    count: u64,
    open: Option<Open>,
    /// Answers that it got, for who waits for one.
    pub(super) answers: u64,
}

/// What a client waits for.
struct Open {
    ask: u64,
    what: Ask,
    called: Moment,
    called_at: Duration,
    host: HostAt,
    life: u64,
    /// The member's number for it, or for the read that comes before.
    id: Option<u64>,
}

/// How something asked came to its end.
enum End {
    Answered(Told, i64),
    /// A member has made up its mind about a linearizable read.
    MayRead,
    Renewed(Option<i64>),
    /// It was surely not done.
    Refused,
    Unknown,
}

impl Client {
    pub(super) fn new(mut random: Random, number: usize) -> Self {
        let asks = Asks::new(random.split(), number);
        Self { random, asks, at: number, count: 0, open: None, answers: 0 }
    }
}

impl Cluster {
    pub(super) fn client_acts(&mut self, client: usize) -> Checked {
        let hosts = self.hosts.len();
        let it = &mut self.clients[client];
        if it.open.is_some() {
            return Ok(());
        }
        if it.random.chance(1, 12) {
            it.at = it.random.index(hosts);
        }
        it.at %= hosts;
        let host = it.at;
        if self.hosts[host].member.is_none() {
            // The connection is refused.
            it.at = it.random.index(hosts);
            let pause = Duration::from_millis(20 + it.random.below(100));
            self.timeline.after(pause, Event::Client { client });
            return Ok(());
        }
        let what = match (self.healing, it.random.chance(1, 2)) {
            (false, _) => it.asks.next(),
            (true, true) => it.asks.read(),
            (true, false) => it.asks.write(),
        };
        self.ask(client, host, what)
    }

    /// Lets a client ask something of a member.
    fn ask(&mut self, client: usize, host: HostAt, what: Ask) -> Checked {
        let it = &mut self.clients[client];
        it.count += 1;
        let ask = it.count;
        let patience = Duration::from_millis([300, 1500, 7000][it.random.index(3)]);
        let (called, called_at) = (self.moment, self.timeline.now());
        let life = self.hosts[host].life;
        let mut open = Open { ask, what, called, called_at, host, life, id: None };
        self.timeline.after(patience, Event::GiveUp { client, ask });
        let Some(member) = self.hosts[host].member.as_mut() else { return Ok(()) };
        match &open.what {
            Ask::Keys(Request::Range(range)) if range.serializable => {
                self.clients[client].open = Some(open);
                return self.end(client, End::MayRead);
            }
            Ask::Keys(Request::Range(_)) if self.plan.bug == Some(ClusterBug::NoBarrier) => {
                self.clients[client].open = Some(open);
                return self.end(client, End::MayRead);
            }
            Ask::Keys(Request::Range(_)) => open.id = Some(member.read()),
            Ask::Renew { id } => {
                let lease = *id;
                self.clients[client].open = Some(open);
                return self.ask_renewal(client, ask, host, lease);
            }
            what => {
                let Some(request) = what.to_request() else { return Ok(()) };
                let id = member.propose(request.clone());
                open.id = Some(id);
                self.note_asked(what.clone());
                self.truth.asked(id, request)?;
            }
        }
        self.clients[client].open = Some(open);
        self.step(host)
    }

    /// What counts from when it is asked, whatever comes of it.
    fn note_asked(&mut self, what: Ask) {
        match what {
            Ask::Keys(Request::LeaseRevoke(id)) => {
                let called = self.now();
                self.histories.leases.push(LeaseRecord::Revoked { id, called });
            }
            Ask::Other(request) => {
                let revision = request.compaction.map_or(0, |compaction| compaction.revision);
                self.histories.compacted = self.histories.compacted.max(revision);
            }
            _ => {}
        }
    }

    /// Takes a member's answers to whom they are for.
    pub(super) fn answers(&mut self, host: HostAt) -> Checked {
        let Some(member) = self.hosts[host].member.as_mut() else { return Ok(()) };
        let mut ends = Vec::new();
        for (id, outcome) in member.outcomes() {
            let end = match outcome {
                Ok((reply, revision)) => End::Answered(Told::from(reply), revision),
                Err(Error::Rejected(rejected)) => {
                    if let Some((due, _)) = self.truth.due(id) {
                        let right = *due == Err(rejected);
                        ensure(right, Checker::Answer, || {
                            format!("refused with {rejected:?}, should be {due:?}")
                        })?;
                    }
                    End::Refused
                }
                Err(_) => End::Unknown,
            };
            if let End::Answered(told, revision) = &end
                && let Some(due) = self.truth.due(id)
            {
                let right = due.0.as_ref() == Ok(told) && due.1 == *revision;
                ensure(right, Checker::Answer, || {
                    format!("answered {told:?} at {revision}, should be {due:?}")
                })?;
            }
            ends.push((id, end));
        }
        for (id, outcome) in member.reads() {
            ends.push((id, if outcome.is_ok() { End::MayRead } else { End::Refused }));
        }
        let life = self.hosts[host].life;
        for (id, end) in ends {
            let waits = |client: &Client| {
                client
                    .open
                    .as_ref()
                    .is_some_and(|open| (open.host, open.life, open.id) == (host, life, Some(id)))
            };
            if let Some(client) = self.clients.iter().position(waits) {
                self.end(client, end)?;
            }
        }
        Ok(())
    }

    /// A client hears what came of what it has asked.
    fn end(&mut self, client: usize, end: End) -> Checked {
        let Some(open) = self.clients[client].open.take() else { return Ok(()) };
        match (end, &open.what) {
            (End::MayRead, Ask::Renew { id }) => {
                let id = *id;
                return self.renew_here(client, open, id);
            }
            (End::MayRead, Ask::Keys(Request::Range(range))) => {
                let range = range.clone();
                self.read(client, open, &range)?;
            }
            (End::Answered(told, revision), _) => self.answered(client, open, told, revision)?,
            (End::Renewed(ttl), Ask::Renew { id }) => {
                let id = *id;
                self.note_renewal(client, &open, id, ttl);
            }
            (End::Unknown, Ask::Keys(request)) if !matches!(request, Request::Range(_)) => {
                self.report.unanswered += 1;
                self.histories.operations.push(Operation {
                    client: client as u64,
                    called: open.called,
                    request: request.clone(),
                    outcome: Outcome::Unknown,
                });
            }
            _ => {}
        }
        let longest = if self.healing { 200 } else { [20, 100, 600][client % 3] };
        let pause = Duration::from_millis(1 + self.clients[client].random.below(longest));
        self.timeline.after(pause, Event::Client { client });
        Ok(())
    }

    fn answered(&mut self, client: usize, open: Open, told: Told, revision: i64) -> Checked {
        self.moment += 1;
        self.report.answers += 1;
        let mut numbers = vec![client as u64, open.ask, revision.unsigned_abs()];
        numbers.push(self.now().as_micros() as u64);
        self.digest.note("answer", &numbers, &[]);
        let (called, returned) = (open.called_at, self.now());
        let it = &mut self.clients[client];
        it.answers += 1;
        match (open.what, told) {
            (Ask::Keys(request), told) => {
                let answer = match told {
                    Told::Op(answer) => answer,
                    _ => Answer::Revoke { revision },
                };
                it.asks.learn(&answer);
                self.note_operation(client, open.called, request, answer);
            }
            (Ask::Grant { .. }, Told::LeaseGrant { id, ttl }) => {
                it.asks.leases.push(id);
                let ttl = Duration::from_secs(ttl.unsigned_abs());
                let granted = LeasePromise { id, called, returned, ttl };
                self.histories.leases.push(LeaseRecord::Granted(granted));
            }
            _ => {}
        }
        Ok(())
    }

    fn note_operation(
        &mut self,
        client: usize,
        called: Moment,
        request: Request,
        mut answer: Answer,
    ) {
        if self.plan.bug == Some(ClusterBug::WrongRevision)
            && let Answer::Put { revision, .. } = &mut answer
        {
            *revision += 1;
        }
        self.histories.operations.push(Operation {
            client: client as u64,
            called,
            request,
            outcome: Outcome::Answered { returned: self.moment, answer },
        });
    }

    /// Reads at a member, now.
    fn read(
        &mut self,
        client: usize,
        open: Open,
        range: &proto::etcdserverpb::RangeRequest,
    ) -> Checked {
        self.moment += 1;
        let host = &self.hosts[open.host];
        let Some(member) = &host.member else { return Ok(()) };
        let Ok(ranged) = member.views().reader.range(&state::range_of(range)) else {
            // Compacted, or not there yet: nothing was shown.
            return Ok(());
        };
        let answer = Answer::from(RangeReply::from(ranged));
        self.digest.note("read", &[client as u64, answer.revision().unsigned_abs()], &[]);
        self.report.reads += u64::from(!range.serializable);
        self.report.answers += 1;
        self.clients[client].answers += 1;
        self.clients[client].asks.learn(&answer);
        self.note_operation(client, open.called, Request::Range(range.clone()), answer);
        Ok(())
    }

    pub(super) fn give_up(&mut self, client: usize, ask: u64) -> Checked {
        match &self.clients[client].open {
            Some(open) if open.ask == ask => {
                let hosts = self.hosts.len();
                let it = &mut self.clients[client];
                it.at = it.random.index(hosts);
                self.end(client, End::Unknown)
            }
            _ => Ok(()),
        }
    }

    /// What was asked of a process that is gone is answered by nobody.
    pub(super) fn clients_lose(&mut self, host: HostAt) -> Checked {
        for client in 0..self.clients.len() {
            if self.clients[client].open.as_ref().is_some_and(|open| open.host == host) {
                self.end(client, End::Unknown)?;
            }
        }
        Ok(())
    }

    /// A member that leads renews a lease; another one asks the leader to.
    fn ask_renewal(&mut self, client: usize, ask: u64, host: HostAt, lease: i64) -> Checked {
        let Some(member) = &self.hosts[host].member else { return Ok(()) };
        if member.leads() {
            return self.renew_at(client, ask, host, lease);
        }
        let leader = member.raft().soft_state.leader.map_or(0, raft::NodeId::get);
        let Some(&at) = self.by_id.get(&leader) else {
            return self.end(client, End::Unknown);
        };
        if !self.network.is_cut(host, at) {
            let delay = self.network.delay();
            self.timeline.after(delay, Event::Renewal { client, ask, at, lease });
        }
        Ok(())
    }

    /// The leader makes sure that it still leads before it renews.
    pub(super) fn renew_at(&mut self, client: usize, ask: u64, at: HostAt, lease: i64) -> Checked {
        let life = self.hosts[at].life;
        let Some(open) = &mut self.clients[client].open else { return Ok(()) };
        let Some(member) = self.hosts[at].member.as_mut() else { return Ok(()) };
        if open.ask != ask || open.what != (Ask::Renew { id: lease }) || !member.leads() {
            return Ok(());
        }
        (open.host, open.life, open.id) = (at, life, Some(member.read()));
        self.step(at)
    }

    fn renew_here(&mut self, client: usize, open: Open, lease: i64) -> Checked {
        let (at, ask, now) = (open.host, open.ask, self.now());
        self.clients[client].open = Some(open);
        let machine = &mut self.hosts[at];
        let shows = machine.clock.set(now);
        let Some(member) = machine.member.as_mut() else { return Ok(()) };
        let ttl = match member.renew_lease(shows, LeaseId(lease)) {
            Renewal::Renewed { ttl } => Some(ttl),
            Renewal::NotFound => None,
            Renewal::ClearCheckpoint => {
                let checkpoint = LeaseCheckpoint { id: lease, remaining_ttl: 0 };
                let clear = LeaseCheckpointRequest { checkpoints: vec![checkpoint] };
                let request = InternalRaftRequest {
                    lease_checkpoint: Some(clear),
                    ..InternalRaftRequest::default()
                };
                let id = member.propose(request.clone());
                self.truth.asked(id, request)?;
                return self.step(at);
            }
            // It waits for the end of the lease, or for whoever leads.
            Renewal::Expired | Renewal::NotPrimary => return Ok(()),
        };
        let delay = self.network.delay();
        self.timeline.after(delay, Event::Renewed { client, ask, ttl });
        Ok(())
    }

    pub(super) fn renewed(&mut self, client: usize, ask: u64, ttl: Option<i64>) -> Checked {
        match &self.clients[client].open {
            Some(open) if open.ask == ask => self.end(client, End::Renewed(ttl)),
            _ => Ok(()),
        }
    }

    fn note_renewal(&mut self, client: usize, open: &Open, id: i64, ttl: Option<i64>) {
        let (called, returned) = (open.called_at, self.now());
        self.clients[client].answers += 1;
        match ttl {
            Some(ttl) => {
                self.report.renewals += 1;
                let ttl = Duration::from_secs(ttl.unsigned_abs());
                let renewed = LeasePromise { id, called, returned, ttl };
                self.histories.leases.push(LeaseRecord::Renewed(renewed));
            }
            None => {
                self.clients[client].asks.leases.retain(|lease| *lease != id);
                self.histories.leases.push(LeaseRecord::Gone { id, at: returned });
            }
        }
    }

    /// Leases whose end nobody has asked for.
    pub(super) fn note_ended_leases(&mut self) {
        let at = self.now();
        for id in std::mem::take(&mut self.truth.ended) {
            self.report.expired += 1;
            self.histories.leases.push(LeaseRecord::Gone { id, at });
        }
    }
}

//! A whole cluster in one thread from one seed.
//!
//! ```text
//!   seed --> [ timeline ] --what is next--> [ hosts ]: disk, clock, node::Stepped
//!               ^    |                        |   ^
//!               |    '--> faults, changes     |   '-- [ network ] <-- messages, states
//!               |                             v
//!            clients, watchers <--answers-- after each step: [ truth ] = what is committed,
//!                                             the model of it, Raft's promises
//!   at the end: all is made well, and must become well; histories are checked
//! ```
//!
//! Files in reading order: `plan`, this one, `timeline`, `host`, `clock`, `network`, `truth`,
//! `clients`, `asks`, `watchers`, `faults`, `change`, `healing`.

mod asks;
mod change;
mod clients;
mod clock;
mod faults;
mod healing;
mod host;
mod network;
mod plan;
mod timeline;
mod truth;
mod watchers;

use std::collections::BTreeMap;
use std::time::Duration;

use env::Random;
use node::Fatal;
use proto::raftpb::{Message, MessageType};

use crate::check::Moment;
use crate::digest::Digest;
use crate::verdict::{Checked, Checker, Violation, ensure};
use change::Joining;
use clients::{Client, Histories};
use host::{Host, options, options_of};
use network::{Fate, Network, Weather};
use plan::Mix;
pub use plan::{ClusterBug, ClusterPlan, ClusterReport, Story};
use timeline::{Event, HostAt, SentState, Timeline};
use truth::Truth;
use watchers::ClusterWatch;

/// Runs one seed.
pub fn run_cluster(seed: u64, plan: ClusterPlan) -> Result<ClusterReport, Violation> {
    let mut action = 0;
    let done = Cluster::new(seed, plan).and_then(|mut cluster| {
        let done = cluster.go();
        action = cluster.moment;
        done
    });
    done.map_err(|(checker, what)| Violation { seed, action, checker, what })
}

/// Runs one seed of the loss of leaders; how long it took each time until another one led.
pub fn lose_leaders(seed: u64, members: usize, others: usize) -> Result<Vec<Duration>, Violation> {
    let story = Story::LostLeaders { others };
    let plan = ClusterPlan { story, members: Some(members), ..ClusterPlan::default() };
    let mut waits = Vec::new();
    let mut action = 0;
    let done = Cluster::new(seed, plan).and_then(|mut cluster| {
        let slow = [0, 2_000, 20_000][cluster.random.index(3)];
        for host in &mut cluster.hosts {
            host.options.pre_vote = true;
            host.sync_takes = (slow > 0).then_some(Duration::from_micros(slow));
        }
        let longest = [1500, 10_000, 40_000][cluster.random.index(3)];
        cluster.network.weather = Weather { delay_us: (200, longest), ..Weather::FAIR };
        let done = cluster.go();
        action = cluster.moment;
        waits = cluster.failover.waits;
        done
    });
    done.map_err(|(checker, what)| Violation { seed, action, checker, what })?;
    Ok(waits)
}

/// Measures how long nobody leads.
#[derive(Debug, Default)]
struct Failover {
    /// When the leader was lost, and in which term.
    lost: Option<(Duration, u64)>,
    waits: Vec<Duration>,
}

impl Failover {
    fn begins(&mut self, now: Duration, term: u64) {
        self.lost = Some((now, term));
    }

    fn leads(&mut self, now: Duration, term: u64) {
        self.waits.extend(self.lost.take_if(|(_, lost)| term > *lost).map(|(then, _)| now - then));
    }
}

struct Cluster {
    plan: ClusterPlan,
    random: Random,
    digest: Digest,
    timeline: Timeline,
    /// Counts what happens: no two things are of the same moment.
    moment: Moment,
    hosts: Vec<Host>,
    /// Hosts by the ids of their members.
    by_id: BTreeMap<u64, HostAt>,
    common: node::Options,
    joining: Vec<Joining>,
    network: Network,
    mix: Mix,
    truth: Truth,
    clients: Vec<Client>,
    histories: Histories,
    watches: Vec<ClusterWatch>,
    /// Counts the waves of trouble on links, so that only the last one is healed.
    wave: u64,
    /// Nothing goes wrong any more.
    healing: bool,
    failover: Failover,
    report: ClusterReport,
}

impl Cluster {
    fn new(seed: u64, plan: ClusterPlan) -> Checked<Self> {
        let mut random = Random::new(seed);
        let members = plan.members.unwrap_or([1, 3, 3, 3, 5][random.index(5)]);
        let common = options(&mut random, members);
        let digest = Digest::default();
        let hosts = (0..members)
            .map(|at| Host::new(options_of(at, &common), &mut random, &digest))
            .collect();
        let peaceful = plan.story != Story::Anything;
        let mix = if peaceful { Mix::peace() } else { Mix::any(&mut random) };
        let weather = match peaceful || random.chance(1, 2) {
            true => Weather::FAIR,
            false => Weather::any(&mut random),
        };
        let min_lease_ttl = state::min_lease_ttl(common.election_ticks, 100);
        let clients = (0..2 + random.index(4)).map(|at| Client::new(random.split(), at)).collect();
        Ok(Self {
            plan,
            digest,
            timeline: Timeline::default(),
            moment: 0,
            hosts,
            by_id: BTreeMap::new(),
            network: Network::new(random.split(), weather),
            mix,
            truth: Truth::new(min_lease_ttl)?,
            clients,
            histories: Histories::default(),
            watches: (0..3).map(|_| ClusterWatch::new(&mut random)).collect(),
            common,
            joining: Vec::new(),
            wave: 0,
            healing: false,
            failover: Failover::default(),
            report: ClusterReport::default(),
            random,
        })
    }

    fn go(&mut self) -> Checked<ClusterReport> {
        for host in 0..self.hosts.len() {
            self.timeline.at(Duration::ZERO, Event::Start { host });
        }
        for client in 0..self.clients.len() {
            self.timeline.after(Duration::from_millis(500), Event::Client { client });
        }
        for watcher in 0..self.watches.len() {
            self.timeline.after(Duration::from_millis(700), Event::Watch { watcher });
        }
        self.sabotage_clocks();
        self.timeline.after(Duration::from_secs(2), Event::Fault);
        self.timeline.after(Duration::from_secs(3), Event::Change);
        self.live_until(self.plan.time)?;
        self.heal()?;
        self.check_histories()?;
        self.report.entries = self.truth.committed();
        self.report.elections = self.truth.raft.elections() as u64;
        self.report.compactions = self.truth.compactions;
        self.report.changes = self.truth.changes;
        self.report.digest = self.digest.value();
        Ok(self.report)
    }

    fn now(&self) -> Duration {
        self.timeline.now()
    }

    fn live_until(&mut self, end: Duration) -> Checked {
        while let Some(event) = self.timeline.next(end) {
            self.happens(event)?;
        }
        Ok(())
    }

    fn happens(&mut self, event: Event) -> Checked {
        self.moment += 1;
        match event {
            Event::Wake { host, life } if self.lives(host, life) => {
                self.hosts[host].wake = None;
                self.step(host)
            }
            Event::Deliver { from, to, link, message } => self.deliver(from, to, link, *message),
            Event::State { from, life, to, lost, sent } => {
                self.deliver_state((from, life), to, lost, *sent)
            }
            Event::StateSent { host, life, to, arrived } if self.lives(host, life) => {
                self.tell(host, |member| member.report_snapshot(to, arrived))
            }
            Event::Lost { host, life, peer } if self.lives(host, life) => {
                let id = self.hosts[peer].id;
                self.tell(host, |member| member.report_lost(id))
            }
            Event::Heard { host, life, peer } if self.lives(host, life) => {
                let id = self.hosts[peer].id;
                self.tell(host, |member| member.report_heard(id))
            }
            Event::Removed { host, life } if self.lives(host, life) => {
                self.failed(host, &Fatal::Removed)
            }
            Event::Synced { host, life, number } if self.lives(host, life) => {
                self.synced(host, number)
            }
            Event::Chores { host, life } if self.lives(host, life) => self.chores(host),
            Event::Resume { host, life } if self.hosts[host].life == life => {
                self.hosts[host].paused_until = None;
                self.step(host)
            }
            Event::Start { host } => self.start(host),
            Event::Client { client } => self.client_acts(client),
            Event::GiveUp { client, ask } => self.give_up(client, ask),
            Event::Renewal { client, ask, at, lease } => self.renew_at(client, ask, at, lease),
            Event::Renewed { client, ask, ttl } => self.renewed(client, ask, ttl),
            Event::Watch { watcher } => self.connect_watcher(watcher),
            Event::Fault => self.fault(),
            Event::Heal { wave } => {
                if wave == self.wave {
                    self.network.heal();
                }
                Ok(())
            }
            Event::Change => self.change_members(),
            // What is meant for a process that stands still waits in its sockets.
            Event::Wake { host, life }
            | Event::StateSent { host, life, .. }
            | Event::Lost { host, life, .. }
            | Event::Heard { host, life, .. }
            | Event::Removed { host, life }
            | Event::Synced { host, life, .. }
            | Event::Chores { host, life } => {
                if let Some(until) = self.hosts[host].paused_until
                    && self.hosts[host].life == life
                {
                    self.timeline.at(until, event);
                }
                Ok(())
            }
            Event::Resume { .. } => Ok(()),
        }
    }

    fn lives(&self, host: HostAt, life: u64) -> bool {
        self.hosts[host].life == life && self.hosts[host].serves()
    }

    fn tell(&mut self, host: HostAt, tell: impl FnOnce(&mut node::Stepped)) -> Checked {
        if let Some(member) = self.hosts[host].member.as_mut() {
            tell(member);
        }
        self.step(host)
    }

    fn start(&mut self, host: HostAt) -> Checked {
        let now = self.now();
        let machine = &mut self.hosts[host];
        if machine.member.is_some() || machine.left {
            return Ok(());
        }
        let unsynced = (self.plan.bug == Some(ClusterBug::UnsyncedLog)).then_some(".wal");
        if self.mix.flips_options {
            // Operators change such things one member after the other.
            machine.options.pre_vote = self.random.chance(1, 2);
        }
        if let Err(failure) = machine.boot(now, &self.digest, unsynced) {
            return self.failed(host, &failure);
        }
        let (id, life) = (machine.id, machine.life);
        let before = self.by_id.insert(id, host);
        ensure(before.is_none_or(|before| before == host), Checker::Boot, || {
            format!("two hosts have member {id:x}")
        })?;
        self.truth.raft.restarted(id);
        let pause = self.random.below(300_000);
        self.timeline.after(Duration::from_micros(pause), Event::Chores { host, life });
        self.step(host)
    }

    /// A member may fail only where its disk did, or where it was removed.
    fn failed(&mut self, host: HostAt, failure: &Fatal) -> Checked {
        if matches!(failure, Fatal::Removed) {
            let machine = &mut self.hosts[host];
            machine.die(false);
            machine.left = true;
            return self.connections_drop(host);
        }
        let machine = &self.hosts[host];
        ensure(machine.tap.has_failed(), Checker::Boot, || {
            format!("host {host} (member {:x}) failed by itself: {failure}", machine.id)
        })?;
        self.report.failures += 1;
        let cut = machine.disk.is_off() || self.random.chance(1, 2);
        self.die(host, cut)
    }

    /// Ends a process; it comes back later.
    fn die(&mut self, host: HostAt, cut: bool) -> Checked {
        let longest = [300, 2000, 8000][self.random.index(3)];
        let away = if self.healing { 100 } else { 50 + self.random.below(longest) };
        self.die_for(host, cut, away)
    }

    fn die_for(&mut self, host: HostAt, cut: bool, away_ms: u64) -> Checked {
        match cut {
            true => self.report.power_cuts += 1,
            false => self.report.kills += 1,
        }
        self.hosts[host].die(cut);
        if self.plan.bug == Some(ClusterBug::SkippedApply) && host == 0 {
            crate::sabotage::skip_an_entry(&self.hosts[host].disk);
        }
        self.hosts[host].disk.set_capacity(None);
        self.timeline.after(Duration::from_millis(away_ms), Event::Start { host });
        self.connections_drop(host)
    }

    /// Whoever was connected to this host notices that.
    fn connections_drop(&mut self, host: HostAt) -> Checked {
        for watch in &mut self.watches {
            if watch.at.is_some_and(|(at, _)| at == host) && watch.is_connected() {
                watch.disconnect();
            }
        }
        for peer in (0..self.hosts.len()).filter(|peer| *peer != host) {
            self.network.flap(host, peer);
            if self.hosts[peer].member.is_some() && !self.network.is_cut(host, peer) {
                let (delay, life) = (self.network.delay(), self.hosts[peer].life);
                self.timeline.after(delay, Event::Lost { host: peer, life, peer: host });
            }
        }
        self.clients_lose(host)
    }

    /// Steps a member and sees to what came of it.
    fn step(&mut self, host: HostAt) -> Checked {
        let now = self.now();
        if !self.hosts[host].serves() {
            return Ok(());
        }
        self.report.steps += 1;
        let stepped = self.hosts[host].step(now);
        self.attend(host, stepped)
    }

    /// Sees to what came of a call.
    fn attend<T>(&mut self, host: HostAt, done: Result<T, Fatal>) -> Checked {
        if let Err(failure) = done {
            self.answers(host)?;
            return self.failed(host, &failure);
        }
        self.truth.look(&self.hosts[host])?;
        self.note_leader(host);
        self.note_ended_leases();
        self.send(host)?;
        self.plan_syncs(host);
        self.answers(host)?;
        self.poll_watchers(host)?;
        self.plan_wake(host);
        Ok(())
    }

    fn note_leader(&mut self, host: HostAt) {
        if self.failover.lost.is_some()
            && let Some(member) = self.hosts[host].member.as_ref().filter(|member| member.leads())
        {
            self.failover.leads(self.timeline.now(), member.raft().hard_state.term.0);
        }
    }

    fn plan_wake(&mut self, host: HostAt) {
        let machine = &mut self.hosts[host];
        let Some(member) = &machine.member else { return };
        let when = machine.clock.when(member.wake_at()).max(self.timeline.now());
        if machine.wake.is_none_or(|planned| when < planned) {
            machine.wake = Some(when);
            self.timeline.at(when, Event::Wake { host, life: machine.life });
        }
    }

    fn plan_syncs(&mut self, host: HostAt) {
        let machine = &mut self.hosts[host];
        let takes = machine.sync_takes.unwrap_or(Duration::from_millis(1));
        let Some(member) = &machine.member else { return };
        if let Some(number) = member.next_sync().filter(|number| machine.syncing != *number) {
            machine.syncing = number;
            let spread = Duration::from_micros(self.random.below(takes.as_micros() as u64 + 1));
            let (life, takes) = (machine.life, takes / 2 + spread);
            self.timeline.after(takes, Event::Synced { host, life, number });
        }
    }

    fn synced(&mut self, host: HostAt, number: u64) -> Checked {
        let Some(member) = self.hosts[host].member.as_mut() else { return Ok(()) };
        if member.next_sync() == Some(number) {
            member.sync();
        }
        self.step(host)
    }

    /// Sends what a member has said.
    fn send(&mut self, host: HostAt) -> Checked {
        let now = self.now();
        let said = self.hosts[host].listen();
        for message in said.messages {
            self.truth.hear(&message)?;
            let bytes = proto::Message::encode_to_vec(&message);
            self.digest.note("message", &[host as u64, now.as_micros() as u64], &bytes);
            let Some(&to) = self.by_id.get(&message.to()) else { continue };
            // A proposal that comes twice is done twice; a connection does not double it.
            let once = message.r#type() == MessageType::MsgProp;
            match self.network.send(now, host, to, once) {
                Fate::Lost { noticed } => {
                    self.report.lost_messages += 1;
                    if noticed && let Some(member) = self.hosts[host].member.as_mut() {
                        member.report_unreachable(message.to());
                    }
                }
                Fate::Arrives(times) => {
                    let link = self.network.link(host, to);
                    for time in times {
                        let message = Box::new(message.clone());
                        self.timeline.at(time, Event::Deliver { from: host, to, link, message });
                    }
                }
            }
        }
        for (message, image) in said.states {
            self.send_state(host, message, &image)?;
        }
        Ok(())
    }

    fn send_state(&mut self, host: HostAt, message: Message, image: &node::Image) -> Checked {
        let now = self.now();
        let life = self.hosts[host].life;
        let to_id = message.to();
        let bytes = image.bytes();
        let to = self.by_id.get(&to_id).copied();
        let (Some(to), Ok(image)) = (to, bytes) else {
            let sent = Event::StateSent { host, life, to: to_id, arrived: false };
            self.timeline.after(Duration::from_millis(5), sent);
            return Ok(());
        };
        self.digest.note("state", &[host as u64, now.as_micros() as u64], &image);
        let lost = self.network.send(now, host, to, true) == Fate::Lost { noticed: true }
            || self.random.chance(1, 8);
        let takes = self.network.delay() + Duration::from_millis(self.random.below(400));
        let sent = Box::new(SentState { message, image });
        self.timeline.after(takes, Event::State { from: host, life, to, lost, sent });
        Ok(())
    }

    fn deliver(&mut self, from: HostAt, to: HostAt, link: u64, message: Message) -> Checked {
        if self.network.link(from, to) != link || self.hosts[to].member.is_none() {
            self.report.lost_messages += 1;
            return Ok(());
        }
        if let Some(until) = self.hosts[to].paused_until {
            let again = Event::Deliver { from, to, link, message: Box::new(message) };
            self.timeline.at(until, again);
            return Ok(());
        }
        if self.healing && self.plan.bug == Some(ClusterBug::Deaf) {
            return Ok(());
        }
        self.report.messages += 1;
        if self.is_refused(from, to) {
            return Ok(());
        }
        self.hosts[to].hears(message.from());
        let message = self.falsified(to, message);
        let Some(member) = self.hosts[to].member.as_mut() else { return Ok(()) };
        let taken = member.deliver(message);
        ensure(taken.is_ok(), Checker::Boot, || format!("a member's message: {taken:?}"))?;
        self.step(to)
    }

    /// What a planted bug makes of a message.
    fn falsified(&self, to: HostAt, mut message: Message) -> Message {
        match (self.plan.bug, message.r#type()) {
            (Some(ClusterBug::VoteTwice), MessageType::MsgVoteResp) => message.reject = None,
            (Some(ClusterBug::AppendedMore), MessageType::MsgAppResp) if !message.reject() => {
                let leader = self.hosts[to].member.as_ref();
                message.index = leader.map(|member| member.raft().last_index.0);
            }
            (Some(ClusterBug::OtherEntries), MessageType::MsgApp) if to == 1 => {
                for entry in &mut message.entries {
                    let is_new = entry.index() > 20 && entry.data().len() > 30;
                    if let Some(data) = entry.data.as_mut().filter(|_| is_new) {
                        let mut other = data.to_vec();
                        other.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
                        *data = other.into();
                    }
                }
            }
            _ => {}
        }
        message
    }

    fn deliver_state(
        &mut self,
        (from, life): (HostAt, u64),
        to: HostAt,
        lost: bool,
        sent: SentState,
    ) -> Checked {
        let to_id = sent.message.to();
        let reached = !lost && !self.network.is_cut(from, to) && self.hosts[to].serves();
        let mut arrived = false;
        if reached {
            let received = self.hosts[to].receive(sent.message, &sent.image);
            arrived = received.is_ok();
            let excused = arrived || self.hosts[to].tap.has_failed();
            ensure(excused, Checker::Boot, || format!("a state is refused: {received:?}"))?;
            self.report.states += u64::from(arrived);
        }
        let delay = self.network.delay();
        let told = Event::StateSent { host: from, life, to: to_id, arrived };
        self.timeline.after(delay, told);
        if reached { self.step(to) } else { Ok(()) }
    }

    /// What the threads of a member do beside its drive.
    fn chores(&mut self, host: HostAt) -> Checked {
        let now = self.now();
        let shows = self.hosts[host].clock.set(now);
        let limit = 1 + self.random.index(50);
        let seals = self.random.chance(1, 4);
        let Some(member) = self.hosts[host].member.as_mut() else { return Ok(()) };
        if seals {
            member.seal();
        }
        let done = member
            .commit_sealed()
            .and_then(|_| member.step_compaction(limit))
            .and_then(|_| member.vacuum(shows));
        member.prepare_segment();
        let pause = Duration::from_millis(20 + self.random.below(400));
        let life = self.hosts[host].life;
        self.timeline.after(pause, Event::Chores { host, life });
        self.knock(host);
        if let Err(failure) = done {
            return self.failed(host, &failure);
        }
        self.step(host)
    }

    /// A watcher goes to some member, at times away from one that serves it well.
    fn connect_watcher(&mut self, watcher: usize) -> Checked {
        let at = self.random.index(self.hosts.len());
        let moves = self.random.chance(1, 3);
        let pause = Duration::from_millis(200 + self.random.below(3000));
        self.timeline.after(pause, Event::Watch { watcher });
        let watch = &mut self.watches[watcher];
        if watch.is_connected() && !moves || !self.hosts[at].serves() {
            return Ok(());
        }
        let Some(member) = &self.hosts[at].member else { return Ok(()) };
        watch.connect(at, self.hosts[at].life, member.views())?;
        watch.poll(self.moment, self.plan.bug)
    }

    fn poll_watchers(&mut self, host: HostAt) -> Checked {
        for watch in &mut self.watches {
            if watch.at.is_some_and(|(at, _)| at == host) {
                watch.poll(self.moment, self.plan.bug)?;
            }
        }
        Ok(())
    }
}

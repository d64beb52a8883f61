//! The same inputs to two groups, one of our nodes and one of raft-rs's: single ticks, proposals,
//! campaigns, changes of membership, transfers, restarts, compactions, links that are cut one way
//! or both, messages lost in the middle. Each input is followed until nobody has anything to say;
//! then role, term, vote, leader, commit index, the ids in the log, and the configuration of every
//! member must be the same in both.
//!
//! Not message by message: raft-rs sends other messages in part. And these differences are meant:
//!
//! - raft-rs tells the commit index in votes, so a member without a leader may know more of what
//!   is committed there, and a candidate that learns so of a change of membership gives up. If it
//!   then applies a change that ours does not know to be committed, the two groups part for good
//!   and the seed ends; few may.
//! - A leader learns from heartbeats what was lost on the way, and raft-rs then sends in other
//!   states what it has to; the end of a joint configuration that it leaves by itself it sends
//!   with heartbeats only (etcd #12137). So where the groups differ both are given two heartbeats
//!   and are looked at again; what a leader sends to a member that it does not hear may differ even
//!   so.
//! - Therefore a member that lags when it is removed may hear of that in one and not in the other;
//!   the seed ends there.
//! - A leader finishes a transfer when its target acknowledges something, and what it is asked to
//!   acknowledge differs as said. So transfers begin after two heartbeats, and if that is not
//!   enough both wait until they are given up.
//! - Theirs lets a member campaign on demand that has no vote. None is told to.
//! - Ours steps down when it is removed, theirs goes on, and dies when its next entry is written.
//!   Ours is told to go on, too; leaders are not removed, and where that happens all the same, by
//!   the change of an earlier leader, the seed ends.
//! - Ours refuses changes that nobody can apply; theirs dies of them. There are none here.
//!
//! `ORACLE_SEEDS=n` plays more seeds, `ORACLE_SEED=n` one, and prints its inputs.

mod inputs;
mod ours;
mod theirs;

use inputs::{Dice, Input};
use std::collections::BTreeSet;

/// What the two groups are compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    role: &'static str,
    term: u64,
    vote: u64,
    leader: u64,
    commit: u64,
    /// Terms and indexes; a compacted part is missing.
    log: Vec<(u64, u64)>,
    config: inputs::Config,
}

/// A group of nodes by one of the two implementations.
trait Group {
    type Message;

    /// Members 1 to `size` of which some are voters, each with the election timeout
    /// [`election_tick`] says.
    fn new(size: u64, voters: &[u64], full: bool) -> Self;

    /// Gives an input to one member. What cannot be done there does nothing.
    fn give(&mut self, n: u64, input: &Input);

    /// Does what a member has to do, and takes what it sends.
    fn work(&mut self, n: u64) -> Vec<Self::Message>;

    fn ends(message: &Self::Message) -> (u64, u64);

    fn step(&mut self, message: Self::Message);

    fn state(&mut self, n: u64) -> State;
}

/// Different for each member, so that two never campaign at once.
fn election_tick(n: u64) -> u32 {
    10 + 3 * n as u32
}

/// The same for both groups.
struct Net {
    size: u64,
    cut: BTreeSet<(u64, u64)>,
}

impl Net {
    /// Delivers in rounds, in order, until nobody has anything to say. After `lose_after` rounds
    /// what is on its way is lost, once.
    fn settle<G: Group>(&self, group: &mut G, lose_after: Option<u64>) {
        for round in 0.. {
            assert!(round < 1000, "it never ends");
            let mut messages = Vec::new();
            for n in 1..=self.size {
                messages.append(&mut group.work(n));
            }
            if messages.is_empty() {
                return;
            }
            if lose_after == Some(round) {
                continue;
            }
            for message in messages {
                if !self.cut.contains(&G::ends(&message)) {
                    group.step(message);
                }
            }
        }
    }

    fn change(&mut self, input: &Input) {
        match input {
            Input::Cut(from, to) => drop(self.cut.insert((*from, *to))),
            Input::Isolate(n) => {
                for other in 1..=self.size {
                    self.cut.extend([(*n, other), (other, *n)]);
                }
            }
            Input::Heal => self.cut.clear(),
            _ => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Same,
    /// See the list above.
    Parted,
}

/// What decides whether a difference is on the list.
struct Known {
    /// What our group has ever committed.
    commit: u64,
    /// What this member had committed before the input.
    commit_before: u64,
    /// Whether the leader that the member follows cannot hear it.
    unheard: bool,
}

/// Whether a member's state is the same; `Err` if the difference is not on the list.
fn compare(ours: &State, theirs: &State, known: &Known) -> Result<Outcome, ()> {
    let unheard = known.unheard;
    let told_by_votes =
        ours.leader == 0 && theirs.commit > ours.commit && theirs.commit <= known.commit;
    let gave_up = (theirs.role, theirs.leader) == ("follower", 0)
        && ours.term >= theirs.term
        && matches!(ours.role, "pre-candidate" | "candidate" | "leader")
        && (known.commit_before + 1..=known.commit).contains(&theirs.commit);
    if gave_up || told_by_votes && ours.config != theirs.config {
        return Ok(Outcome::Parted);
    }
    let of_office = |state: &State| (state.role, state.term, state.vote, state.leader);
    if of_office(ours) != of_office(theirs) {
        return Err(());
    }
    let first = |state: &State| state.log.first().map_or(u64::MAX, |(_, index)| *index);
    let from = first(ours).max(first(theirs));
    let common = |state: &State| -> Vec<(u64, u64)> {
        state.log.iter().copied().filter(|(_, index)| *index >= from).collect()
    };
    let (log, their_log) = (common(ours), common(theirs));
    let length = if unheard { log.len().min(their_log.len()) } else { usize::MAX };
    if !log.iter().take(length).eq(their_log.iter().take(length)) {
        return Err(());
    }
    let excused = told_by_votes || (unheard && theirs.commit <= known.commit);
    match (ours.commit == theirs.commit, ours.config == theirs.config) {
        (true, true) => Ok(Outcome::Same),
        (false, true) if excused => Ok(Outcome::Same),
        (false, false) if excused => Ok(Outcome::Parted),
        _ => Err(()),
    }
}

/// What one seed did, so that a test can say that it reached what it is about.
#[derive(Default)]
struct Tally {
    parted: usize,
    second_looks: usize,
    terms: u64,
    committed: u64,
    changes: usize,
    restarts: usize,
    snapshots: usize,
}

/// The two groups, what is the same for both, and what they have come to.
struct Pair {
    ours: ours::Ours,
    theirs: theirs::Theirs,
    net: Net,
    states: Vec<State>,
    /// The highest that ours has ever known.
    known_commit: u64,
    /// Members whose leader could not hear them when they were compared last.
    unheard_of: BTreeSet<u64>,
}

impl Pair {
    fn new(dice: &mut Dice) -> Self {
        let size = 5;
        let voters: Vec<u64> = (1..=[2, 3, 3, 5][dice.below(4)]).collect();
        let full = dice.below(3) > 0;
        let mut ours = ours::Ours::new(size, &voters, full);
        let states = (1..=size).map(|n| ours.state(n)).collect();
        let theirs = theirs::Theirs::new(size, &voters, full);
        let net = Net { size, cut: BTreeSet::new() };
        Self { ours, theirs, net, states, known_commit: 0, unheard_of: BTreeSet::new() }
    }

    /// False if theirs would not survive it.
    fn give(&mut self, n: u64, input: &Input, lose_after: Option<u64>) -> bool {
        self.net.change(input);
        self.ours.give(n, input);
        self.net.settle(&mut self.ours, lose_after);
        for n in 1..=self.net.size {
            let state = self.ours.state(n);
            if state.role == "leader" && !state.config.contains(n) {
                return false;
            }
        }
        self.theirs.give(n, input);
        self.net.settle(&mut self.theirs, lose_after);
        // A transfer that does not come to an end at once is given up, for which acknowledgement
        // would end it is not the same in both.
        while let Some(leader) = (1..=self.net.size).find(|n| self.ours.is_handing_over(*n)) {
            self.ours.give(leader, &Input::Tick);
            self.net.settle(&mut self.ours, None);
            self.theirs.give(leader, &Input::Tick);
            self.net.settle(&mut self.theirs, None);
        }
        self.look();
        true
    }

    /// A heartbeat of every leader.
    fn heartbeat(&mut self) {
        for n in 1..=self.net.size {
            if self.ours.state(n).role == "leader" {
                self.ours.give(n, &Input::Tick);
                self.net.settle(&mut self.ours, None);
            }
            if self.theirs.state(n).role == "leader" {
                self.theirs.give(n, &Input::Tick);
                self.net.settle(&mut self.theirs, None);
            }
        }
        self.look();
    }

    fn look(&mut self) {
        self.states = (1..=self.net.size).map(|n| self.ours.state(n)).collect();
        let commit = self.states.iter().map(|state| state.commit).max().unwrap_or(0);
        self.known_commit = self.known_commit.max(commit);
    }

    /// `Err`: which member differs, and how.
    fn compare(&mut self, before: &[State], last_look: bool) -> Result<Outcome, String> {
        let leads = |state: &&State| state.role == "leader";
        let leader = self.states.iter().filter(leads).max_by_key(|state| state.term).cloned();
        let (mut result, mut unheard_of) = (Ok(Outcome::Same), BTreeSet::new());
        for (n, (ours, before)) in (1..).zip(self.states.iter().zip(before)) {
            let theirs = self.theirs.state(n);
            let removed = leader.as_ref().is_some_and(|leader| !leader.config.contains(n));
            let unheard = ours.leader != 0 && self.net.cut.contains(&(n, ours.leader));
            let known = Known { commit: self.known_commit, commit_before: before.commit, unheard };
            match compare(ours, &theirs, &known) {
                Ok(Outcome::Same) if unheard => drop(unheard_of.insert(n)),
                Ok(Outcome::Same) => {}
                Ok(Outcome::Parted) => return Ok(Outcome::Parted),
                // Also if the leader is gone before it could hear the member again.
                Err(()) if last_look && (removed || self.unheard_of.contains(&n)) => {
                    return Ok(Outcome::Parted);
                }
                Err(()) if result.is_err() => {}
                Err(()) => {
                    result = Err(format!("member {n} is\n  {ours:?}, theirs\n  {theirs:?}"));
                }
            }
        }
        if result.is_ok() {
            self.unheard_of = unheard_of;
        }
        result
    }
}

fn play(seed: u64, steps: usize, tally: &mut Tally) {
    let shown = std::env::var_os("ORACLE_SEED").is_some();
    let mut dice = Dice::new(seed);
    let mut pair = Pair::new(&mut dice);
    for step in 0..steps {
        let (n, input, lose_after) = inputs::next(&mut dice, pair.net.size, &pair.states);
        if shown {
            eprintln!("{step}: {n} {input:?} {lose_after:?}");
        }
        let before = pair.states.clone();
        if matches!(input, Input::Transfer(_)) {
            pair.heartbeat();
            pair.heartbeat();
        }
        if !pair.give(n, &input, lose_after) {
            tally.parted += 1;
            return;
        }
        let mut compared = pair.compare(&before, false);
        for last_look in [false, true] {
            if compared.is_err() {
                // See the list above.
                pair.heartbeat();
                tally.second_looks += 1;
                compared = pair.compare(&before, last_look);
            }
        }
        match compared {
            Ok(Outcome::Same) => {}
            Ok(Outcome::Parted) => {
                tally.parted += 1;
                return;
            }
            Err(how) => panic!(
                "seed {seed}, step {step}, {input:?} at {n}, {lose_after:?}: {how}; before it was\n  \
                 {before:?}"
            ),
        }
        let changed = before.iter().zip(&pair.states).filter(|(a, b)| a.config != b.config);
        tally.changes += changed.count();
        tally.restarts += usize::from(input == Input::Restart);
    }
    tally.terms += pair.states.iter().map(|state| state.term).max().unwrap_or(0);
    tally.committed += pair.known_commit;
    tally.snapshots += pair.ours.snapshots_installed();
}

#[test]
fn both_come_to_the_same_state_by_the_same_inputs() {
    let mut tally = Tally::default();
    if let Ok(seed) = std::env::var("ORACLE_SEED") {
        return play(seed.parse().expect("a number"), 400, &mut tally);
    }
    let seeds = std::env::var("ORACLE_SEEDS").map_or(60, |n| n.parse().expect("a number"));
    for seed in 0..seeds {
        play(seed, 400, &mut tally);
    }
    let Tally { parted, second_looks, terms, committed, changes, restarts, snapshots } = tally;
    eprintln!(
        "{seeds} seeds: {parted} parted, {second_looks} second looks, {terms} terms, {committed} committed, {changes} changes, \
         {restarts} restarts, {snapshots} snapshots"
    );
    let seeds = seeds as usize;
    assert!(parted <= seeds / 3, "{parted} of {seeds} parted");
    assert!(terms > seeds as u64 && committed > 5 * seeds as u64);
    assert!(changes > seeds && restarts > seeds && snapshots > seeds / 2);
}

//! What happens to the groups, from a seed.

use crate::State;

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// A configuration, each list sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) voters: Vec<u64>,
    pub(crate) learners: Vec<u64>,
    pub(crate) outgoing: Vec<u64>,
    pub(crate) learners_next: Vec<u64>,
    pub(crate) auto_leave: bool,
}

impl Config {
    pub(crate) fn contains(&self, n: u64) -> bool {
        self.votes(n) || self.learners.contains(&n) || self.learners_next.contains(&n)
    }

    fn votes(&self, n: u64) -> bool {
        self.voters.contains(&n) || self.outgoing.contains(&n)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Add,
    AddLearner,
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    Auto,
    Implicit,
    Explicit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Tick,
    Campaign,
    Propose(u64),
    /// In the old form, with one change.
    ChangeV1(Kind, u64),
    /// In the new form; without changes it leaves a joint configuration.
    ChangeV2(Transition, Vec<(Kind, u64)>),
    Transfer(u64),
    Unreachable(u64),
    Restart,
    /// The log up to what is applied, less a few.
    Compact(u64),
    Cut(u64, u64),
    Isolate(u64),
    Heal,
}

impl Input {
    fn removes(&self, n: u64) -> bool {
        match self {
            Self::ChangeV1(kind, of) => (*kind, *of) == (Kind::Remove, n),
            Self::ChangeV2(_, changes) => changes.contains(&(Kind::Remove, n)),
            _ => false,
        }
    }
}

/// The next input, to whom, and after how many rounds messages are lost. `states` are those of our
/// group, which are those of the other, too.
pub(crate) fn next(dice: &mut Dice, size: u64, states: &[State]) -> (u64, Input, Option<u64>) {
    let any = |dice: &mut Dice| 1 + dice.below(size as usize) as u64;
    let leader = (1..).zip(states).find(|(_, state)| state.role == "leader").map(|(n, _)| n);
    let n = any(dice);
    let at_leader = leader.filter(|_| dice.below(4) > 0).unwrap_or(n);
    let (n, input) = match dice.below(100) {
        0..45 => (n, Input::Tick),
        45..48 if states[n as usize - 1].config.votes(n) => (n, Input::Campaign),
        48..65 => (at_leader, Input::Propose(dice.next())),
        65..75 => {
            let change = change(dice, size, &states[at_leader as usize - 1].config, states);
            match leader {
                // Theirs dies if its leader is removed while it writes.
                Some(leader) if change.removes(leader) => (leader, Input::Tick),
                _ => (at_leader, change),
            }
        }
        75..79 => (at_leader, Input::Transfer(any(dice))),
        79..81 => (at_leader, Input::Unreachable(any(dice))),
        81..85 => (n, Input::Restart),
        85..89 => (at_leader, Input::Compact(dice.below(4) as u64)),
        89..92 => (n, Input::Cut(any(dice), any(dice))),
        92..94 => (n, Input::Isolate(any(dice))),
        _ => (n, Input::Heal),
    };
    let lose_after = (dice.below(12) == 0).then(|| dice.below(3) as u64);
    (n, input, lose_after)
}

/// A change that can be applied to this configuration, and to that of whoever gets it in the end.
fn change(dice: &mut Dice, size: u64, config: &Config, states: &[State]) -> Input {
    let kinds = [Kind::Add, Kind::Add, Kind::AddLearner, Kind::Remove];
    let mut one = || {
        let kind = kinds[dice.below(kinds.len())];
        (kind, 1 + dice.below(size as usize) as u64)
    };
    if !config.outgoing.is_empty() {
        return Input::ChangeV2(Transition::Auto, Vec::new());
    }
    let changes = [one(), one(), one()];
    let count = 1 + dice.below(3);
    let transition = [Transition::Auto, Transition::Implicit, Transition::Explicit][dice.below(3)];
    let changes = &changes[..count];
    let leaves = |n: &&u64| changes.iter().all(|(_, of)| of != *n);
    if states.iter().any(|state| state.config.voters.iter().filter(leaves).count() == 0) {
        // Somebody must stay.
        return Input::ChangeV1(Kind::Add, changes[0].1);
    }
    match (count, dice.below(2)) {
        (1, 0) => Input::ChangeV1(changes[0].0, changes[0].1),
        _ => Input::ChangeV2(transition, changes.to_vec()),
    }
}

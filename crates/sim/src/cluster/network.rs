//! Links between hosts, one for each direction: late, lossy, doubling, cut.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use env::Random;

use super::timeline::HostAt;

/// What links do by themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    pub(super) delay_us: (u64, u64),
    pub(super) lost_permille: u64,
    pub(super) doubled_permille: u64,
    pub(super) overtaking_permille: u64,
}

impl Weather {
    pub(super) const FAIR: Self = Self {
        delay_us: (200, 1500),
        lost_permille: 0,
        doubled_permille: 0,
        overtaking_permille: 0,
    };

    pub(super) fn any(random: &mut Random) -> Self {
        let longest = [1500, 20_000, 150_000, 600_000][random.index(4)];
        Self {
            delay_us: (200, longest),
            lost_permille: [0, 0, 20, 150][random.index(4)],
            doubled_permille: [0, 0, 50][random.index(3)],
            overtaking_permille: [0, 0, 100, 500][random.index(4)],
        }
    }
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives at these times.
    Arrives(Vec<Duration>),
    /// It does not, and its sender may be told so.
    Lost { noticed: bool },
}

#[derive(Debug)]
pub(super) struct Network {
    random: Random,
    pub(super) weather: Weather,
    cut: BTreeSet<(HostAt, HostAt)>,
    /// When the last message of a link arrives: the next one comes behind it.
    last: BTreeMap<(HostAt, HostAt), Duration>,
    /// How often a link has broken: what was on its way then is lost.
    broken: BTreeMap<(HostAt, HostAt), u64>,
}

impl Network {
    pub(super) fn new(random: Random, weather: Weather) -> Self {
        let (cut, last, broken) = Default::default();
        Self { random, weather, cut, last, broken }
    }

    /// How often this link has broken so far.
    pub(super) fn link(&self, from: HostAt, to: HostAt) -> u64 {
        self.broken.get(&(from, to)).copied().unwrap_or(0)
    }

    /// Sends a message; one that must not come twice is not doubled.
    pub(super) fn send(&mut self, now: Duration, from: HostAt, to: HostAt, once: bool) -> Fate {
        let Weather { lost_permille, doubled_permille, overtaking_permille, .. } = self.weather;
        if self.is_cut(from, to) || self.random.chance(lost_permille, 1000) {
            return Fate::Lost { noticed: self.random.chance(1, 2) };
        }
        let mut time = now + self.delay();
        if !self.random.chance(overtaking_permille, 1000) {
            let last = self.last.entry((from, to)).or_default();
            time = time.max(*last);
            *last = time;
        }
        let mut times = vec![time];
        if !once && self.random.chance(doubled_permille, 1000) {
            times.push(time + self.delay());
        }
        Fate::Arrives(times)
    }

    pub(super) fn delay(&mut self) -> Duration {
        let (least, most) = self.weather.delay_us;
        Duration::from_micros(least + self.random.below(most - least + 1))
    }

    pub(super) fn is_cut(&self, from: HostAt, to: HostAt) -> bool {
        self.cut.contains(&(from, to))
    }

    pub(super) fn cut(&mut self, from: HostAt, to: HostAt) {
        self.cut.insert((from, to));
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Breaks the connections between two hosts; new ones can be made at once.
    pub(super) fn flap(&mut self, one: HostAt, other: HostAt) {
        for link in [(one, other), (other, one)] {
            *self.broken.entry(link).or_default() += 1;
            self.last.remove(&link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAIR: Weather = Weather::FAIR;

    #[test]
    fn messages_of_a_link_arrive_in_order_in_fair_weather() {
        let mut network = Network::new(Random::new(1), FAIR);
        let mut last = Duration::ZERO;
        for sent in 0..200 {
            let fate = network.send(Duration::from_micros(sent), 0, 1, false);
            let Fate::Arrives(times) = fate else { panic!("{fate:?}") };
            assert_eq!(times.len(), 1);
            assert!(times[0] >= last);
            last = times[0];
        }
    }

    #[test]
    fn bad_weather_loses_doubles_and_overtakes() {
        let weather = Weather {
            delay_us: (200, 100_000),
            lost_permille: 100,
            doubled_permille: 100,
            overtaking_permille: 300,
        };
        let mut network = Network::new(Random::new(1), weather);
        let (mut lost, mut doubled, mut overtaken, mut last) = (0, 0, 0, Duration::ZERO);
        for _ in 0..500 {
            match network.send(Duration::ZERO, 0, 1, false) {
                Fate::Lost { .. } => lost += 1,
                Fate::Arrives(times) => {
                    doubled += times.len() - 1;
                    overtaken += usize::from(times[0] < last);
                    last = times[0];
                }
            }
        }
        assert!(lost > 20 && doubled > 20 && overtaken > 20, "{lost} {doubled} {overtaken}");
    }

    #[test]
    fn a_cut_is_of_one_direction() {
        let mut network = Network::new(Random::new(1), FAIR);
        network.cut(0, 1);
        assert!(matches!(network.send(Duration::ZERO, 0, 1, false), Fate::Lost { .. }));
        assert!(matches!(network.send(Duration::ZERO, 1, 0, false), Fate::Arrives(_)));
        network.heal();
        assert!(matches!(network.send(Duration::ZERO, 0, 1, false), Fate::Arrives(_)));
    }
}

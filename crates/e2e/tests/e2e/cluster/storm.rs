//! Fault upon fault, by a seed, to fewer than half of the members at a time. Under load.

use std::collections::BTreeMap;

use e2e::{Cluster, Server};
use env::Random;

use super::load::Load;
use super::{FLAGS, alone};

/// What happens to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL.
    Dies,
    /// SIGTERM.
    Stops,
    /// SIGSTOP.
    Hangs,
    /// Nothing goes to it or comes from it.
    CutOff,
    /// Others do not hear it.
    Mute,
    /// It does not hear others.
    Deaf,
    /// A third of the packets from it and to it are lost.
    Lossy,
    /// It sends some thirty kilobytes a second.
    Slow,
}

use Fault::{CutOff, Deaf, Dies, Hangs, Lossy, Mute, Slow, Stops};

/// Who was away for a second is sent a snapshot.
pub(crate) const SNAPSHOTS: [&str; 4] =
    [FLAGS[0], FLAGS[1], "--snapshot-count=100", "--snapshot-catchup-entries=20"];

const BY_LINKS: [Fault; 6] = [Dies, Stops, Hangs, CutOff, Mute, Deaf];

pub(crate) const ON_HOSTS: [Fault; 8] = [Dies, Stops, Hangs, CutOff, Mute, Deaf, Lossy, Slow];

#[test]
fn five_members_survive_a_storm() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start("storm", &[&pintle; 5], &SNAPSHOTS).unwrap();
    for seed in e2e::round_seeds("cluster storm", 1) {
        Storm::new(&mut cluster, seed, &BY_LINKS).rage(5);
        cluster.same_hash().unwrap();
    }
}

#[test]
fn members_of_etcd_and_pintle_survive_a_storm() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    let servers = [&pintle, &etcd, &pintle, &etcd, &pintle];
    let mut cluster = Cluster::start("mixed-storm", &servers, &SNAPSHOTS).unwrap();
    for seed in e2e::round_seeds("cluster mixed storm", 1) {
        Storm::new(&mut cluster, seed, &BY_LINKS).rage(5);
        cluster.same_hash().unwrap();
    }
}

/// Faults that come and go.
pub(crate) struct Storm<'a> {
    cluster: &'a mut Cluster,
    random: Random,
    faults: &'a [Fault],
    unwell: BTreeMap<usize, Fault>,
}

impl<'a> Storm<'a> {
    pub(crate) fn new(cluster: &'a mut Cluster, seed: u64, faults: &'a [Fault]) -> Self {
        Self { cluster, random: Random::new(seed), faults, unwell: BTreeMap::new() }
    }

    /// So many faults under load, and what clients were told must hold in the end.
    pub(crate) fn rage(mut self, faults: usize) {
        let load = Load::start(self.cluster, self.random.next_u64());
        load.go_on_for(20);
        for _ in 0..faults {
            if self.unwell.len() == (self.cluster.size() - 1) / 2 {
                self.recover();
            }
            self.strike();
            let began = e2e::now();
            load.go_on_for(15 + self.random.index(30));
            eprintln!("writes have gone on for {:?}", e2e::now() - began);
        }
        while !self.unwell.is_empty() {
            self.recover();
        }
        for at in 0..self.cluster.size() {
            self.cluster.wait_until_it_serves(at).unwrap();
        }
        self.cluster.wait_for_leader().unwrap();
        load.go_on_for(20);
        load.finish(self.cluster).check("a storm");
    }

    /// Somebody who was well is not; the leader more often than others.
    fn strike(&mut self) {
        let well: Vec<_> =
            (0..self.cluster.size()).filter(|at| !self.unwell.contains_key(at)).collect();
        let leader = self.cluster.leader().filter(|at| well.contains(at));
        let leader = leader.filter(|_| self.random.chance(1, 2));
        let victim = leader.unwrap_or_else(|| well[self.random.index(well.len())]);
        let fault = self.faults[self.random.index(self.faults.len())];
        let began = e2e::now();
        match fault {
            Dies => self.cluster.kill(victim).unwrap(),
            Stops => _ = self.cluster.stop(victim).unwrap(),
            Hangs => self.cluster.pause(victim).unwrap(),
            CutOff | Mute | Deaf | Lossy | Slow => self.spoil_lines(victim, fault),
        }
        eprintln!("m{victim}: {fault:?} ({:?})", e2e::now() - began);
        self.unwell.insert(victim, fault);
    }

    fn spoil_lines(&self, victim: usize, fault: Fault) {
        let hosts = || self.cluster.hosts().expect("these faults are for hosts");
        if fault == Slow {
            return hosts().slow_down(victim, 250).unwrap();
        }
        for other in (0..self.cluster.size()).filter(|other| *other != victim) {
            if matches!(fault, CutOff | Mute) {
                self.cluster.cut(victim, other);
            }
            if matches!(fault, CutOff | Deaf) {
                self.cluster.cut(other, victim);
            }
            if fault == Lossy {
                hosts().lose(33, victim, other).unwrap();
                hosts().lose(33, other, victim).unwrap();
            }
        }
    }

    /// One of them is well again.
    fn recover(&mut self) {
        let Some((victim, fault)) = self.unwell.pop_first() else { return };
        eprintln!("m{victim}: well again");
        match fault {
            // It cannot serve yet if it is cut off as well.
            Dies | Stops => self.cluster.begin_restart(victim).unwrap(),
            Hangs => self.cluster.resume(victim).unwrap(),
            CutOff | Mute | Deaf | Lossy | Slow => {
                self.cluster.heal();
                for (victim, fault) in &self.unwell {
                    if !matches!(fault, Dies | Stops | Hangs) {
                        self.spoil_lines(*victim, *fault);
                    }
                }
            }
        }
    }
}

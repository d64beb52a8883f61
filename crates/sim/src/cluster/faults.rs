//! What goes wrong.

use std::time::Duration;

use env::Call;

use super::Cluster;
use super::host::Host;
use super::network::Weather;
use super::plan::{Clocks, ClusterBug, Fault, Story};
use super::timeline::{Event, HostAt};
use crate::verdict::Checked;

impl Cluster {
    pub(super) fn fault(&mut self) -> Checked {
        if self.healing {
            return Ok(());
        }
        match self.plan.story {
            Story::FlappingLink => return self.flap_one_link(),
            Story::LostLeaders { others } => return self.lose_the_leader(others),
            Story::Anything | Story::Peace => {}
        }
        let pause = 1 + self.random.below(2 * self.mix.pause_ms);
        self.timeline.after(Duration::from_millis(pause), Event::Fault);
        let Some(fault) = self.mix.draw(&mut self.random) else { return Ok(()) };
        self.digest.note("fault", &[fault as u64, self.now().as_micros() as u64], &[]);
        match fault {
            Fault::Crash => self.crash(),
            Fault::Stop => self.stop(),
            Fault::Pause => self.pause(),
            Fault::Partition => self.partition(),
            Fault::Flap => {
                let (one, other) = (self.any_host(), self.any_host());
                self.flap(one, other)
            }
            Fault::Weather => {
                let bad = self.random.chance(1, 2);
                self.network.weather =
                    if bad { Weather::any(&mut self.random) } else { Weather::FAIR };
                Ok(())
            }
            Fault::SlowDisk => self.slow_disk(),
            Fault::FailingDisk => self.failing_disk(),
            Fault::FullDisk => self.full_disk(),
            Fault::Clock => self.change_clock(),
            Fault::Transfer => self.transfer(),
        }
    }

    pub(super) fn any_host(&mut self) -> HostAt {
        // The leader is the one that matters.
        let leader = self.leader().filter(|_| self.random.chance(1, 3));
        leader.unwrap_or_else(|| self.random.index(self.hosts.len()))
    }

    /// Who says that it leads, in the newest term.
    pub(super) fn leader(&self) -> Option<HostAt> {
        let leads = |host: &HostAt| {
            let member = self.hosts[*host].member.as_ref();
            let status = member.filter(|member| member.leads()).map(|member| member.raft());
            status.map(|status| (status.hard_state.term, *host))
        };
        (0..self.hosts.len()).filter_map(|host| leads(&host)).max().map(|(_, host)| host)
    }

    fn crash(&mut self) -> Checked {
        let (host, cut) = (self.any_host(), self.random.chance(1, 2));
        let all = self.random.chance(1, 12);
        for at in 0..self.hosts.len() {
            if (all || at == host) && self.hosts[at].member.is_some() {
                if cut && self.random.chance(1, 2) {
                    // In the middle of something.
                    self.hosts[at].disk.crash_after(self.random.below(12));
                } else {
                    self.die(at, cut)?;
                }
            }
        }
        Ok(())
    }

    /// An orderly end, where a leader hands over first.
    fn stop(&mut self) -> Checked {
        let host = self.any_host();
        let Some(member) = self.hosts[host].member.as_mut() else { return Ok(()) };
        let closed = member.close();
        self.answers(host)?;
        if let Err(failure) = closed {
            return self.failed(host, &failure);
        }
        self.report.stops += 1;
        let cut = self.random.chance(1, 2);
        self.die(host, cut)
    }

    fn pause(&mut self) -> Checked {
        let host = self.any_host();
        if !self.hosts[host].serves() {
            return Ok(());
        }
        self.report.pauses += 1;
        let longest = [300, 2500, 8000][self.random.index(3)];
        let pause = Duration::from_millis(self.random.below(longest));
        let until = self.now() + pause;
        self.hosts[host].paused_until = Some(until);
        let life = self.hosts[host].life;
        self.timeline.at(until, Event::Resume { host, life });
        Ok(())
    }

    fn partition(&mut self) -> Checked {
        self.report.partitions += 1;
        let hosts = self.hosts.len();
        let one = self.any_host();
        match self.random.below(4) {
            // One is alone.
            0 => (0..hosts).for_each(|other| self.cut_both(one, other)),
            // One direction of one link.
            1 => {
                let other = self.any_host();
                self.network.cut(one, other);
            }
            // One hears nobody, or is not heard.
            2 => {
                let hears = self.random.chance(1, 2);
                for other in 0..hosts {
                    if hears {
                        self.network.cut(one, other);
                    } else {
                        self.network.cut(other, one);
                    }
                }
            }
            // Two sides, at times with somebody who hears both.
            _ => {
                let sides: Vec<u64> = (0..hosts).map(|_| self.random.below(2)).collect();
                let bridge = self.random.chance(1, 3).then_some(one);
                for left in 0..hosts {
                    for right in 0..left {
                        let is_bridge = [left, right].contains(&bridge.unwrap_or(hosts));
                        if sides[left] != sides[right] && !is_bridge {
                            self.cut_both(left, right);
                        }
                    }
                }
            }
        }
        self.wave += 1;
        let longest = [400, 3000, 9000][self.random.index(3)];
        let lasts = Duration::from_millis(self.random.below(longest));
        self.timeline.after(lasts, Event::Heal { wave: self.wave });
        Ok(())
    }

    fn cut_both(&mut self, one: HostAt, other: HostAt) {
        if one != other {
            self.network.cut(one, other);
            self.network.cut(other, one);
        }
    }

    /// Breaks the connections between two hosts, which both notice.
    fn flap(&mut self, one: HostAt, other: HostAt) -> Checked {
        if one == other {
            return Ok(());
        }
        self.report.flaps += 1;
        self.network.flap(one, other);
        for (host, peer) in [(one, other), (other, one)] {
            if self.hosts[host].member.is_some() {
                let (delay, life) = (self.network.delay(), self.hosts[host].life);
                self.timeline.after(delay, Event::Lost { host, life, peer });
                if self.hosts[peer].member.is_some() && !self.network.is_cut(host, peer) {
                    let dialled = delay + self.network.delay() * 3;
                    self.timeline.after(dialled, Event::Heard { host, life, peer });
                }
            }
        }
        Ok(())
    }

    /// A link between the leader and a follower; which one changes slowly, so that no two
    /// followers miss the leader at the same time.
    fn flap_one_link(&mut self) -> Checked {
        let pause = 5 + self.random.below(300);
        self.timeline.after(Duration::from_millis(pause), Event::Fault);
        let Some(leader) = self.leader() else { return Ok(()) };
        let hosts = self.hosts.len();
        let follower = self.now().as_secs() as usize / 5 % (hosts - 1);
        let since_change = self.now().as_millis() % 5000;
        match since_change > 1000 {
            true => self.flap(leader, (leader + 1 + follower) % hosts),
            false => Ok(()),
        }
    }

    /// Ends the leader's process and those of so many others.
    fn lose_the_leader(&mut self, others: usize) -> Checked {
        let all_there = self.hosts.iter().all(Host::serves);
        let Some((leader, term)) = self.leader().zip(self.stable_leader()).filter(|_| all_there)
        else {
            self.timeline.after(Duration::from_millis(100), Event::Fault);
            return Ok(());
        };
        self.timeline.after(Duration::from_millis(8000 + self.random.below(500)), Event::Fault);
        self.failover.begins(self.timeline.now(), term.1);
        let hosts = self.hosts.len();
        let first = 1 + self.random.index(hosts - 1);
        self.die_for(leader, false, 5000)?;
        let next = (0..hosts - 1).map(|at| (leader + 1 + (first + at) % (hosts - 1)) % hosts);
        next.take(others).try_for_each(|host| self.die_for(host, false, 5000))
    }

    fn slow_disk(&mut self) -> Checked {
        let host = self.any_host();
        let slow = [0, 2_000, 40_000, 400_000, 1_500_000][self.random.index(5)];
        let takes = (slow > 0).then_some(Duration::from_micros(slow));
        let machine = &mut self.hosts[host];
        machine.sync_takes = takes;
        if let Some(member) = &mut machine.member {
            member.sync_here(takes.is_none());
        }
        Ok(())
    }

    fn failing_disk(&mut self) -> Checked {
        let calls = [
            (Call::Write, ".wal"),
            (Call::Write, "snap/db"),
            (Call::SyncData, ".wal"),
            (Call::SyncData, "snap/db"),
            (Call::SyncData, "snap.db"),
            (Call::Create, ""),
            (Call::Rename, ""),
            (Call::Remove, ""),
            (Call::SyncDir, ""),
            (Call::SetLen, ""),
        ];
        let (host, (call, part)) = (self.any_host(), calls[self.random.index(calls.len())]);
        let skip = self.random.below(6);
        self.hosts[host].disk.fail(call, part, skip);
        Ok(())
    }

    fn full_disk(&mut self) -> Checked {
        let host = self.any_host();
        let disk = &self.hosts[host].disk;
        let used = disk.used();
        disk.set_capacity(Some(used + self.random.below(30_000)));
        Ok(())
    }

    fn change_clock(&mut self) -> Checked {
        let (host, now) = (self.any_host(), self.now());
        let clock = &mut self.hosts[host].clock;
        match self.mix.clocks {
            Clocks::True => return Ok(()),
            Clocks::Jumping if self.random.chance(1, 2) => {
                clock.jump(now, Duration::from_millis(self.random.below(20_000)));
            }
            Clocks::Skewed | Clocks::Jumping => {
                let permille = [500, 700, 1000, 1400, 2000][self.random.index(5)];
                clock.go(now, permille);
            }
        }
        self.report.clocks += 1;
        self.hosts[host].wake = None;
        self.step(host)
    }

    fn transfer(&mut self) -> Checked {
        let Some(leader) = self.leader() else { return Ok(()) };
        let to = self.random.index(self.hosts.len());
        let id = self.hosts[to].id;
        if to == leader || id == 0 || !self.hosts[leader].serves() {
            return Ok(());
        }
        self.report.transfers += 1;
        self.tell(leader, |member| member.transfer(id))
    }

    /// What a planted bug does at the beginning.
    pub(super) fn sabotage_clocks(&mut self) {
        if self.plan.bug == Some(ClusterBug::FastClock) {
            let now = self.now();
            self.hosts.iter_mut().for_each(|host| host.clock.go(now, 4000));
        }
    }
}

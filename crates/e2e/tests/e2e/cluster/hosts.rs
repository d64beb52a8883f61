//! Members on hosts of their own: packets are lost, lines are slow, disks are full.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use e2e::{Cluster, Server};
use proto::etcdserverpb::PutRequest;

use super::load::Load;
use super::storm::{ON_HOSTS, SNAPSHOTS, Storm};
use super::{FLAGS, alone};

#[test]
fn a_leader_that_is_cut_off_mute_or_deaf_is_replaced() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    if !e2e::on_hosts("cluster::hosts::a_leader_that_is_cut_off_mute_or_deaf_is_replaced", &pintle)
    {
        return;
    }
    let cluster = Cluster::start_on_hosts("hosts-cut", &[&pintle; 3], &FLAGS).unwrap();
    for seed in e2e::round_seeds("cluster hosts cut", 1) {
        let load = Load::start(&cluster, seed);
        for (is_mute, is_deaf) in [(true, true), (true, false), (false, true)] {
            load.go_on_for(20);
            let old = cluster.wait_for_leader().unwrap();
            let others: Vec<_> = (0..cluster.size()).filter(|at| *at != old).collect();
            for &other in &others {
                if is_mute {
                    cluster.cut(old, other);
                }
                if is_deaf {
                    cluster.cut(other, old);
                }
            }
            let new = cluster.wait_for_leader_among(&others).unwrap();
            assert_ne!(new, old);
            load.go_on_for(40);
            cluster.heal();
            cluster.wait_for_leader().unwrap();
        }
        load.go_on_for(20);
        load.finish(&cluster).check("a leader on a host is cut off, mute and deaf");
        cluster.same_hash().unwrap();
    }
}

#[test]
fn writes_go_on_over_lossy_slow_and_long_lines() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    if !e2e::on_hosts("cluster::hosts::writes_go_on_over_lossy_slow_and_long_lines", &pintle) {
        return;
    }
    let cluster = Cluster::start_on_hosts("hosts-lines", &[&pintle; 3], &FLAGS).unwrap();
    let hosts = cluster.hosts().expect("it was started on hosts");
    for seed in e2e::round_seeds("cluster hosts lines", 1) {
        let load = Load::start(&cluster, seed);
        for from in 0..cluster.size() {
            for to in (0..cluster.size()).filter(|to| *to != from) {
                hosts.lose(10, from, to).unwrap();
            }
        }
        load.go_on_for(60);
        cluster.heal();
        for at in 0..cluster.size() {
            hosts.slow_down(at, 1000).unwrap();
        }
        load.go_on_for(60);
        cluster.heal();
        let long = (0..cluster.size()).map(|at| hosts.hold_up(at, Duration::from_millis(20)));
        match long.collect() {
            Ok(()) => load.go_on_for(60),
            Err(error) => eprintln!("skipped: lines cannot be long here: {error:#}"),
        }
        cluster.heal();
        load.go_on_for(20);
        load.finish(&cluster).check("lines are lossy, slow and long");
        cluster.same_hash().unwrap();
    }
}

#[test]
fn five_members_on_hosts_survive_a_storm() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    if !e2e::on_hosts("cluster::hosts::five_members_on_hosts_survive_a_storm", &pintle) {
        return;
    }
    let mut cluster = Cluster::start_on_hosts("hosts-storm", &[&pintle; 5], &SNAPSHOTS).unwrap();
    for seed in e2e::round_seeds("cluster hosts storm", 1) {
        Storm::new(&mut cluster, seed, &ON_HOSTS).rage(5);
        cluster.same_hash().unwrap();
    }
}

#[test]
fn a_leader_whose_disk_is_full_ends_and_comes_back_when_there_is_room() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let name = "a_leader_whose_disk_is_full_ends_and_comes_back_when_there_is_room";
    if !e2e::on_hosts(&format!("cluster::hosts::{name}"), &pintle) {
        return;
    }
    let mut cluster = Cluster::start_on_hosts("hosts-full", &[&pintle; 3], &FLAGS).unwrap();
    let full = 0;
    cluster.stop(full).unwrap();
    cluster.move_to_disk(full, 400).unwrap();
    cluster.restart(full).unwrap();
    for seed in e2e::round_seeds("cluster hosts full", 1) {
        cluster.move_leader(full).unwrap();
        let filler = cluster.member(full).data().join("filler");
        fill_up(&filler);
        let written = write_until_it_ends(&mut cluster, full);
        let log = cluster.member(full).log().to_lowercase();
        assert!(log.contains("no space left"), "{}", cluster.member(full).log_tail());
        assert!(!log.contains("panicked at"), "{}", cluster.member(full).log_tail());
        fs::remove_file(filler).unwrap();
        let load = Load::start(&cluster, seed);
        load.go_on_for(30);
        cluster.restart(full).unwrap();
        load.follow(&cluster);
        load.go_on_for(30);
        load.finish(&cluster).check("a disk was full");
        cluster.same_hash().unwrap();
        eprintln!("a disk was full: {written} bytes were acknowledged meanwhile");
    }
}

/// Takes all the room that there is on a disk.
fn fill_up(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    let mut block = vec![0; 1 << 20];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}

/// Overwrites big values, which the others acknowledge, until a member has ended.
fn write_until_it_ends(cluster: &mut Cluster, ends: usize) -> usize {
    let value = vec![b'x'; 1 << 20];
    let put = PutRequest { key: "big".into(), value: value.into(), ..PutRequest::default() };
    let mut acknowledged = 0;
    let ended = e2e::until(Duration::from_secs(120), || {
        for at in (0..cluster.size()).filter(|at| *at != ends) {
            acknowledged += usize::from(cluster.call(at, &put).is_ok());
        }
        cluster.has_ended(ends).then_some(())
    });
    assert!(ended.is_some(), "it goes on\n{}", cluster.member(ends).log_tail());
    let status = cluster.wait_until_it_ends(ends).unwrap();
    assert!(!status.success(), "it ended with {status}");
    let small = PutRequest { key: "big".into(), ..PutRequest::default() };
    let others: Vec<_> = (0..cluster.size()).filter(|at| *at != ends).collect();
    let leader = cluster.wait_for_leader_among(&others).unwrap();
    cluster.call(leader, &small).unwrap();
    acknowledged << 20
}

/// From where a member has connections to the peer URLs of the others, and to how many of them.
fn dialled(cluster: &Cluster, at: usize) -> (BTreeSet<Ipv4Addr>, usize) {
    let pid = cluster.member(at).pid().expect("it runs");
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    // `address:port` in the byte order of the machine.
    let socket = |text: &str| -> Option<SocketAddr> {
        let (address, port) = text.split_once(':')?;
        let address = u32::from_str_radix(address, 16).ok()?;
        #[expect(clippy::host_endian_bytes, reason = "the kernel writes it as it lies in memory")]
        let address = address.to_ne_bytes();
        Some((Ipv4Addr::from(address), u16::from_str_radix(port, 16).ok()?).into())
    };
    let others: BTreeSet<_> = (0..cluster.size())
        .filter(|other| *other != at)
        .map(|other| cluster.member(other).peer_address())
        .collect();
    let (mut sources, mut reached) = (BTreeSet::new(), BTreeSet::new());
    for line in table.lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (from, to) = (socket(fields[1]).unwrap(), socket(fields[2]).unwrap());
        const ESTABLISHED: &str = "01";
        if let (ESTABLISHED, IpAddr::V4(from)) = (fields[3], from.ip())
            && others.contains(&to)
        {
            sources.insert(from);
            reached.insert(to);
        }
    }
    (sources, reached.len())
}

/// A host that has two addresses: without the gate the system chooses, with it the member does, as
/// etcd's does.
#[test]
fn a_member_dials_from_the_address_that_it_advertises_if_told_to() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    let test = "cluster::hosts::a_member_dials_from_the_address_that_it_advertises_if_told_to";
    if !e2e::on_hosts(test, &pintle) {
        return;
    }
    let servers = [&pintle, &etcd, &pintle];
    let mut cluster = Cluster::start_on_hosts("hosts-local", &servers, &FLAGS).unwrap();
    let hosts = cluster.hosts().expect("it was started on hosts");
    let mut expected: Vec<_> = (0..3).map(|at| hosts.come_from_elsewhere(at).unwrap()).collect();
    for at in [0, 1] {
        let IpAddr::V4(own) = cluster.member(at).peer_address().ip() else { unreachable!() };
        expected[at] = own;
        cluster.add_flag(at, "--feature-gates=SetMemberLocalAddr=true");
    }
    for at in 0..3 {
        cluster.restart(at).unwrap();
    }
    for (at, expected) in expected.into_iter().enumerate() {
        let reached = e2e::until(Duration::from_secs(20), || {
            let (sources, reached) = dialled(&cluster, at);
            (reached == 2).then_some(sources)
        });
        assert_eq!(reached.expect("it dials both others"), BTreeSet::from([expected]), "m{at}");
    }
}

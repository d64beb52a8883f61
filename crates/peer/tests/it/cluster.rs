//! Several members.

use std::time::Duration;

use bytes::Bytes;
use node::{AskError, Bootstrap, MemberId, Peers as _};
use proto::Message as _;
use proto::etcdserverpb::{InternalRaftRequest, LeaseGrantRequest};
use proto::raftpb;
use tokio::time::Instant;

use crate::answers::{ask, signed};
use crate::member::{Directory, Member, NOBODY, TOKEN, runtime, socket, until};

fn start(count: usize) -> Vec<Member> {
    let sockets: Vec<_> = (0..count).map(|_| socket()).collect();
    let named = sockets.iter().enumerate();
    let first = named.map(|(number, (_, url))| (format!("m{number}"), [url.clone()]));
    let bootstrap = Bootstrap::with_new(first, TOKEN);
    let members = sockets.into_iter().enumerate().map(|(number, (socket, url))| {
        let name = format!("m{number}");
        Member::start(&name, socket, &url, Some(bootstrap.clone()), Directory::new())
    });
    let members: Vec<_> = members.collect();
    until("a leader", || leader(&members).is_some());
    for member in &members {
        runtime().block_on(member.running().publish()).expect("somebody leads");
    }
    members
}

fn leader(members: &[Member]) -> Option<usize> {
    members.iter().position(|member| member.node().is_leader())
}

fn a_follower(members: &[Member]) -> usize {
    members.iter().position(|member| !member.node().is_leader()).expect("not all lead")
}

#[test]
fn what_is_put_at_any_member_is_at_all_of_them() {
    let members = start(3);
    for (number, member) in members.iter().enumerate() {
        let key = format!("from {number}");
        member.put(&key, "v").expect("somebody leads");
        // Larger than what is read and written at a time.
        member.put(&format!("large {number}"), vec![7; 3 << 20]).expect("somebody leads");
    }
    for member in &members {
        runtime().block_on(member.node().read_barrier()).expect("somebody leads");
        for number in 0..3 {
            assert!(member.holds(&format!("from {number}")), "{} {number}", member.name);
            assert!(member.holds(&format!("large {number}")), "{} {number}", member.name);
        }
        let others = members.iter().filter(|other| other.name != member.name);
        for other in others {
            let id = other.node().member_id();
            assert!(member.transport().active_for(id).is_some(), "{}: {id:x}", member.name);
        }
        assert_eq!(member.transport().active_for(1), None);
    }
}

#[test]
fn members_answer_what_they_are_asked() {
    let members = start(3);
    members[0].put("k", "v").expect("somebody leads");
    let grant = LeaseGrantRequest { ttl: 100, id: 77 };
    let grant = InternalRaftRequest { lease_grant: Some(grant), ..Default::default() };
    runtime().block_on(members[0].node().propose(grant)).expect("somebody leads");
    let leads = leader(&members).expect("somebody leads");
    let asker = &members[a_follower(&members)];
    let (ask, leader) = (asker.transport(), &members[leads]);
    let leader_id = leader.node().member_id();
    runtime().block_on(async {
        let version = ask.version(leader_id).await.expect("it answers");
        assert_eq!((version.server.as_str(), version.cluster.as_str()), ("3.7.1", "3.7.0"));
        let theirs = ask.hash_kv(leader_id, 2).await.expect("it answers");
        let ours = leader.node().hash_kv(2).await.expect("it has it");
        assert_eq!((theirs.hash, theirs.current_revision), (ours, 2));
        let refused = AskError::Refused("mvcc: required revision is a future revision".to_owned());
        assert_eq!(ask.hash_kv(leader_id, 9).await, Err(refused));
        assert_eq!(ask.renew_lease(leader_id, 77).await, Ok(100));
        assert_eq!(ask.renew_lease(leader_id, 78).await, Err(AskError::NotFound));
        let lease = ask.lease_time_to_live(leader_id, 77, true).await.expect("it answers");
        assert_eq!((lease.granted_seconds, lease.keys.len()), (100, 0));
        let missing = ask.lease_time_to_live(leader_id, 78, false).await;
        assert_eq!(missing, Err(AskError::NotFound));
        assert_eq!(ask.promote(leader_id, 5, None).await, Err(AskError::NotFound));
        let voter = asker.node().member_id();
        let nobody = Some(Bytes::from_static(NOBODY));
        let refused = ask.promote(leader_id, 5, nobody).await.expect_err("may not");
        assert!(refused.to_string().contains("etcdserver: permission denied"), "{refused}");
        let somebody = Some(Bytes::from_static(b"somebody"));
        let refused = ask.promote(leader_id, voter, somebody).await.expect_err("it has a vote");
        let refused = refused.to_string();
        assert_eq!(refused, "membership: can only promote a learner member");
        let unknown = ask.version(5).await.expect_err("there is none");
        assert!(matches!(unknown, AskError::Unreachable(_)), "{unknown:?}");
        let follower = ask.renew_lease(asker.node().member_id(), 77).await;
        assert!(matches!(follower, Err(AskError::Unreachable(_))), "it does not ask itself");
    });
    runtime().block_on(async {
        let patience = Duration::from_secs(5);
        let urls = [format!("http://127.0.0.1:{}", 1), leader.url.clone()];
        let dialer = peer::Dialer::default();
        let (cluster, told) =
            peer::remote::members(&dialer, &urls, patience).await.expect("one answers");
        assert_eq!(cluster, leader.node().cluster_id());
        assert_eq!(told, leader.node().members());
        let enabled = peer::remote::downgrade_enabled(&dialer, &leader.url, patience).await;
        assert_eq!(enabled, Ok(false));
        let versions =
            peer::remote::version(&dialer, &leader.url, patience).await.expect("it answers");
        assert_eq!(versions.server, "3.7.1");
    });
}

#[test]
fn another_member_leads_soon_after_the_leader_is_lost() {
    let mut members = start(3);
    let leads = leader(&members).expect("somebody leads");
    let begun = Instant::now();
    members.remove(leads).stop();
    until("another leader", || leader(&members).is_some());
    let took = begun.elapsed();
    members[0].put("k", "v").expect("somebody leads");
    // Ten ticks of 50 ms, and up to nine more by chance, is what waiting would have taken; the
    // time that the member took to stop is in here as well.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_member_that_was_away_hears_all_it_missed() {
    let mut members = start(3);
    let away = a_follower(&members);
    let mut away = members.remove(away);
    away.stop();
    members[0].put("missed", "v").expect("two of three are enough");
    let back = away.restart();
    until("what it missed", || back.holds("missed"));
    // It is spoken to by streams again, both ways.
    for member in &members {
        let (id, theirs) = (back.node().member_id(), member.node().member_id());
        until("a stream", || member.transport().active_for(id).is_some());
        until("a stream", || back.transport().active_for(theirs).is_some());
    }
    back.put("more", "v").expect("somebody leads");
}

#[test]
fn a_member_that_is_added_is_sent_the_state_and_one_that_is_removed_stops() {
    let mut members = start(2);
    for number in 0..100 {
        members[0].put(&format!("key {number}"), vec![1; 20_000]).expect("somebody leads");
    }
    let (socket, url) = socket();
    let leads = leader(&members).expect("somebody leads");
    let urls = [url.clone()];
    let added = members[leads].node().add_member(&urls, false);
    let (newcomer, all) = runtime().block_on(added).expect("two of two are here");
    let bootstrap = Bootstrap::Join {
        cluster_id: members[0].node().cluster_id(),
        member_id: newcomer.id,
        members: all.iter().map(plain).collect(),
    };
    let third = Member::start("m2", socket, &url, Some(bootstrap), Directory::new());
    until("the state", || third.holds("key 0") && third.holds("key 99"));
    let states = |name: &str, label: &str| {
        let families = prometheus::gather();
        let family = families.iter().filter(|it| it.name() == name);
        let mut metrics = family.flat_map(|it| it.get_metric());
        let metric = metrics.find(|it| it.get_label().iter().any(|it| it.value() == label));
        metric.map_or(0.0, |it| it.get_counter().get_value())
    };
    let to = format!("{:x}", newcomer.id);
    until("the report", || states("etcd_network_snapshot_send_success", &to) == 1.0);
    let from = format!("{:x}", members[leads].node().member_id());
    assert_eq!(states("etcd_network_snapshot_receive_success", &from), 1.0);
    runtime().block_on(third.running().publish()).expect("somebody leads");
    third.put("from the newcomer", "v").expect("somebody leads");
    members.push(third);

    let leads = leader(&members).expect("somebody leads");
    let removed = a_follower(&members);
    let id = members[removed].node().member_id();
    runtime().block_on(members[leads].node().remove_member(id)).expect("three of three are here");
    let failure = members[removed].running().failure();
    until("its end", || failure.borrow().is_some());
    let reason = failure.borrow().clone().unwrap_or_default();
    assert!(reason.contains("permanently removed"), "{reason}");
    members[leads].put("without it", "v").expect("two of two are here");

    // Whoever still is one is told so, and only then.
    let mut signed = signed(members[leads].node());
    signed.retain(|(name, _)| *name != "X-Server-From");
    signed.push(("X-Server-From", format!("{id:x}")));
    let stream = format!("GET /raft/stream/msgapp/{id:x}");
    let gone = ask(&members[leads], &stream, &signed, b"");
    assert_eq!((gone.status, gone.body.as_str()), (410, "removed member\n"));
    let message = raftpb::Message {
        r#type: Some(raftpb::MessageType::MsgHeartbeatResp as i32),
        from: Some(id),
        to: Some(members[leads].node().member_id()),
        ..Default::default()
    };
    let forbidden = ask(&members[leads], "POST /raft", &signed, &message.encode_to_vec());
    let text = r#"{"message":"cannot process message from removed member"}"#;
    assert_eq!((forbidden.status, forbidden.body.as_str()), (403, text));

    // Who only forwards what it asked for is none of them: etcd's member would stop for good.
    signed.retain(|(name, _)| *name != "X-Server-From");
    let other = (0..3).find(|at| ![leads, removed].contains(at)).expect("one of three");
    signed.push(("X-Server-From", format!("{:x}", members[other].node().member_id())));
    let forwarded = ask(&members[leads], "POST /raft", &signed, &message.encode_to_vec());
    assert_eq!(forwarded.status, 204, "{}", forwarded.body);
}

fn plain(member: &proto::etcdserverpb::Member) -> node::Member {
    node::Member {
        id: MemberId(member.id),
        peer_urls: member.peer_urls.clone(),
        is_learner: member.is_learner,
        name: member.name.clone(),
        client_urls: member.client_urls.clone(),
    }
}

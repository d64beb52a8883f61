//! Elections that a server holds for its clients: the same conversations with pintle and etcd.

use e2e::{Call, Rpc as _, streams};
use proto::etcdserverpb::{LeaseLeasesRequest, LeaseRevokeRequest};
use proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ResignRequest,
};

use crate::both::{Talk, same, soon};
use crate::lock::{grant, note_when};

fn campaign(value: &'static str, lease: i64) -> CampaignRequest {
    CampaignRequest { name: "e".into(), lease, value: value.into() }
}

fn leader_request() -> LeaderRequest {
    LeaderRequest { name: "e".into() }
}

fn proclaim(leader: &LeaderKey, value: &'static str) -> ProclaimRequest {
    ProclaimRequest { leader: Some(leader.clone()), value: value.into() }
}

fn resign(leader: &LeaderKey) -> ResignRequest {
    ResignRequest { leader: Some(leader.clone()) }
}

async fn elected(talk: &mut Talk, request: CampaignRequest) -> LeaderKey {
    talk.ask(request).await.and_then(|reply| reply.leader).expect("nobody else stands")
}

async fn stand(talk: &Talk, value: &'static str, lease: i64) -> Call {
    let mut call = soon("a call", talk.grpc.open(CampaignRequest::PATH)).await.unwrap();
    call.send_last(&campaign(value, lease)).unwrap();
    call
}

async fn note_elected(talk: &mut Talk, call: &mut Call) -> Option<LeaderKey> {
    let reply = soon("an election", call.next::<CampaignResponse>()).await;
    talk.note("elected", &reply);
    reply.ok().flatten().and_then(|reply| reply.leader)
}

async fn observe(talk: &Talk) -> Call {
    let mut call = soon("a stream", talk.grpc.open(streams::OBSERVE)).await.unwrap();
    call.send_last(&leader_request()).unwrap();
    call
}

async fn note_seen(talk: &mut Talk, observer: &mut Call) {
    let reply = soon("what the leader says", observer.next::<LeaderResponse>()).await;
    talk.note("seen", reply);
}

#[test]
fn one_leads_says_and_resigns() {
    same(&[], async |talk| {
        grant(talk, &[1, 2]).await;
        talk.ask(leader_request()).await;
        let leader = elected(talk, campaign("hello", 1)).await;
        talk.ask(leader_request()).await;
        talk.ask(proclaim(&leader, "still here")).await;
        elected(talk, campaign("still here", 1)).await;
        elected(talk, campaign("something else", 1)).await;
        talk.ask(leader_request()).await;
        let wrong = LeaderKey { rev: leader.rev + 1, ..leader.clone() };
        talk.ask(proclaim(&wrong, "never")).await;
        talk.ask(resign(&wrong)).await;
        let wrong = LeaderKey { lease: 99, ..leader.clone() };
        talk.ask(proclaim(&wrong, "never")).await;
        let other = LeaderKey { lease: 2, ..leader.clone() };
        talk.ask(proclaim(&other, "by another lease")).await;
        note_when(talk, 1).await;
        talk.ask(resign(&leader)).await;
        talk.ask(resign(&leader)).await;
        talk.ask(leader_request()).await;
        talk.ask(proclaim(&leader, "never")).await;
    });
}

#[test]
fn what_names_no_leader_or_no_lease_is_refused() {
    same(&[], async |talk| {
        talk.ask(ProclaimRequest::default()).await;
        talk.ask(ResignRequest::default()).await;
        talk.ask(LeaderRequest::default()).await;
        for lease in [1, -1] {
            talk.ask(campaign("v", lease)).await;
            let leader = LeaderKey { lease, ..LeaderKey::default() };
            talk.ask(resign(&leader)).await;
            talk.ask(proclaim(&leader, "v")).await;
        }
    });
}

#[test]
fn who_names_no_lease_gets_one_to_lead_by() {
    same(&[], async |talk| {
        let reply = soon("an election", talk.grpc.call(&campaign("v", 0))).await.unwrap();
        let leases = soon("leases", talk.grpc.call(&LeaseLeasesRequest {})).await.unwrap().leases;
        let leader = reply.leader.unwrap();
        talk.note("leads by it", leases.iter().any(|lease| lease.id == leader.lease));
        talk.note("is named by it", leader.key == format!("e/{:x}", leader.lease));
        talk.note("revision", (leader.rev, reply.header.unwrap().revision));
    });
}

#[test]
fn who_stands_behind_a_leader_follows_it() {
    same(&[], async |talk| {
        grant(talk, &[1, 2, 3, 4]).await;
        let first = elected(talk, campaign("first", 1)).await;
        let mut second = stand(talk, "second", 2).await;
        note_when(talk, 2).await;
        let third = stand(talk, "third", 3).await;
        note_when(talk, 3).await;
        let mut fourth = stand(talk, "fourth", 4).await;
        note_when(talk, 4).await;
        third.cancel();
        note_when(talk, 3).await;
        talk.ask(resign(&first)).await;
        note_elected(talk, &mut second).await;
        talk.ask(LeaseRevokeRequest { id: 2 }).await;
        note_elected(talk, &mut fourth).await;
        talk.ask(leader_request()).await;
    });
}

#[test]
fn an_observer_hears_each_leader() {
    same(&[], async |talk| {
        grant(talk, &[1, 2]).await;
        let mut early = observe(talk).await;
        let first = elected(talk, campaign("first", 1)).await;
        note_seen(talk, &mut early).await;
        talk.ask(proclaim(&first, "says a")).await;
        note_seen(talk, &mut early).await;
        let mut late = observe(talk).await;
        note_seen(talk, &mut late).await;
        talk.ask(proclaim(&first, "says b")).await;
        note_seen(talk, &mut early).await;
        note_seen(talk, &mut late).await;
        let mut second = stand(talk, "second", 2).await;
        note_when(talk, 2).await;
        talk.ask(resign(&first)).await;
        let second = note_elected(talk, &mut second).await.unwrap();
        note_seen(talk, &mut early).await;
        note_seen(talk, &mut late).await;
        talk.ask(resign(&second)).await;
        elected(talk, campaign("first again", 1)).await;
        note_seen(talk, &mut early).await;
        note_seen(talk, &mut late).await;
    });
}

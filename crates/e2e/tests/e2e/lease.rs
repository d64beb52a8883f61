//! Leases in time: the same conversations with pintle and etcd, and a clock beside them.
//!
//! etcd looks for expired leases every half second, so an end may be that late, and on a busy
//! machine later still; it is never early.

use std::time::Duration;

use e2e::{Call, streams};
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest,
};
use proto::mvccpb::event::EventType;

use crate::both::{Talk, same, soon, wait_ms};
use crate::watch::{Watching, on_all, revision};

const SECOND: Duration = Duration::from_secs(1);
/// How late an end may be.
const LATE: Duration = Duration::from_millis(2500);

async fn grant(talk: &mut Talk, id: i64, ttl: i64) {
    talk.ask(LeaseGrantRequest { id, ttl }).await;
}

async fn put_under(talk: &mut Talk, key: &str, lease: i64) {
    let key = key.to_owned().into();
    talk.ask(PutRequest { key, lease, ..PutRequest::default() }).await;
}

/// All that one can ask about a lease; how much time is left is between these.
async fn note_lease(talk: &mut Talk, id: i64, left: std::ops::RangeInclusive<i64>) {
    for keys in [false, true] {
        let request = LeaseTimeToLiveRequest { id, keys };
        let mut reply = soon("a time to live", talk.grpc.call(&request)).await.unwrap();
        reply.keys.sort();
        assert!(left.contains(&reply.ttl), "{}: {left:?}, {reply:?}", talk.server.name);
        reply.ttl = 0;
        talk.note("lease", reply);
    }
}

/// A stream that keeps leases alive.
struct KeepAlive(Call);

impl KeepAlive {
    async fn open(talk: &Talk) -> Self {
        Self(soon("a stream", talk.grpc.open(streams::LEASE_KEEP_ALIVE)).await.unwrap())
    }

    async fn renew(&mut self, id: i64) -> LeaseKeepAliveResponse {
        self.0.send(&LeaseKeepAliveRequest { id }).unwrap();
        let reply = soon("a renewal", self.0.next::<LeaseKeepAliveResponse>()).await;
        reply.unwrap().expect("a stream that goes on")
    }
}

#[test]
fn ends_when_its_time_is_over() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        watching.create(on_all()).await;
        let begun = e2e::now();
        grant(talk, 7, 2).await;
        for key in ["b", "c", "a"] {
            put_under(talk, key, 7).await;
        }
        watching.note_next(talk, 3).await;
        note_lease(talk, 7, 0..=2).await;
        // All its keys go at one revision, in their order.
        watching.note_next(talk, 1).await;
        let lived = e2e::now() - begun;
        assert!(lived >= 2 * SECOND && lived < 2 * SECOND + LATE, "{lived:?}");
        note_lease(talk, 7, -1..=-1).await;
        put_under(talk, "late", 7).await;
        talk.ask(LeaseRevokeRequest { id: 7 }).await;
        talk.ask(LeaseLeasesRequest {}).await;
        let renewed = KeepAlive::open(talk).await.renew(7).await;
        talk.note("renewed", renewed);
        // Its id is free.
        grant(talk, 7, 100).await;
        note_lease(talk, 7, 98..=100).await;
    });
}

#[test]
fn lives_while_it_is_kept_alive() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        watching.create(on_all()).await;
        grant(talk, 7, 2).await;
        put_under(talk, "a", 7).await;
        watching.note_next(talk, 1).await;
        let mut keeping = KeepAlive::open(talk).await;
        let mut last = e2e::now();
        for _ in 0..8 {
            last = e2e::now();
            let renewed = keeping.renew(7).await;
            talk.note("renewed", renewed);
            wait_ms(400).await;
        }
        watching.note_next(talk, 1).await;
        let lived = e2e::now() - last;
        assert!(lived >= 2 * SECOND && lived < 2 * SECOND + LATE, "{lived:?}");
    });
}

#[test]
fn counts_down() {
    same(&[], async |talk| {
        for (id, ttl) in [(1, 3), (2, 100), (3, 9_000_000_000)] {
            grant(talk, id, ttl).await;
        }
        wait_ms(1100).await;
        note_lease(talk, 1, -1..=1).await;
        note_lease(talk, 2, 95..=98).await;
        note_lease(talk, 3, 8_999_999_990..=8_999_999_998).await;
        let mut keeping = KeepAlive::open(talk).await;
        for id in [2, 3, 99, 0, -1, 2] {
            let renewed = keeping.renew(id).await;
            talk.note("renewed", renewed);
        }
        note_lease(talk, 2, 98..=100).await;
        keeping.0.close().unwrap();
        let ended = soon("the end of a stream", keeping.0.finish()).await;
        talk.note("ended", ended);
    });
}

/// A member that was away cannot tell for how long; so it gives each lease its whole time again.
#[test]
fn has_all_its_time_again_after_kill_9() {
    same(&[], async |talk| {
        grant(talk, 7, 3).await;
        grant(talk, 8, 1000).await;
        for (key, lease) in [("a", 7), ("b", 8), ("c", 7)] {
            put_under(talk, key, lease).await;
        }
        wait_ms(1500).await;
        talk.member.kill().unwrap();
        let begun = e2e::now();
        talk.restart().await;
        note_lease(talk, 7, 1..=3).await;
        note_lease(talk, 8, 995..=1000).await;
        let mut watching = Watching::open(&talk.grpc).await;
        watching.create(on_all()).await;
        watching.note_next(talk, 1).await;
        let lived = e2e::now() - begun;
        assert!(lived >= 3 * SECOND && lived < 3 * SECOND + 2 * LATE, "{lived:?}");
        note_lease(talk, 8, 990..=1000).await;
    });
}

#[test]
fn that_ended_does_not_come_back() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        watching.create(on_all()).await;
        grant(talk, 7, 1).await;
        put_under(talk, "a", 7).await;
        watching.note_next(talk, 2).await;
        talk.member.kill().unwrap();
        talk.restart().await;
        note_lease(talk, 7, -1..=-1).await;
        talk.ask(LeaseLeasesRequest {}).await;
        talk.ask(e2e::everything(0)).await;
    });
}

#[test]
fn has_the_id_and_time_that_it_may() {
    same(&[], async |talk| {
        let times = [1, 0, -1, i64::MIN, 9_000_000_000, 9_000_000_001, i64::MAX];
        for (id, ttl) in (10..).zip(times) {
            grant(talk, id, ttl).await;
        }
        for id in [-5, i64::MIN, i64::MAX, 10, -5] {
            grant(talk, id, 500).await;
        }
        put_under(talk, "a", -5).await;
        put_under(talk, "b", i64::MIN).await;
        put_under(talk, "c", -6).await;
        note_lease(talk, -5, 498..=500).await;
        // An id of 0 asks for one.
        let mut chosen = Vec::new();
        for _ in 0..3 {
            let request = LeaseGrantRequest { id: 0, ttl: 100 };
            let reply = soon("a grant", talk.grpc.call(&request)).await.unwrap();
            assert!(reply.id > 0 && !chosen.contains(&reply.id), "{reply:?}");
            chosen.push(reply.id);
            talk.note("chosen", LeaseGrantResponse { id: 0, ..reply });
        }
        talk.ask(LeaseRevokeRequest { id: -5 }).await;
        talk.ask(LeaseRevokeRequest { id: 0 }).await;
        note_lease(talk, 0, -1..=-1).await;
        talk.ask(RangeRequest { key: "a".into(), ..RangeRequest::default() }).await;
    });
}

/// An election must not outlast a lease.
#[test]
fn lives_longer_than_an_election() {
    same(&["--heartbeat-interval=300", "--election-timeout=3000"], async |talk| {
        for (id, ttl) in [(1, 1), (2, 5), (3, 6)] {
            grant(talk, id, ttl).await;
        }
        note_lease(talk, 1, 2..=5).await;
    });
}

#[test]
fn lets_go_of_a_key_that_is_put_without_it() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        grant(talk, 7, 1).await;
        grant(talk, 8, 500).await;
        for key in ["bare", "kept", "moved", "deleted"] {
            put_under(talk, key, 7).await;
        }
        put_under(talk, "bare", 0).await;
        put_under(talk, "moved", 8).await;
        let ignore_lease = true;
        talk.ask(PutRequest { key: "kept".into(), ignore_lease, ..PutRequest::default() }).await;
        talk.delete("deleted", "").await;
        put_under(talk, "deleted", 0).await;
        watching.create(on_all()).await;
        note_lease(talk, 7, 0..=1).await;
        note_lease(talk, 8, 490..=500).await;
        watching.note_next(talk, 1).await;
        watching.note_silence(talk).await;
        talk.ask(e2e::everything(0)).await;
    });
}

#[test]
fn a_thousand_end_together() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        watching.create(on_all()).await;
        let begun = e2e::now();
        for id in 1..=1000 {
            let request = LeaseGrantRequest { id, ttl: 5 };
            soon("a grant", talk.grpc.call(&request)).await.unwrap();
        }
        for lease in 1..=1000 {
            let key = format!("key/{lease:04}").into();
            let request = PutRequest { key, lease, ..PutRequest::default() };
            soon("a put", talk.grpc.call(&request)).await.unwrap();
        }
        let last = watching.events_until(0, 1001).await.len();
        assert_eq!(last, 1000);
        let mut gone = watching.events_until(0, 2001).await;
        let lived = e2e::now() - begun;
        assert!(lived >= 5 * SECOND && lived < 5 * SECOND + 4 * LATE, "{lived:?}");
        assert!(gone.iter().map(revision).eq(1002..=2001), "each has a revision of its own");
        gone.sort_by_key(|event| event.kv.as_ref().map(|kv| kv.key.clone()));
        let gone: Vec<_> = gone
            .into_iter()
            .map(|event| (event.r#type() == EventType::Delete, event.kv.unwrap_or_default().key))
            .collect();
        talk.note("gone", gone);
        talk.ask(LeaseLeasesRequest {}).await;
    });
}

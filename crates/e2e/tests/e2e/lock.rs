//! Locks that a server takes for its clients: the same conversations with pintle and etcd.

use bytes::Bytes;
use e2e::{Call, Rpc as _, everything};
use proto::etcdserverpb::{
    CompactionRequest, LeaseGrantRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, RangeRequest,
};
use proto::mvccpb::KeyValue;
use proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest};

use crate::both::{Talk, same, soon, wait_ms};

/// Grants leases of these numbers, all of which outlive the test.
pub(crate) async fn grant(talk: &mut Talk, ids: &[i64]) {
    for id in ids {
        talk.ask(LeaseGrantRequest { id: *id, ttl: 600 }).await;
    }
}

/// All keys as they are now.
pub(crate) async fn keys(talk: &Talk) -> Vec<KeyValue> {
    soon("all keys", talk.grpc.call(&everything(0))).await.unwrap().kvs
}

/// Waits until there are so many keys, and notes down what they are.
pub(crate) async fn note_when(talk: &mut Talk, count: usize) {
    let found = soon("keys", async {
        loop {
            let found = keys(talk).await;
            if found.len() == count {
                return found;
            }
            wait_ms(5).await;
        }
    });
    let found = found.await;
    talk.note("keys", found);
}

fn request(name: &'static str, lease: i64) -> LockRequest {
    LockRequest { name: name.into(), lease }
}

/// Asks for a lock and does not wait for it.
async fn queue(
    talk: &Talk,
    name: &'static str,
    lease: i64,
    headers: &[(&'static str, &str)],
) -> Call {
    let mut call = soon("a call", talk.grpc.open_with(LockRequest::PATH, headers)).await.unwrap();
    call.send_last(&request(name, lease)).unwrap();
    call
}

async fn note_locked(talk: &mut Talk, call: &mut Call) {
    let reply = soon("a lock", call.next::<LockResponse>()).await;
    talk.note("locked", reply);
}

#[test]
fn a_lock_that_nobody_holds_is_taken_at_once() {
    same(&[], async |talk| {
        grant(talk, &[0x10, 0xabc]).await;
        talk.ask(request("a", 0x10)).await;
        talk.put("other", "").await;
        talk.ask(request("a", 0x10)).await;
        talk.ask(request("b", 0xabc)).await;
        talk.ask(request("b/c", 0xabc)).await;
        talk.ask(request("", 0xabc)).await;
        note_when(talk, 5).await;
        talk.ask(LeaseTimeToLiveRequest { id: 0x10, keys: true }).await;
        for key in ["a/10", "a/10", "nobody's", "", "other"] {
            talk.ask(UnlockRequest { key: key.into() }).await;
        }
        note_when(talk, 3).await;
    });
}

#[test]
fn what_cannot_be_locked_is_told_without_a_code() {
    same(&[], async |talk| {
        for lease in [1, -1, i64::MIN, i64::MAX] {
            talk.ask(request("a", lease)).await;
        }
        grant(talk, &[-1, i64::MIN]).await;
        talk.ask(request("a", -1)).await;
        talk.ask(request("b", i64::MIN)).await;
        note_when(talk, 2).await;
    });
}

#[test]
fn who_waits_has_the_lock_in_turn() {
    same(&[], async |talk| {
        grant(talk, &[1, 2, 3, 4]).await;
        talk.ask(request("a", 1)).await;
        let mut second = queue(talk, "a", 2, &[]).await;
        note_when(talk, 2).await;
        let mut third = queue(talk, "a", 3, &[]).await;
        note_when(talk, 3).await;
        talk.put("a/1", "a change is no end").await;
        talk.ask(UnlockRequest { key: "a/1".into() }).await;
        note_locked(talk, &mut second).await;
        // A lease that ends lets go of what it holds, and those before it do not mind.
        let mut fourth = queue(talk, "a", 4, &[]).await;
        note_when(talk, 3).await;
        talk.ask(LeaseRevokeRequest { id: 3 }).await;
        talk.ask(LeaseRevokeRequest { id: 2 }).await;
        note_locked(talk, &mut third).await;
        note_locked(talk, &mut fourth).await;
        note_when(talk, 1).await;
    });
}

#[test]
fn who_waits_and_gives_up_is_waited_for_by_nobody() {
    same(&[], async |talk| {
        grant(talk, &[1, 2, 3, 4]).await;
        talk.ask(request("a", 1)).await;
        let second = queue(talk, "a", 2, &[]).await;
        note_when(talk, 2).await;
        let mut third = queue(talk, "a", 3, &[("grpc-timeout", "200m")]).await;
        note_when(talk, 3).await;
        // Go's server breaks the call off where ours answers; clients keep the time themselves.
        soon("a deadline", third.next::<LockResponse>()).await.unwrap_err();
        note_when(talk, 2).await;
        let mut fourth = queue(talk, "a", 4, &[]).await;
        note_when(talk, 3).await;
        second.cancel();
        note_when(talk, 2).await;
        talk.ask(UnlockRequest { key: "a/1".into() }).await;
        note_locked(talk, &mut fourth).await;
    });
}

#[test]
fn a_lock_may_be_waited_for_across_a_compaction() {
    same(&[], async |talk| {
        grant(talk, &[1, 2]).await;
        talk.ask(request("a", 1)).await;
        let mut second = queue(talk, "a", 2, &[]).await;
        note_when(talk, 2).await;
        // The watch begins at the revision before: it must have seen that one.
        soon("a watcher", async {
            while !watches_one(&talk.member.get("/metrics").unwrap().1) {
                wait_ms(5).await;
            }
        })
        .await;
        let revision = talk.put("other", "").await;
        talk.ask(CompactionRequest { revision, physical: true }).await;
        talk.ask(UnlockRequest { key: "a/1".into() }).await;
        note_locked(talk, &mut second).await;
    });
}

#[test]
fn who_has_no_lease_gets_one_of_a_minute() {
    same(&[], async |talk| {
        let reply = soon("a lock", talk.grpc.call(&request("a", 0))).await.unwrap();
        let leases = soon("leases", talk.grpc.call(&LeaseLeasesRequest {})).await.unwrap().leases;
        let [lease] = leases[..] else { panic!("{leases:?}") };
        talk.note("is named by its lease", reply.key == format!("a/{:x}", lease.id));
        let asked = LeaseTimeToLiveRequest { id: lease.id, keys: true };
        let lease = soon("a lease", talk.grpc.call(&asked)).await.unwrap();
        talk.note("ttl", lease.granted_ttl);
        talk.note("holds its key", lease.keys == [reply.key.clone()]);
        talk.note("header", reply.header.unwrap().revision);
        let range = RangeRequest { key: reply.key, ..RangeRequest::default() };
        let found = soon("the key", talk.grpc.call(&range)).await.unwrap().kvs;
        talk.note("value", (found[0].value == Bytes::new(), found[0].create_revision));
    });
}

/// A transaction that `docs/locks.md` shows keeps out who has lost the lock without knowing, by
/// nothing but the answer to Lock.
#[test]
fn the_revision_of_a_lock_fences_off_those_who_held_it_before() {
    same(&[], async |talk| {
        let text = std::fs::read_to_string(e2e::root().join("docs/locks.md")).unwrap();
        let shown = text.split("```txn\n").nth(1).and_then(|rest| rest.split("```").next());
        let shown = shown.expect("the document shows the transaction");
        let guarded = |talk: &Talk, held: &LockResponse, value: &str| {
            let revision = held.header.as_ref().unwrap().revision;
            let key = String::from_utf8(held.key.to_vec()).unwrap();
            let txn = shown
                .replace("KEY", &key)
                .replace("REVISION+1", &(revision + 1).to_string())
                .replace("VALUE", value);
            let etcdctl =
                e2e::peer("etcdctl").expect("it is beside the etcd that is compared with");
            let mut command = std::process::Command::new(etcdctl);
            command
                .arg("--endpoints")
                .arg(talk.member.endpoint())
                .args(["txn", "--interactive=false"]);
            let outcome = e2e::run(&mut command, &txn, std::path::Path::new(".")).unwrap();
            (outcome.code, outcome.stdout)
        };
        grant(talk, &[1, 2]).await;
        let first = talk.ask(request("disk", 1)).await.unwrap();
        let written = guarded(talk, &first, "by the first");
        assert_eq!(written, (0, "SUCCESS\n\nOK\n".to_owned()));
        // Its lease ends while it sleeps; the next has the lock, and then it is awake again.
        let mut second = queue(talk, "disk", 2, &[]).await;
        note_when(talk, 3).await;
        talk.ask(LeaseRevokeRequest { id: 1 }).await;
        let second = soon("the lock", second.next::<LockResponse>()).await.unwrap().unwrap();
        let late = guarded(talk, &first, "by the first, too late");
        assert_eq!(late, (0, "FAILURE\n".to_owned()));
        assert!(revision(&second) > revision(&first));
        let written = guarded(talk, &second, "by the second");
        talk.note("written", written);
        // Also not with the same key, taken anew: what was begun before is over.
        talk.ask(UnlockRequest { key: second.key.clone() }).await;
        let again = talk.ask(request("disk", 2)).await.unwrap();
        assert_eq!(again.key, second.key);
        let late = guarded(talk, &second, "from before");
        assert_eq!(late, (0, "FAILURE\n".to_owned()));
        assert!(revision(&again) > revision(&second));
        note_when(talk, 2).await;
    });
}

fn watches_one(metrics: &str) -> bool {
    let has = |line: &str| metrics.lines().any(|it| it == line);
    has("etcd_debugging_mvcc_watcher_total 1") && has("etcd_debugging_mvcc_slow_watcher_total 0")
}

fn revision(held: &LockResponse) -> i64 {
    held.header.as_ref().unwrap().revision
}

//! A member of three that hears anything from the others: messages of all kinds, and states.
//!
//! It goes on, refuses what no member can have said, or ends with a reason; and whatever it heard,
//! its db file is whole.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::{Clock, Disk, ManualClock, SimDisk};
use fuzz::{byte, chunk};
use libfuzzer_sys::fuzz_target;
use node::{
    AskError, Asked, AutoCompaction, Bootstrap, HashOfMember, Image, LeaseStanding, Options, Peer,
    PeerVersion, Peers, Stepped, World,
};
use proto::Message as _;
use proto::etcdserverpb::{InternalRaftRequest, Member, PutRequest};
use proto::raftpb::Message;

const MEMBERS: [(&str, [&str; 1]); 3] =
    [("m0", ["http://m0:2380"]), ("m1", ["http://m1:2380"]), ("m2", ["http://m2:2380"])];
const STEPS: usize = 64;
const TICK: Duration = Duration::from_millis(100);

fuzz_target!(|data: &[u8]| {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let clock = ManualClock::default();
    let world = World { disk: Arc::clone(&disk), clock: Arc::new(clock.clone()) };
    let mut member = Stepped::boot(&world, &options(), 64 << 10).expect("the disk is empty");
    member.connect(Arc::new(Silence));
    let _ended = hear(&mut member, &clock, data);
    assert_eq!(member.views().backend.db().check(), []);
});

/// `None` where the member has ended with a reason.
fn hear(member: &mut Stepped, clock: &ManualClock, mut rest: &[u8]) -> Option<()> {
    let others = [1, 2].map(|at: usize| {
        let (_, urls) = MEMBERS[at];
        state::member_id(&urls.map(str::to_owned), "fuzz", None).0
    });
    for _ in 0..STEPS {
        if rest.is_empty() {
            break;
        }
        let how = byte(&mut rest);
        let from = others[usize::from(how & 1)];
        match how >> 1 & 7 {
            0..4 => {
                let Some(message) = message(member, from, how, &mut rest) else { continue };
                // No member can have sent it.
                if member.deliver(message).is_err() {
                    continue;
                }
            }
            4 => {
                let Some(message) = message(member, from, how, &mut rest) else { continue };
                let _ = member.receive_snapshot(message, chunk(&mut rest));
            }
            5 => member.report_lost(from),
            6 => {
                for _ in 0..byte(&mut rest) % 32 {
                    clock.advance(TICK);
                    member.step(clock.now()).ok()?;
                }
            }
            _ => {
                let put = PutRequest { key: Bytes::from_static(b"k"), ..PutRequest::default() };
                member.propose(InternalRaftRequest { put: Some(put), ..Default::default() });
            }
        }
        member.step(clock.now()).ok()?;
        if member.seal() {
            member.commit_sealed().ok()?;
        }
    }
    Some(())
}

/// From one of the others, mostly: of such a term that it counts.
fn message(member: &Stepped, from: u64, how: u8, rest: &mut &[u8]) -> Option<Message> {
    let mut message = Message::decode(chunk(rest)).ok()?;
    if how & 0x10 == 0 {
        message.to = Some(member.member_id());
        message.from = Some(from);
        message.term = Some(member.raft().hard_state.term.0 + u64::from(how >> 5));
    }
    Some(message)
}

/// Nobody hears this member.
struct Silence;

fn nobody<T: Send + 'static>() -> Asked<T> {
    Box::pin(async { Err(AskError::Timeout) })
}

impl Peers for Silence {
    fn set(&self, _: Vec<Peer>) {}

    fn send(&self, messages: &mut Vec<Message>) {
        messages.clear();
    }

    fn send_snapshot(&self, _: Message, _: Image) {}

    fn active_for(&self, _: u64) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }

    fn renew_lease(&self, _: u64, _: i64) -> Asked<i64> {
        nobody()
    }

    fn lease_time_to_live(&self, _: u64, _: i64, _: bool) -> Asked<LeaseStanding> {
        nobody()
    }

    fn promote(&self, _: u64, _: u64, _: Option<Bytes>) -> Asked<Vec<Member>> {
        nobody()
    }

    fn hash_kv(&self, _: u64, _: i64) -> Asked<HashOfMember> {
        nobody()
    }

    fn version(&self, _: u64) -> Asked<PeerVersion> {
        nobody()
    }
}

fn options() -> Options {
    Options {
        name: "m0".to_owned(),
        data_dir: Path::new("/data").to_path_buf(),
        wal_dir: None::<PathBuf>,
        client_urls: Vec::new(),
        bootstrap: Some(Bootstrap::with_new(MEMBERS, "fuzz")),
        force_new_cluster: false,
        tick: TICK,
        election_ticks: 10,
        pre_vote: true,
        catchup_entries: 5,
        strict_reconfig_check: true,
        snapshot_count: 5,
        max_snapshots: 1,
        max_wals: 1,
        quota_bytes: 0,
        batch_interval: Duration::from_millis(100),
        batch_limit: 10_000,
        request_bytes: 1 << 20,
        max_learners: 1,
        auto_compaction: AutoCompaction::Off,
        compaction_batch: 1000,
        compaction_pause: Duration::from_millis(10),
        corrupt_check_interval: None,
        no_fsync: false,
        value_budget_bytes: 1 << 20,
        compact_hash_check_interval: None,
        downgrade_check_interval: Duration::from_secs(5),
        initial_corrupt_check: false,
        initial_election_tick_advance: false,
        warning_apply_duration: Duration::from_secs(1),
        features: Default::default(),
        page_cache_bytes: 1 << 20,
        simple_token_ttl: Some(Duration::from_secs(300)),
        recent_events_bytes: 2 << 20,
        disarm_when_space: false,
    }
}

//! A machine with its disk and its clock, and the member that runs on it, or not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use env::{Random, SimDisk};
use node::{
    AskError, Asked, AutoCompaction, Bootstrap, Error, Fatal, HashOfMember, Image, LeaseStanding,
    Options, Peer, PeerVersion, Peers, Stepped, World,
};
use proto::etcdserverpb::Member;
use proto::raftpb;
use wal::{SnapshotMark, Wal};

use super::clock::HostClock;
use crate::digest::Digest;
use crate::recovery::{WAL, whole_log};
use crate::tap::{Attic, Tap};

/// What a member has said since it was last listened to.
#[derive(Default)]
pub(super) struct Said {
    pub(super) messages: Vec<raftpb::Message>,
    pub(super) states: Vec<(raftpb::Message, Image)>,
}

/// Keeps a member's words until they are fetched.
#[derive(Default)]
struct Mouth {
    said: Mutex<Said>,
    /// Whom it speaks to.
    known: Mutex<BTreeSet<u64>>,
    /// Who has spoken to it, and can be answered.
    heard: Mutex<BTreeSet<u64>>,
}

impl Mouth {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The drive asks nobody; that is done by what is around it in a running member.
fn nobody<T: Send + 'static>() -> Asked<T> {
    let nobody = AskError::Unreachable("only messages are carried".to_owned());
    Box::pin(std::future::ready(Err(nobody)))
}

impl Peers for Mouth {
    fn set(&self, others: Vec<Peer>) {
        let known = others.into_iter().map(|peer| peer.id).collect();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn send(&self, messages: &mut Vec<raftpb::Message>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = |to: &u64| known.contains(to) || heard.contains(to);
        let carried = messages.drain(..).filter(|message| reached(&message.to()));
        self.said().messages.extend(carried);
    }

    fn send_snapshot(&self, message: raftpb::Message, image: Image) {
        self.said().states.push((message, image));
    }

    fn active_for(&self, _: u64) -> Option<Duration> {
        None
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

pub(super) struct Host {
    pub(super) options: Options,
    segment_bytes: u64,
    pub(super) disk: SimDisk,
    pub(super) tap: Tap,
    attic: Attic,
    pub(super) clock: HostClock,
    pub(super) member: Option<Stepped>,
    mouth: Arc<Mouth>,
    /// Who runs here; 0 before the first start.
    pub(super) id: u64,
    /// Counts starts and ends.
    pub(super) life: u64,
    /// Until when its process stands still.
    pub(super) paused_until: Option<Duration>,
    /// How long a sync of the log takes; without it steps make their syncs themselves.
    pub(super) sync_takes: Option<Duration>,
    /// The sync that is under way.
    pub(super) syncing: u64,
    /// When it is to be woken.
    pub(super) wake: Option<Duration>,
    /// It left the cluster for ever.
    pub(super) left: bool,
}

impl Host {
    pub(super) fn new(options: Options, random: &mut Random, digest: &Digest) -> Self {
        let disk = SimDisk::new(random.next_u64());
        let attic = Attic::default();
        let tap = Tap::new(disk.clone(), digest.clone(), Arc::clone(&attic), None);
        let start = Duration::from_secs(1 + random.below(100_000));
        Self {
            options,
            segment_bytes: [8 << 10, 16 << 10, 64 << 10][random.index(3)],
            disk,
            tap,
            attic,
            clock: HostClock::new(start),
            member: None,
            mouth: Arc::default(),
            id: 0,
            life: 0,
            paused_until: None,
            sync_takes: None,
            syncing: 0,
            wake: None,
            left: false,
        }
    }

    /// Whether somebody is there who answers.
    pub(super) fn serves(&self) -> bool {
        self.member.is_some() && self.paused_until.is_none()
    }

    pub(super) fn boot(
        &mut self,
        now: Duration,
        digest: &Digest,
        unsynced: Option<&'static str>,
    ) -> Result<(), Fatal> {
        let attic = Arc::clone(&self.attic);
        self.tap = Tap::new(self.disk.clone(), digest.clone(), attic, unsynced);
        self.clock.set(now);
        self.life += 1;
        let clock = Arc::new(self.clock.hand());
        let world = World { disk: Arc::new(self.tap.clone()), clock };
        let mut member = Stepped::boot(&world, &self.options, self.segment_bytes)?;
        self.mouth = Arc::default();
        let mouth: Arc<dyn Peers> = self.mouth.clone();
        member.connect(mouth);
        member.sync_here(self.sync_takes.is_none());
        self.id = member.member_id();
        self.member = Some(member);
        Ok(())
    }

    /// Ends the process, with the machine's power or without.
    pub(super) fn die(&mut self, cut: bool) {
        self.member = None;
        self.life += 1;
        self.paused_until = None;
        (self.wake, self.syncing) = (None, 0);
        self.disk = if cut { self.disk.crash() } else { self.disk.kill() };
    }

    pub(super) fn step(&mut self, now: Duration) -> Result<(), Fatal> {
        let shows = self.clock.set(now);
        self.member.as_mut().map_or(Ok(()), |member| member.step(shows))
    }

    /// What the whole log holds: from the first entry on, or from the state that was received in
    /// the place of what came before it.
    pub(super) fn read_log(&self) -> Option<Vec<raftpb::Entry>> {
        let whole = whole_log(&self.disk, &self.attic).ok()?;
        let marks = Wal::valid_snapshots(&whole, Path::new(WAL)).ok()?;
        let marks = marks.iter().map(SnapshotMark::from);
        let mut marks = std::iter::once(SnapshotMark::default()).chain(marks);
        let read = marks.find_map(|mark| wal::read(&whole, Path::new(WAL), mark).ok())?;
        Some(read.entries)
    }

    /// Somebody speaks to the member.
    pub(super) fn hears(&self, from: u64) {
        self.mouth.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(from);
    }

    pub(super) fn listen(&mut self) -> Said {
        std::mem::take(&mut *self.mouth.said())
    }

    pub(super) fn receive(&mut self, message: raftpb::Message, db: &[u8]) -> Result<(), Error> {
        let member = self.member.as_mut().ok_or(Error::Stopped)?;
        member.receive_snapshot(message, db)
    }
}

/// Options of all members of a cluster.
pub(super) fn options(random: &mut Random, members: usize) -> Options {
    let all = (0..members).map(|at| (name(at), [url(at)]));
    Options {
        name: String::new(),
        data_dir: PathBuf::from("/data"),
        wal_dir: None,
        client_urls: Vec::new(),
        bootstrap: Some(Bootstrap::with_new(all, "simulation")),
        force_new_cluster: false,
        tick: Duration::from_millis(100),
        election_ticks: 10,
        pre_vote: !random.chance(1, 4),
        snapshot_count: [5, 20, 60, 100_000][random.index(4)],
        catchup_entries: [5, 30, 100_000][random.index(3)],
        strict_reconfig_check: true,
        max_snapshots: 2,
        max_wals: 2,
        quota_bytes: -1,
        batch_interval: Duration::from_millis([50, 500, 60_000][random.index(3)]),
        batch_limit: [3, 20, 10_000][random.index(3)],
        request_bytes: 1 << 20,
        max_learners: 2,
        auto_compaction: AutoCompaction::Off,
        compaction_batch: 1000,
        compaction_pause: Duration::from_millis(10),
        corrupt_check_interval: None,
        compact_hash_check_interval: None,
        downgrade_check_interval: Duration::from_secs(5),
        initial_corrupt_check: false,
        initial_election_tick_advance: random.chance(1, 2),
        warning_apply_duration: Duration::from_millis(100),
        features: Vec::new(),
        no_fsync: false,
        value_budget_bytes: [0, 500, 1 << 20][random.index(3)],
        page_cache_bytes: [64 << 10, 4 << 20][random.index(2)],
        simple_token_ttl: Some(Duration::from_secs(300)),
        recent_events_bytes: 2 << 20,
        disarm_when_space: false,
    }
}

/// As every member of them has them.
pub(super) fn options_of(at: usize, common: &Options) -> Options {
    Options { name: name(at), ..common.clone() }
}

fn name(at: usize) -> String {
    format!("m{at}")
}

pub(super) fn url(at: usize) -> String {
    format!("http://10.0.0.{}:2380", at + 1)
}

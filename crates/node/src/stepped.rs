//! A member without threads, for simulations: what the threads of a running member do beside the
//! drive, its holder does, when and in which order it likes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mvcc::{CompactJob, Progress};
use proto::Message as _;
use proto::etcdserverpb::{InternalRaftRequest, RequestHeader};
use proto::raftpb;
use raft::NodeId;
use state::{EntryId, LeaseId, MemberChange, Renewal, Reply, Views};
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::boot::{Booted, World, boot_with};
use crate::drive::Answered;
use crate::queue::{Incoming, Input, Order, Proposal};
use crate::receive::{ReceivedFile, index_of, snapshot_message};
use crate::vacuum::Vacuum;
use crate::{Error, Fatal, Options, Peers, members, wire};

/// The answer to a request, with the store's revision after it.
type Outcome = Result<(Reply, i64), Error>;

/// One member, stepped by its holder. The same drive as in [`Running`](crate::Running); nothing
/// happens between two calls.
///
/// After an error of any method the member has failed, as a running one would: only
/// [`Stepped::outcomes`] may be asked.
pub struct Stepped {
    booted: Booted,
    waiting: Input,
    syncs: VecDeque<(u64, wal::SyncJob)>,
    reads: BTreeMap<u64, oneshot::Receiver<Result<(), Error>>>,
    asked: BTreeMap<u64, oneshot::Receiver<Result<Answered, Error>>>,
    compactions: VecDeque<CompactJob>,
    segments: VecDeque<wal::NextSegmentJob>,
    vacuum: Vacuum,
}

impl Stepped {
    /// Opens the data directory, or begins in it. Log segments are closed at `segment_bytes`, and
    /// half as many free bytes in the db file are worth a vacuum, as in a member of full size.
    pub fn boot(world: &World, options: &Options, segment_bytes: u64) -> Result<Self, Fatal> {
        let mut booted = boot_with(world, options, segment_bytes)?;
        let compactions = booted.drive.take_resumed_compaction().into_iter().collect();
        let (waiting, syncs, reads, asked, segments) = Default::default();
        let vacuum = Vacuum::new(segment_bytes / 2);
        Ok(Self { booted, waiting, syncs, reads, asked, compactions, segments, vacuum })
    }

    /// Queues a request for the next step and says its id, which it also has in the log.
    pub fn propose(&mut self, mut request: InternalRaftRequest) -> u64 {
        let id = self.booted.ids.next();
        request.header = Some(RequestHeader { id, ..RequestHeader::default() });
        let encoded = Bytes::from(request.encode_to_vec());
        let (answer, outcome) = oneshot::channel();
        self.asked.insert(id, outcome);
        self.waiting.proposals.push(Proposal {
            request: Arc::new(request),
            encoded,
            answer: Some(answer),
        });
        id
    }

    /// Does all that can be done at this time; what is to be done beside it is kept.
    pub fn step(&mut self, now: Duration) -> Result<(), Fatal> {
        let beside = self.booted.drive.step(now, &mut self.waiting)?;
        if beside.replaced.is_some() {
            self.compactions.clear();
        }
        self.compactions.extend(beside.compactions);
        self.segments.extend(beside.next_segment);
        self.syncs.extend(beside.sync);
        Ok(())
    }

    /// The requests that were answered since the last call, by id.
    pub fn outcomes(&mut self) -> Vec<(u64, Outcome)> {
        let mut outcomes = Vec::new();
        self.asked.retain(|id, outcome| {
            let outcome = match outcome.try_recv() {
                Ok(answered) => answered.map(|answered| (answered.reply, answered.revision)),
                Err(TryRecvError::Closed) => Err(Error::Stopped),
                Err(TryRecvError::Empty) => return true,
            };
            outcomes.push((*id, outcome));
            false
        });
        outcomes
    }

    /// Closes the buffer of what is applied; whether there was one to close.
    pub fn seal(&mut self) -> bool {
        self.booted.drive.flush(None).is_ok_and(|flush| flush.sealed)
    }

    /// Commits the sealed buffer to the db file; whether there was one.
    pub fn commit_sealed(&mut self) -> Result<bool, Fatal> {
        let committed = self.views().backend.commit_sealed().map_err(mvcc::Error::from)?;
        Ok(committed.is_some())
    }

    /// Moves the end of the db file down a little, if that is due; whether it was.
    pub fn vacuum(&mut self, now: Duration) -> Result<bool, Fatal> {
        let backend = &self.booted.drive.state().views().backend;
        Ok(self.vacuum.step(backend.db(), || now).map_err(mvcc::Error::from)?)
    }

    /// Does a part of the oldest compaction; `None` where there is none.
    pub fn step_compaction(&mut self, limit: usize) -> Result<Option<Progress>, Fatal> {
        let Some(job) = self.compactions.front_mut() else { return Ok(None) };
        let progress = job.step(limit)?;
        if progress == Progress::Done {
            self.compactions.pop_front();
        }
        Ok(Some(progress))
    }

    /// Prepares the next log segment where the log has asked for it; whether that was done. A
    /// failure is none of the member's.
    pub fn prepare_segment(&mut self) -> bool {
        self.segments.pop_front().is_some_and(|job| job.run().is_ok())
    }

    /// Stops in order: brings everything applied to the db file. Nothing may be asked of it
    /// afterwards but [`Stepped::outcomes`].
    pub fn close(&mut self) -> Result<(), Fatal> {
        self.waiting.clear();
        self.booted.drive.close()
    }

    /// Who carries this member's words. To be called once, before the first step.
    pub fn connect(&mut self, peers: Arc<dyn Peers>) {
        self.booted.others.set(peers);
        self.booted.drive.introduce();
    }

    /// Takes in a message of another member for the next step. An error: no member can have sent
    /// it.
    pub fn deliver(&mut self, message: raftpb::Message) -> Result<(), String> {
        self.waiting.incoming.extend(wire::message(message)?.map(Incoming::Message));
        Ok(())
    }

    /// A message to this member was likely lost.
    pub fn report_unreachable(&mut self, id: u64) {
        self.waiting.incoming.extend(NodeId::new(id).map(Incoming::Unreachable));
    }

    /// The connection on which this member was heard has broken.
    pub fn report_lost(&mut self, id: u64) {
        self.waiting.incoming.extend(NodeId::new(id).map(Incoming::Lost));
    }

    /// This member is heard, for the first time or again.
    pub fn report_heard(&mut self, id: u64) {
        self.waiting.incoming.extend(NodeId::new(id).map(Incoming::Heard));
    }

    /// The snapshot that this member was sent has arrived, or not.
    pub fn report_snapshot(&mut self, id: u64, arrived: bool) {
        let told = NodeId::new(id).map(|id| Incoming::SnapshotSent(id, arrived));
        self.waiting.incoming.extend(told);
    }

    /// Receives the state that a `MsgSnap` is about, to be taken in the next step.
    pub fn receive_snapshot(&mut self, message: raftpb::Message, db: &[u8]) -> Result<(), Error> {
        let message = snapshot_message(message)?;
        let dir = self.booted.snap_dir();
        let index = index_of(&message);
        let mut file = ReceivedFile::create(self.booted.opening.clone(), dir, index)?;
        file.write(db)?;
        let (prepared, _) = file.prepare(message)?;
        self.waiting.orders.push(Order::Install(Box::new(prepared)));
        Ok(())
    }

    /// Asks for a read of all that was acknowledged by now; the id comes back from
    /// [`Stepped::reads`] when it may be made.
    pub fn read(&mut self) -> u64 {
        let (read, told) = oneshot::channel();
        let id = self.booted.ids.next();
        self.reads.insert(id, told);
        self.waiting.reads.push(read);
        id
    }

    /// The reads that may be made, or never will, since the last call.
    pub fn reads(&mut self) -> Vec<(u64, Result<(), Error>)> {
        let mut answers = Vec::new();
        self.reads.retain(|id, told| {
            let outcome = match told.try_recv() {
                Ok(outcome) => outcome,
                Err(TryRecvError::Closed) => Err(Error::Stopped),
                Err(TryRecvError::Empty) => return true,
            };
            answers.push((*id, outcome));
            false
        });
        answers
    }

    /// Hands the lead over in the next step.
    pub fn transfer(&mut self, to: u64) {
        self.waiting.orders.extend(NodeId::new(to).map(Order::Transfer));
    }

    /// Asks for a change of the members; its outcome is among [`Stepped::outcomes`].
    pub fn change_members(&mut self, change: &MemberChange) -> u64 {
        let id = self.booted.ids.next();
        let change = members::of_change(id, change);
        let (answer, outcome) = oneshot::channel();
        self.asked.insert(id, outcome);
        self.waiting.orders.push(Order::Change { id, change, answer });
        id
    }

    /// Whether steps sync the log themselves, or leave that to [`Stepped::sync`].
    pub fn sync_here(&mut self, here: bool) {
        self.booted.drive.sync_here(here);
    }

    /// The number of the sync that the log waits for.
    pub fn next_sync(&self) -> Option<u64> {
        self.syncs.front().map(|(number, _)| *number)
    }

    /// Makes the sync that the log waits for, where there is one; whether there was.
    pub fn sync(&mut self) -> bool {
        let Some((number, job)) = self.syncs.pop_front() else { return false };
        let outcome = job.run().map_err(|error| error.to_string());
        self.waiting.orders.push(Order::Synced { number, outcome });
        true
    }

    /// When [`Stepped::step`] has something to do though nothing comes.
    pub fn wake_at(&self) -> Duration {
        self.booted.drive.wake_at()
    }

    /// Where it stands in consensus.
    pub fn raft(&self) -> raft::Status<'_> {
        self.booted.drive.status()
    }

    /// The entries of its log in memory, oldest first: index and term.
    pub fn log(&self) -> Vec<(u64, u64)> {
        self.booted.drive.log_ids()
    }

    /// An entry of its log, where it is in memory.
    pub fn entry(&self, index: u64) -> Option<raftpb::Entry> {
        self.booted.drive.log_entry(index)
    }

    /// Renews a lease.
    pub fn renew_lease(&self, now: Duration, id: LeaseId) -> Renewal {
        self.booted.clockwork.look().renew(now, id)
    }

    /// Whole seconds that are left of a lease, if it leads; below zero when it is overdue.
    pub fn lease_left(&self, now: Duration, id: LeaseId) -> Option<i64> {
        self.booted.clockwork.look().remaining(now, id)
    }

    /// Whether it leads, and has applied all that was ever acknowledged.
    pub fn reads_freely(&self) -> bool {
        self.booted.standing.reads_freely.is_up()
    }

    /// Whether it leads, and has applied all that came before its term.
    pub fn leads(&self) -> bool {
        self.booted.standing.leads.is_up()
    }

    /// The last entry whose effect is visible.
    pub fn applied(&self) -> EntryId {
        self.booted.drive.state().applied()
    }

    /// Who it is.
    pub fn member_id(&self) -> u64 {
        self.booted.member_id
    }

    /// Which cluster it belongs to.
    pub fn cluster_id(&self) -> u64 {
        self.booted.cluster_id
    }

    /// What readers see.
    pub fn views(&self) -> &Views {
        self.booted.drive.state().views()
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use env::{Access, Call, Clock as _, Disk as _, ManualClock, SimDisk};
    use proto::etcdserverpb::PutRequest;

    use super::*;
    use crate::{AutoCompaction, Bootstrap};

    fn boot(disk: &SimDisk, clock: &ManualClock) -> Stepped {
        try_boot(disk, clock).expect("a member")
    }

    fn try_boot(disk: &SimDisk, clock: &ManualClock) -> Result<Stepped, Fatal> {
        boot_at(disk, clock, "http://localhost:2380")
    }

    fn boot_at(disk: &SimDisk, clock: &ManualClock, url: &str) -> Result<Stepped, Fatal> {
        Stepped::boot(&world(disk, clock), &options(url), 16 << 10)
    }

    fn world(disk: &SimDisk, clock: &ManualClock) -> World {
        World { disk: Arc::new(disk.clone()), clock: Arc::new(clock.clone()) }
    }

    fn options(url: &str) -> Options {
        Options {
            name: "alone".to_owned(),
            data_dir: PathBuf::from("/srv/etcd/data"),
            wal_dir: None,
            client_urls: Vec::new(),
            bootstrap: Some(Bootstrap::with_new([("alone", [url])], "")),
            force_new_cluster: false,
            tick: Duration::from_millis(100),
            election_ticks: 10,
            pre_vote: true,
            snapshot_count: 10,
            catchup_entries: 5000,
            strict_reconfig_check: true,
            max_snapshots: 5,
            max_wals: 5,
            quota_bytes: 0,
            batch_interval: Duration::from_millis(100),
            batch_limit: 10_000,
            request_bytes: 1 << 20,
            max_learners: 1,
            auto_compaction: AutoCompaction::Off,
            compaction_batch: 1000,
            compaction_pause: Duration::from_millis(10),
            corrupt_check_interval: None,
            compact_hash_check_interval: None,
            downgrade_check_interval: Duration::from_secs(5),
            initial_corrupt_check: false,
            initial_election_tick_advance: false,
            warning_apply_duration: Duration::from_millis(100),
            features: Vec::new(),
            no_fsync: false,
            value_budget_bytes: 1 << 20,
            page_cache_bytes: 1 << 20,
        }
    }

    fn put(key: &'static str) -> InternalRaftRequest {
        let put = PutRequest { key: Bytes::from_static(key.as_bytes()), ..PutRequest::default() };
        InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() }
    }

    /// Puts a key and waits for the answer: the store's revision.
    fn acknowledged(member: &mut Stepped, clock: &ManualClock) -> i64 {
        member.step(clock.now()).expect("a leader");
        let id = member.propose(put("k"));
        member.step(clock.now()).expect("a step");
        let outcomes = member.outcomes();
        let [(answered, Ok((_, revision)))] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert_eq!(*answered, id);
        *revision
    }

    #[test]
    fn what_is_left_of_a_lease_is_written_down_where_that_is_wanted() {
        for enabled in [false, true] {
            let (disk, clock) = (SimDisk::new(1), ManualClock::default());
            let feature = crate::Feature { name: "LeaseCheckpoint", stage: "ALPHA", enabled };
            let options = Options { features: vec![feature], ..options("http://localhost:2380") };
            let mut member =
                Stepped::boot(&world(&disk, &clock), &options, 16 << 10).expect("boots");
            member.step(clock.now()).expect("a leader");
            let grant = proto::etcdserverpb::LeaseGrantRequest { id: 7, ttl: 1000 };
            let request =
                InternalRaftRequest { lease_grant: Some(grant), ..InternalRaftRequest::default() };
            member.propose(request);
            member.step(clock.now()).expect("a lease");
            clock.advance(Duration::from_secs(301));
            member.step(clock.now()).expect("a checkpoint");
            let lease = member.views().leases.lease(LeaseId(7)).expect("is there");
            assert_eq!(lease.remaining_ttl, if enabled { 699 } else { 0 });
        }
    }

    #[test]
    fn a_sole_voter_leads_though_it_steps_more_often_than_it_syncs() {
        let (disk, clock) = (SimDisk::new(1), ManualClock::default());
        let mut member = boot(&disk, &clock);
        member.sync_here(false);
        for _ in 0..20 {
            for _ in 0..3 {
                member.step(clock.now()).expect("a step");
            }
            member.sync();
        }
        assert!(member.leads(), "term {}", member.raft().hard_state.term.0);
    }

    #[test]
    fn the_first_acknowledged_write_survives_a_power_cut_with_all_directories_new() {
        for seed in 0..20 {
            let (disk, clock) = (SimDisk::new(seed), ManualClock::default());
            let mut member = boot(&disk, &clock);
            assert_eq!(acknowledged(&mut member, &clock), 2);
            drop(member);

            // Died once before with the machine alive, once with it.
            let disk = if seed % 2 == 0 { disk.kill() } else { disk };
            let disk = disk.crash();
            clock.advance(Duration::from_secs(1));
            let mut member = boot(&disk, &clock);
            assert_eq!(acknowledged(&mut member, &clock), 3, "seed {seed}");
        }
    }

    #[test]
    fn a_flush_waits_for_what_was_applied_before_and_for_nothing_else() {
        let (disk, clock) = (SimDisk::new(1), ManualClock::default());
        let mut member = boot(&disk, &clock);
        acknowledged(&mut member, &clock);
        let first = member.booted.drive.flush(None).expect("it is well");
        assert!(first.sealed);
        // The commit of that buffer is under way when more is written.
        acknowledged(&mut member, &clock);
        let second = member.booted.drive.flush(None).expect("it is well");
        assert_eq!((second.sealed, second.commits), (false, first.commits + 1));
        assert!(member.commit_sealed().expect("a commit"));
        assert_eq!(member.views().backend.commits(), first.commits);
        assert!(member.booted.drive.flush(Some(second.clone())).expect("it is well").sealed);
        acknowledged(&mut member, &clock);
        assert!(member.commit_sealed().expect("a commit"));
        assert_eq!(member.views().backend.commits(), second.commits);
        assert!(
            !member.booted.drive.flush(Some(second.clone())).expect("it is well").sealed,
            "it has what it came for"
        );
    }

    const DB: &str = "/srv/etcd/data/member/snap/db";
    const SNAP: &str = "/srv/etcd/data/member/snap";
    const WAL: &str = "/srv/etcd/data/member/wal";

    fn read(disk: &SimDisk, path: &Path) -> Vec<u8> {
        let file = disk.open(path, Access::Read).expect("it is there");
        let mut bytes = vec![0; file.len().expect("a length") as usize];
        file.read_exact_at(&mut bytes, 0).expect("it is read");
        bytes
    }

    fn write(disk: &SimDisk, path: &Path, bytes: &[u8]) {
        let file = disk.open(path, Access::Create).expect("it can be made");
        file.set_len(0).expect("it can be emptied");
        file.write_all_at(bytes, 0).expect("it can be written");
    }

    /// Puts so often, with a commit of the db file after each.
    fn put_times(member: &mut Stepped, clock: &ManualClock, times: usize) -> i64 {
        let mut revision = 0;
        for _ in 0..times {
            revision = acknowledged(member, clock);
            member.seal();
            member.commit_sealed().expect("the disk is sound");
        }
        revision
    }

    fn names(disk: &SimDisk, dir: &str, suffix: &str) -> Vec<PathBuf> {
        let names = disk.list(Path::new(dir)).expect("it is there").into_iter();
        names.filter(|name| name.ends_with(suffix)).map(|name| Path::new(dir).join(name)).collect()
    }

    #[test]
    fn snapshot_files_are_for_others_and_may_be_broken_or_gone() {
        for broken in [true, false] {
            let (disk, clock) = (SimDisk::new(1), ManualClock::default());
            let mut member = boot(&disk, &clock);
            put_times(&mut member, &clock, 40);
            drop(member);
            let snaps = names(&disk, SNAP, ".snap");
            assert!(snaps.len() > 1, "{snaps:?}");
            for snap in &snaps {
                if broken {
                    write(&disk, snap, b"no snapshot");
                } else {
                    disk.remove_file(snap).expect("it is there");
                }
            }
            let mut member = boot(&disk, &clock);
            assert_eq!(put_times(&mut member, &clock, 40), 81);
            drop(member);
            boot(&disk, &clock);
        }
    }

    #[test]
    fn what_was_left_half_written_is_removed_at_the_next_start() {
        let (disk, clock) = (SimDisk::new(1), ManualClock::default());
        drop(boot(&disk, &clock));
        write(&disk, &Path::new(SNAP).join("tmp-0000000000000001-0000000000000002"), b"half");
        write(&disk, &Path::new(SNAP).join("db.tmp.1"), b"half");
        drop(boot(&disk, &clock));
        assert_eq!(disk.list(Path::new(SNAP)).expect("it is there"), ["db"]);
    }

    #[test]
    fn a_log_that_is_ahead_of_the_db_file_is_replayed() {
        let (disk, clock) = (SimDisk::new(2), ManualClock::default());
        let mut member = boot(&disk, &clock);
        put_times(&mut member, &clock, 3);
        let early = read(&disk, Path::new(DB));
        put_times(&mut member, &clock, 3);
        drop(member);
        write(&disk, Path::new(DB), &early);
        let mut member = boot(&disk, &clock);
        assert_eq!(acknowledged(&mut member, &clock), 8);
        drop(member);
        // From the log alone.
        disk.remove_file(Path::new(DB)).expect("it is there");
        let mut member = boot(&disk, &clock);
        assert_eq!(acknowledged(&mut member, &clock), 9);
    }

    #[test]
    fn a_db_file_that_is_behind_the_snapshot_or_ahead_of_the_log_is_refused() {
        let (disk, clock) = (SimDisk::new(3), ManualClock::default());
        let mut member = boot(&disk, &clock);
        put_times(&mut member, &clock, 3);
        let (early, segments) = (read(&disk, Path::new(DB)), names(&disk, WAL, ".wal"));
        let [segment] = &segments[..] else { panic!("{segments:?}") };
        let early_log = read(&disk, segment);
        put_times(&mut member, &clock, 30);
        drop(member);
        let late = read(&disk, Path::new(DB));

        write(&disk, Path::new(DB), &early);
        let refused = try_boot(&disk, &clock).map(drop);
        assert!(matches!(refused, Err(Fatal::DbBehindSnapshot { .. })), "{refused:?}");
        disk.remove_file(Path::new(DB)).expect("it is there");
        let refused = try_boot(&disk, &clock).map(drop);
        assert!(matches!(refused, Err(Fatal::DbBehindSnapshot { .. })), "{refused:?}");

        write(&disk, Path::new(DB), &late);
        assert_eq!(names(&disk, WAL, ".wal"), segments);
        let late_log = read(&disk, segment);
        write(&disk, segment, &early_log);
        let refused = try_boot(&disk, &clock).map(drop).expect_err("the log was longer");
        assert!(refused.to_string().contains("do not belong together"), "{refused}");

        // Put back what belongs together, and nothing is the worse for it.
        write(&disk, segment, &late_log);
        let mut member = boot(&disk, &clock);
        assert_eq!(acknowledged(&mut member, &clock), 35);
    }

    #[test]
    fn a_log_without_entries_is_taken_up_by_its_own_member_and_for_no_older_db_file() {
        let (disk, clock) = (SimDisk::new(6), ManualClock::default());
        let elsewhere = "http://elsewhere:2380";
        drop(boot(&disk, &clock));
        let refused = boot_at(&disk, &clock, elsewhere).map(drop).expect_err("another member");
        assert!(refused.to_string().contains("was begun for member"), "{refused}");
        let [segment] = &names(&disk, WAL, ".wal")[..] else { panic!("one segment") };
        let blank = read(&disk, segment);
        let mut member = boot(&disk, &clock);
        put_times(&mut member, &clock, 3);
        drop(member);
        // What has members and entries knows by itself who it is.
        drop(boot_at(&disk, &clock, elsewhere).expect("URLs are for the first start"));

        write(&disk, segment, &blank);
        let refused = try_boot(&disk, &clock).map(drop).expect_err("the log was longer");
        assert!(refused.to_string().contains("do not belong together"), "{refused}");
    }

    #[test]
    fn what_was_acknowledged_before_the_disk_was_full_is_there_when_it_has_room_again() {
        for seed in 0..20 {
            let (disk, clock) = (SimDisk::new(seed), ManualClock::default());
            let mut member = boot(&disk, &clock);
            let mut revision = put_times(&mut member, &clock, 1 + seed as usize);
            disk.set_capacity(Some(disk.used() + seed * 700));
            let failure = loop {
                member.propose(put("k"));
                if let Err(failure) = member.step(clock.now()) {
                    break failure;
                }
                let [(_, Ok((_, now)))] = member.outcomes()[..] else { panic!("no answer") };
                revision = now;
                if seed % 2 == 0 {
                    member.seal();
                    if let Err(failure) = member.commit_sealed() {
                        break failure;
                    }
                }
            };
            assert!(failure.to_string().contains("space"), "{failure}");
            assert!(member.step(clock.now()).is_err() || seed % 2 == 0);
            drop(member);
            // Full as it is it may start or say why not; with room it has all.
            drop(try_boot(&disk, &clock));
            disk.set_capacity(None);
            let mut member = boot(&disk, &clock);
            let after = acknowledged(&mut member, &clock);
            assert!((revision + 1..=revision + 2).contains(&after), "{revision} {after}");
        }
    }

    #[test]
    fn a_member_whose_log_could_not_be_synced_does_nothing_any_more() {
        let (disk, clock) = (SimDisk::new(4), ManualClock::default());
        let mut member = boot(&disk, &clock);
        acknowledged(&mut member, &clock);
        disk.fail(Call::SyncData, ".wal", 0);
        member.propose(put("k"));
        member.step(clock.now()).expect_err("the sync failed");
        assert!(matches!(member.outcomes()[..], [(_, Err(Error::Stopped))]));
        member.propose(put("k"));
        assert!(matches!(member.step(clock.now()), Err(Fatal::Failed)));
        assert!(matches!(member.outcomes()[..], [(_, Err(Error::Stopped))]));
        assert!(!member.seal());
        assert!(matches!(member.close(), Err(Fatal::Failed)));
    }
}

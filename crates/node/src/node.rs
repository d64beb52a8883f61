//! The handle by which everybody else speaks to the member.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::task::Poll;
use std::thread::Thread;
use std::time::Duration;

use bytes::Bytes;
use mvcc::{HashKv, Hub};
use prometheus::HistogramTimer;
use proto::Message as _;
use proto::etcdserverpb::{
    AlarmMember, AlarmType, DowngradeInfo, InternalRaftRequest, Member, ResponseHeader,
    StatusResponse,
};
use state::{AuthInfo, MemberId, Need, Reply, Views};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::boot::{Booted, World};
use crate::compaction::Compactions;
use crate::db::Committer;
use crate::drive::{Answered, Beside, Drive, no_space_alarm};
use crate::ids::RequestIds;
use crate::leases::Clockwork;
use crate::opening::Opening;
use crate::peers::Others;
use crate::queue::{Input, Proposal, Queue};
use crate::slow::Slow;
use crate::standing::Standing;
use crate::tally::{self, Kind};
use crate::tokens::Tokens;
use crate::watchful::Watchful;
use crate::{Error, SERVER_VERSION, metrics};

/// Requests that may wait for the drive; more are refused.
const QUEUE_LIMIT: usize = 5000;
/// With more than this many waiting, the drive's own thread is the better place to step: the
/// threads of requests have other work.
const INLINE_LIMIT: usize = 4;
/// Where steps take longer than this (in microseconds), a thread of requests cannot wait for one.
const INLINE_MICROS: u64 = 1000;
/// Reads that may wait for the drive; more are refused.
const READ_LIMIT: usize = 100_000;
/// How many long reads may be under way at a time: each wants a core, and the threads of
/// connections want theirs.
const TURNS_ASIDE: usize = 4;

/// The member as callers see it. Clones are the same member.
#[derive(Clone)]
pub struct Node {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    pub(crate) db_path: PathBuf,
    /// Replaced whole when this member gets its state from another one.
    views: RwLock<Arc<Views>>,
    /// The same through all states.
    hub: Hub,
    pub(crate) others: Arc<Others>,
    pub(crate) opening: Opening,
    /// States are received one at a time.
    pub(crate) receiving: Arc<Semaphore>,
    pub(crate) ids: Arc<RequestIds>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) clockwork: Arc<Clockwork>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) watchful: Watchful,
    pub(crate) queue: Queue,
    pub(crate) drive: Mutex<Drive>,
    pub(crate) driver: Arc<OnceLock<Thread>>,
    pub(crate) committer: Committer,
    pub(crate) compactions: Compactions,
    pub(crate) segments: std::sync::mpsc::Sender<wal::NextSegmentJob>,
    pub(crate) syncs: std::sync::mpsc::Sender<(u64, wal::SyncJob)>,
    pub(crate) failure: watch::Sender<Option<String>>,
    pub(crate) limits: Limits,
    /// Tells where the time of slow requests went.
    pub(crate) slow: Slow,
    /// For long reads and what else is done aside.
    pub(crate) turns_aside: Arc<Semaphore>,
    /// How long steps take, smoothed.
    step_micros: AtomicU64,
}

/// What requests may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) request_bytes: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) election_timeout: Duration,
    /// Whether changes of the members that endanger the quorum are refused.
    pub(crate) strict_reconfig: bool,
}

/// A consistent picture of the db file.
#[derive(Debug)]
pub struct Image {
    tx: Arc<bolt::ReadTx>,
    /// Measures how long the picture is kept.
    _taken: HistogramTimer,
}

impl Image {
    /// All of its bytes, for simulations.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        let mut buf = vec![0; usize::try_from(self.len()).unwrap_or(usize::MAX)];
        let read = self.tx.read_image(0, &mut buf);
        let read = read.map_err(|error| Error::Storage(error.to_string()))?;
        buf.truncate(read);
        Ok(buf)
    }

    /// The file as the last commit left it.
    pub(crate) fn of(backend: &mvcc::Backend) -> Self {
        let taken = metrics::BACKEND_SNAPSHOT.start_timer();
        Self { tx: Arc::new(backend.snapshot()), _taken: taken }
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.tx.image_len()
    }

    /// Whether it has no bytes; it always has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of its bytes. Reads from disk on a thread that may wait.
    pub async fn read(&self, offset: u64, bytes: usize) -> Result<Bytes, Error> {
        let tx = Arc::clone(&self.tx);
        blocking(move || {
            let mut buf = vec![0; bytes];
            let read = tx
                .read_image(offset, &mut buf)
                .map_err(|error| Error::Storage(error.to_string()))?;
            buf.truncate(read);
            Ok(Bytes::from(buf))
        })
        .await
    }
}

impl Shared {
    pub(crate) fn new(booted: Booted, parts: Around) -> Self {
        let Booted {
            drive,
            cluster_id,
            member_id,
            db_path,
            ids,
            standing,
            clockwork,
            tokens,
            watchful,
            others,
            opening,
        } = booted;
        let Around { world, driver, committer, compactions, segments, syncs, failure, limits } =
            parts;
        let views = drive.state().views().clone();
        Self {
            hub: views.hub.clone(),
            views: RwLock::new(Arc::new(views)),
            others,
            opening,
            receiving: Arc::new(Semaphore::new(1)),
            world,
            cluster_id,
            member_id,
            db_path,
            ids,
            standing,
            clockwork,
            tokens,
            watchful,
            queue: Queue::default(),
            drive: Mutex::new(drive),
            driver,
            committer,
            compactions,
            segments,
            syncs,
            failure,
            limits,
            slow: Slow::default(),
            turns_aside: Arc::new(Semaphore::new(TURNS_ASIDE)),
            step_micros: AtomicU64::new(0),
        }
    }

    /// The state as it is now.
    pub(crate) fn views(&self) -> Arc<Views> {
        Arc::clone(&self.views.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where snapshots and the db file are.
    pub(crate) fn snap_dir(&self) -> PathBuf {
        self.db_path.parent().map_or_else(PathBuf::new, std::path::Path::to_owned)
    }

    pub(crate) fn drive(&self) -> MutexGuard<'_, Drive> {
        self.drive.lock().expect("a drive that panics ends the process")
    }

    /// Steps the drive with all that waits. Without leave to wait for the lock, somebody else
    /// steps it: who lets go of the drive looks at the queue once more.
    pub(crate) fn step(&self, drive: &mut Drive, input: &mut Input) {
        let begun = self.world.clock.now();
        self.queue.take(input);
        drive.sync_here(self.standing.syncs_quickly());
        match drive.step(begun, input) {
            Ok(beside) => self.do_beside(beside),
            Err(failure) => self.fail(&failure.to_string()),
        }
        let took = (self.world.clock.now() - begun).as_micros() as u64;
        let smoothed = self.step_micros.load(Ordering::Relaxed);
        self.step_micros.store((smoothed * 7 + took) / 8, Ordering::Relaxed);
    }

    fn do_beside(&self, beside: Beside) {
        if let Some(views) = beside.replaced {
            self.committer.replace(views.backend.clone());
            let done = beside.compactions.is_empty().then(|| views.reader.compact_revision());
            self.compactions.replace(views.backend.clone(), done);
            *self.views.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(views);
            // Reads that have waited for it are told by the next step.
            self.wake();
        }
        if beside.commit {
            self.committer.sealed();
        }
        for job in beside.compactions {
            self.compactions.add(job);
        }
        // These threads outlive the drive.
        if let Some(job) = beside.next_segment {
            let _ = self.segments.send(job);
        }
        if let Some(job) = beside.sync {
            let _ = self.syncs.send(job);
        }
    }

    /// The member cannot go on.
    pub(crate) fn fail(&self, failure: &str) {
        fail(&self.standing, &self.failure, failure);
        self.wake();
    }

    /// Has the drive's thread look at the queue.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.driver.get() {
            thread.unpark();
        }
    }

    /// Steps on this thread if nobody else does right now.
    fn step_here(&self) {
        let Ok(mut drive) = self.drive.try_lock() else { return };
        self.step(&mut drive, &mut Input::default());
        drop(drive);
        self.wake_if_queued();
    }

    /// Sees to what was queued: here, where steps are short, else on the drive's thread.
    pub(crate) fn step_or_wake(&self) {
        if self.step_micros.load(Ordering::Relaxed) > INLINE_MICROS {
            self.wake();
        } else {
            self.step_here();
        }
    }

    /// For those who let go of the drive: who found it taken relies on them.
    fn wake_if_queued(&self) {
        if self.queue.len() > 0 {
            self.wake();
        }
    }
}

pub(crate) fn fail(standing: &Standing, failures: &watch::Sender<Option<String>>, failure: &str) {
    standing.stopped.set(true);
    standing.reads_freely.set(false);
    // What comes after the first failure mostly comes of it.
    failures.send_if_modified(|first| {
        let is_first = first.is_none();
        if is_first {
            tracing::error!(error = failure, "the member cannot go on");
            *first = Some(failure.to_owned());
        }
        is_first
    });
}

/// What stands around the drive.
pub(crate) struct Around {
    pub(crate) world: World,
    pub(crate) driver: Arc<OnceLock<Thread>>,
    pub(crate) committer: Committer,
    pub(crate) compactions: Compactions,
    pub(crate) segments: std::sync::mpsc::Sender<wal::NextSegmentJob>,
    pub(crate) syncs: std::sync::mpsc::Sender<(u64, wal::SyncJob)>,
    pub(crate) failure: watch::Sender<Option<String>>,
    pub(crate) limits: Limits,
}

/// Wakes the drive's thread should the task that was to step the drive be dropped before.
struct WakeOnDrop<'a> {
    shared: &'a Shared,
    armed: bool,
}

impl Drop for WakeOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.shared.wake();
        }
    }
}

impl Node {
    /// Sends a request through the log; answered when it is applied. Its header may say who asks.
    pub async fn propose(&self, request: InternalRaftRequest) -> Result<(Reply, i64), Error> {
        let begun = self.now();
        let kind = Kind::of(&request);
        let outcome = self.propose_once(request).await;
        // As in etcd, a request that was refused when it was applied was answered well.
        let success = matches!(outcome, Ok(_) | Err(Error::Rejected(_)));
        let took = self.now().saturating_sub(begun);
        tally::answered(kind, success, took);
        outcome.map(|Answered { reply, revision, way }| {
            self.shared.slow.wrote(kind, begun, took, &way);
            (reply, revision)
        })
    }

    async fn propose_once(&self, request: InternalRaftRequest) -> Result<Answered, Error> {
        let outcome = self.enqueue(request)?;
        let answered = tokio::time::timeout(self.shared.limits.request_timeout, async {
            self.see_to_step().await;
            outcome.await
        });
        match answered.await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => {
                metrics::PROPOSALS_FAILED.inc();
                Err(Error::Timeout)
            }
        }
    }

    fn enqueue(
        &self,
        mut request: InternalRaftRequest,
    ) -> Result<oneshot::Receiver<Result<Answered, Error>>, Error> {
        let shared = &*self.shared;
        if shared.standing.stopped.is_up() {
            return Err(Error::Stopped);
        }
        // Who asks may be in it already.
        request.header.get_or_insert_default().id = shared.ids.next();
        let encoded = Bytes::from(request.encode_to_vec());
        if encoded.len() > shared.limits.request_bytes {
            return Err(Error::TooLarge);
        }
        let (answer, outcome) = oneshot::channel();
        let proposal = Proposal { request: Arc::new(request), encoded, answer: Some(answer) };
        if shared.queue.propose(proposal, QUEUE_LIMIT) {
            Ok(outcome)
        } else {
            Err(Error::TooManyRequests)
        }
    }

    /// Sees to it that the drive takes what was queued. Others that are ready to run on this
    /// thread get their turn first, so that they ride along.
    async fn see_to_step(&self) {
        let shared = &*self.shared;
        if shared.step_micros.load(Ordering::Relaxed) > INLINE_MICROS {
            shared.wake();
            return;
        }
        let mut guard = WakeOnDrop { shared, armed: true };
        behind_the_others().await;
        guard.armed = false;
        match shared.queue.len() {
            0 => {}
            1..=INLINE_LIMIT => shared.step_here(),
            _ => shared.wake(),
        }
    }

    /// Returns once everything that was acknowledged before the call is visible to reads.
    pub async fn read_barrier(&self) -> Result<(), Error> {
        let shared = &*self.shared;
        if shared.standing.reads_freely.is_up() {
            return Ok(());
        }
        if shared.standing.stopped.is_up() {
            return Err(Error::Stopped);
        }
        let (read, told) = oneshot::channel();
        if !shared.queue.read(read, READ_LIMIT) {
            return Err(Error::TooManyRequests);
        }
        let told = tokio::time::timeout(shared.limits.request_timeout, async {
            self.see_to_step().await;
            told.await
        });
        match told.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => {
                metrics::READ_INDEX_FAILED.inc();
                Err(Error::Timeout)
            }
        }
    }

    /// Has requests that take longer than this logged, with where their time went; zero for none.
    pub fn explain_slow_requests(&self, longer_than: Duration) {
        self.shared.slow.set(longer_than);
    }

    /// From when on a request is slow, for those who tell of what comes before and after; `None`
    /// where nobody wants to know.
    pub fn slow_requests(&self) -> Option<Duration> {
        self.shared.slow.limit()
    }

    /// Whether the db file has room for a request of this cost. If not, the alarm is raised
    /// before the caller hears of it.
    pub async fn check_quota(&self, cost: u64) -> Result<(), Error> {
        let Err(no_space) = self.shared.views().check_quota(cost) else { return Ok(()) };
        if !self.shared.views().alarms.any(AlarmType::Nospace) {
            let alarm = Some(no_space_alarm(self.shared.member_id));
            let raise = InternalRaftRequest { alarm, ..Default::default() };
            if let Err(error) = self.propose(raise).await {
                tracing::warn!(%error, "failed to raise the alarm that space is used up");
            }
        }
        Err(no_space.into())
    }

    /// The header of an answer made now.
    pub fn header(&self) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.shared.cluster_id,
            member_id: self.shared.member_id,
            revision: self.shared.views().reader.current_revision(),
            raft_term: self.shared.standing.term.read(),
        }
    }

    /// Where watchers are.
    pub fn watch_hub(&self) -> &Hub {
        &self.shared.hub
    }

    /// Users and roles, as they are applied.
    pub fn auth(&self) -> state::Auth {
        self.shared.views().auth.clone()
    }

    /// Whether calls need a user.
    pub fn is_auth_enabled(&self) -> bool {
        self.shared.views().auth.is_enabled()
    }

    /// Whether a caller has what a call needs, by what is applied. Without auth everybody has.
    pub fn permit(&self, who: &AuthInfo, need: Need<'_>) -> Result<(), Error> {
        Ok(self.shared.views().permit(who, need)?)
    }

    /// The active alarms.
    pub fn alarms(&self) -> Vec<AlarmMember> {
        self.shared.views().alarms.get(AlarmType::None)
    }

    /// The members by id.
    pub fn members(&self) -> Vec<Member> {
        let members = self.shared.views().members.list().into_iter();
        members
            .map(|member| Member {
                id: member.id.0,
                name: member.name,
                peer_urls: member.peer_urls,
                client_urls: member.client_urls,
                is_learner: member.is_learner,
            })
            .collect()
    }

    /// What the member says of itself.
    pub fn status(&self) -> StatusResponse {
        let (standing, views) = (&self.shared.standing, self.shared.views());
        let mut errors = Vec::new();
        if standing.leader.read() == 0 {
            errors.push("etcdserver: no leader".to_owned());
        }
        errors.extend(self.alarms().iter().map(alarm_text));
        let downgrade = views.members.downgrade();
        let db = views.backend.db();
        StatusResponse {
            header: Some(self.header()),
            version: SERVER_VERSION.to_owned(),
            db_size: signed(db.size()),
            leader: standing.leader.read(),
            raft_index: standing.committed.read(),
            raft_term: standing.term.read(),
            raft_applied_index: standing.applied.read(),
            errors,
            db_size_in_use: signed(db.size_in_use()),
            is_learner: self.is_learner(),
            storage_version: self.storage_version(),
            db_size_quota: quota_bytes(&views),
            downgrade_info: Some(DowngradeInfo {
                enabled: downgrade.enabled,
                target_version: downgrade.target_version,
            }),
        }
    }

    /// Whether a leader is known.
    pub fn has_leader(&self) -> bool {
        self.shared.standing.leader.read() != 0
    }

    /// Whether somebody leads, or did until less than an election timeout ago. For so long members
    /// of etcd believe in a leader that they do not hear; ours know at once that one is gone, and
    /// mostly have the next one in a fraction of that.
    pub fn is_led(&self) -> bool {
        self.shared.standing.has_led_within(self.shared.limits.election_timeout, self.now())
    }

    /// Returns when nobody has led for three election timeouts.
    pub async fn leaderless(&self) {
        let mut leaders = self.shared.standing.leaders();
        let patience = self.shared.limits.election_timeout * 3;
        while leaders.wait_for(|leader| *leader == 0).await.is_ok() {
            let led = leaders.wait_for(|leader| *leader != 0);
            if tokio::time::timeout(patience, led).await.is_err() {
                return;
            }
        }
    }

    /// Whether this member leads.
    pub fn is_leader(&self) -> bool {
        self.shared.standing.leader.read() == self.shared.member_id
    }

    /// Whether this member has no vote.
    pub fn is_learner(&self) -> bool {
        self.shared.standing.learner.is_up()
    }

    /// The version that this member is.
    pub fn server_version(&self) -> String {
        SERVER_VERSION.to_owned()
    }

    /// What the members agreed to speak (`3.7.0`); empty while they have not.
    pub fn cluster_version(&self) -> String {
        self.shared.views().members.cluster_version().map_or_else(String::new, |it| it.to_string())
    }

    /// The version of the db file's schema; empty where it is too old to say.
    pub fn storage_version(&self) -> String {
        let version = self.shared.views().storage_version().ok().flatten();
        version.map_or_else(String::new, |it| it.to_string())
    }

    /// Returns when the running compactions (up to `revision` at least, where it is one) are done
    /// and in the db file.
    pub async fn wait_compacted(&self, revision: i64) -> Result<(), Error> {
        let mut finished = self.shared.compactions.finished();
        let target = revision.min(self.shared.views().reader.compact_revision());
        finished.wait_for(|finished| *finished >= target).await.map_err(|_| Error::Stopped)?;
        self.flush().await
    }

    /// Returns when all that is applied by now is in the db file.
    pub async fn flush(&self) -> Result<(), Error> {
        let mut commits = self.shared.committer.commits();
        let mut begun = None;
        loop {
            if self.shared.standing.stopped.is_up() {
                return Err(Error::Stopped);
            }
            let flush = self.shared.drive().flush(begun).map_err(|_| Error::Stopped)?;
            // Whoever found the drive taken has left it to us to see to its request.
            self.shared.wake_if_queued();
            if flush.sealed {
                self.shared.committer.sealed();
            }
            // The count, and not the next wake-up: that may still be of a commit before.
            if flush.backend.commits() >= flush.commits {
                return Ok(());
            }
            if self.shared.standing.stopped.is_up() {
                return Err(Error::Stopped);
            }
            begun = Some(flush);
            commits.changed().await.map_err(|_| Error::Stopped)?;
        }
    }

    /// A picture of the db file with all that is applied by now.
    pub async fn image(&self) -> Result<Image, Error> {
        self.flush().await?;
        Ok(Image::of(&self.shared.views().backend))
    }

    /// The hash of the whole db file.
    pub async fn hash(&self) -> Result<u32, Error> {
        self.flush().await?;
        let reader = self.shared.views().reader.clone();
        let timer = metrics::HASH.start_timer();
        let hash = blocking(move || Ok(reader.hash()?)).await;
        timer.observe_duration();
        hash
    }

    /// The hash of the history of keys up to a revision.
    pub async fn hash_kv(&self, revision: i64) -> Result<HashKv, Error> {
        let reader = self.shared.views().reader.clone();
        let timer = metrics::HASH_REV.start_timer();
        let hash = blocking(move || Ok(reader.hash_kv(revision)?)).await;
        timer.observe_duration();
        hash
    }

    /// Brings the gauges up to date that nobody moves by itself.
    pub fn refresh_metrics(&self) {
        let Shared { standing, queue, .. } = &*self.shared;
        let views = self.shared.views();
        metrics::HAS_LEADER.set(i64::from(self.has_leader()));
        metrics::IS_LEADER.set(i64::from(self.is_leader()));
        metrics::IS_LEARNER.set(i64::from(self.is_learner()));
        metrics::PROPOSALS_COMMITTED.set(signed(standing.committed.read()));
        metrics::PROPOSALS_APPLIED.set(signed(standing.applied.read()));
        metrics::PROPOSALS_PENDING.set(signed(queue.len() as u64));
        metrics::QUOTA_BYTES.set(quota_bytes(&views));
        metrics::DB_SIZE.set(signed(views.backend.db().size()));
        metrics::DB_SIZE_IN_USE.set(signed(views.backend.db().size_in_use()));
        metrics::OPEN_READS.set(signed(views.backend.db().open_read_transactions() as u64));
        metrics::AUTH_REVISION.set(signed(views.auth.revision()));
        self.refresh_labelled();
        metrics::KEYS.set(signed(views.reader.live_keys() as u64));
        metrics::CURRENT_REVISION.set(views.reader.current_revision());
        metrics::COMPACT_REVISION.set(views.reader.compact_revision());
        let watch = views.hub.stats();
        metrics::WATCH_STREAMS.set(signed(watch.streams));
        metrics::WATCHERS.set(signed(watch.watchers));
        metrics::SLOW_WATCHERS.set(signed(watch.slow_watchers()));
        metrics::PENDING_EVENTS.set(signed(watch.pending_events));
    }

    /// The gauges that say something by a label: what it was before is taken back.
    fn refresh_labelled(&self) {
        let (member_id, views) = (&self.shared.member_id, self.shared.views());
        let me = MemberId(*member_id).to_string();
        metrics::CLUSTER_VERSION.reset();
        if let Some(version) = views.members.cluster_version() {
            let version = crate::versions::short(version);
            metrics::CLUSTER_VERSION.with_label_values(&[version.as_str()]).set(1);
        }
        metrics::KNOWN_PEERS.reset();
        for member in views.members.list() {
            let remote = member.id.to_string();
            metrics::KNOWN_PEERS.with_label_values(&[me.as_str(), remote.as_str()]).set(1);
        }
        metrics::ALARMS.reset();
        for alarm in self.alarms() {
            let kind = AlarmType::try_from(alarm.alarm).map_or("UNKNOWN", |it| it.as_str_name());
            let id = MemberId(alarm.member_id).to_string();
            metrics::ALARMS.with_label_values(&[id.as_str(), kind]).set(1);
        }
    }

    /// The time of day, since 1970.
    pub fn wall_clock(&self) -> Duration {
        self.shared.world.clock.unix()
    }

    pub(crate) fn now(&self) -> Duration {
        self.shared.world.clock.now()
    }
}

/// The quota as etcd shows it: none is a negative number.
fn quota_bytes(views: &Views) -> i64 {
    views.quota().limit().map_or(-1, signed)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// An alarm in protobuf's text form, as clients print it.
fn alarm_text(alarm: &AlarmMember) -> String {
    let kind = match AlarmType::try_from(alarm.alarm) {
        Ok(kind) => kind.as_str_name().to_owned(),
        Err(_) => alarm.alarm.to_string(),
    };
    match alarm.member_id {
        0 => format!("alarm:{kind}"),
        id => format!("memberID:{id} alarm:{kind}"),
    }
}

/// Goes to the end of the runtime's queue. Unlike tokio's own yield it does not look for new I/O,
/// which would cost two system calls for each request.
async fn behind_the_others() {
    let mut been_there = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut been_there, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs what reads from disk for long on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_told_as_protobuf_writes_them() {
        let text = |member_id, alarm| alarm_text(&AlarmMember { member_id, alarm });
        assert_eq!(text(7, 1), "memberID:7 alarm:NOSPACE");
        assert_eq!(text(0, 2), "alarm:CORRUPT");
        assert_eq!(text(1, 9), "memberID:1 alarm:9");
    }
}

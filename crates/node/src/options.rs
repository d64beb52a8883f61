use std::path::PathBuf;
use std::time::Duration;

use state::Member;

use crate::AutoCompaction;

/// All that a member is told when it starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--name`.
    pub name: String,
    /// `--data-dir`.
    pub data_dir: PathBuf,
    /// `--wal-dir`, where it is not in the data directory.
    pub wal_dir: Option<PathBuf>,
    /// `--advertise-client-urls`.
    pub client_urls: Vec<String>,
    /// How it begins where it has no log yet; `None` where it must have one.
    pub bootstrap: Option<Bootstrap>,
    /// `--force-new-cluster`: what the log has committed counts, and all other members are gone.
    pub force_new_cluster: bool,
    /// `--heartbeat-interval`.
    pub tick: Duration,
    /// `--election-timeout`, in ticks.
    pub election_ticks: u32,
    /// `--pre-vote`.
    pub pre_vote: bool,
    /// `--snapshot-count`.
    pub snapshot_count: u64,
    /// `--snapshot-catchup-entries`.
    pub catchup_entries: u64,
    /// `--max-snapshots`, 0 for all.
    pub max_snapshots: usize,
    /// `--max-wals`, 0 for all.
    pub max_wals: usize,
    /// `--quota-backend-bytes`: 0 for the default of 2 GiB, negative for none.
    pub quota_bytes: i64,
    /// `--backend-batch-interval`.
    pub batch_interval: Duration,
    /// `--backend-batch-limit`.
    pub batch_limit: usize,
    /// `--max-request-bytes`.
    pub request_bytes: usize,
    /// `--max-learners`.
    pub max_learners: usize,
    /// `--strict-reconfig-check`.
    pub strict_reconfig_check: bool,
    /// `--auto-compaction-mode` and `--auto-compaction-retention`.
    pub auto_compaction: AutoCompaction,
    /// `--compaction-batch-limit`.
    pub compaction_batch: usize,
    /// `--compaction-sleep-interval`.
    pub compaction_pause: Duration,
    /// `--corrupt-check-time`; `None` for never.
    pub corrupt_check_interval: Option<Duration>,
    /// `--compact-hash-check-time`, where the feature gate `CompactHashCheck` is on.
    pub compact_hash_check_interval: Option<Duration>,
    /// `--downgrade-check-time`.
    pub downgrade_check_interval: Duration,
    /// The feature gate `InitialCorruptCheck`.
    pub initial_corrupt_check: bool,
    /// `--initial-election-tick-advance`.
    pub initial_election_tick_advance: bool,
    /// `--warning-apply-duration`: what takes longer is logged.
    pub warning_apply_duration: Duration,
    /// `--feature-gates`, all of them: name, stage, and whether it is on.
    pub features: Vec<Feature>,
    /// `--unsafe-no-fsync`.
    pub no_fsync: bool,
    /// How many bytes of newest values are held in memory.
    pub value_budget_bytes: usize,
    /// How many bytes of db pages are held in memory.
    pub page_cache_bytes: usize,
    /// `--auth-token-ttl`; `None` where `--auth-token` asks for another kind than simple ones.
    pub simple_token_ttl: Option<Duration>,
    /// How many bytes of recent events are held in memory, for watchers that fell a little behind.
    pub recent_events_bytes: usize,
    /// Whether this member takes its NOSPACE alarm back when there is space again.
    pub disarm_when_space: bool,
}

/// How a member begins. Once it has a log, that says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bootstrap {
    /// With a cluster that begins with it.
    New {
        /// All first members; this one is found among them by its name.
        members: Vec<Member>,
    },
    /// In a cluster that is there and has added it. What it becomes it learns from the others.
    Join {
        /// Which cluster that is.
        cluster_id: u64,
        /// Who this member is in it.
        member_id: u64,
        /// The members as others tell of them, this one included: whom it speaks to until its own
        /// log has told it of them.
        members: Vec<Member>,
    },
}

impl Bootstrap {
    /// With a new cluster of these members, each with its name and its peer URLs. These and the
    /// token are what etcd makes ids from, so that all members come to the same ones.
    pub fn with_new<N, U>(members: impl IntoIterator<Item = (N, U)>, token: &str) -> Self
    where
        N: Into<String>,
        U: IntoIterator,
        U::Item: Into<String>,
    {
        let members = members.into_iter().map(|(name, urls)| {
            let mut peer_urls: Vec<String> = urls.into_iter().map(Into::into).collect();
            peer_urls.sort();
            let id = state::member_id(&peer_urls, token, None);
            Member { id, peer_urls, name: name.into(), ..Member::default() }
        });
        let mut members: Vec<_> = members.collect();
        members.sort_by_key(|member| member.id);
        Self::New { members }
    }
}

/// A feature gate as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// `ALPHA` or `BETA`.
    pub stage: &'static str,
    /// Whether it is on.
    pub enabled: bool,
}

impl Options {
    /// Whether a feature gate is on. One that nobody has told of is off.
    pub(crate) fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|it| it.enabled && it.name == feature)
    }

    /// What one request may take: etcd's five seconds for the disk and two elections.
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + self.tick * self.election_ticks * 2
    }
}

//! From a data directory, empty or not, to a drive that is ready to step.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use env::{Clock, Disk, Random};
use proto::Message as _;
use proto::etcdserverpb::Metadata;
use raft::{ConfState, EntryId, LogIndex, MemStorage, NodeId, RawNode, SnapshotMeta};
use state::{Expiry, ExpiryOptions, Member, State};
use wal::{Recovered, SnapshotMark, Wal};

use crate::compactor::Compactor;
use crate::drive::{Drive, Pace, Parts};
use crate::ids::RequestIds;
use crate::leases::Clockwork;
use crate::life::{self, Who};
use crate::opening::Opening;
use crate::peers::{Others, Peer};
use crate::snapshot::Snapshots;
use crate::standing::Standing;
use crate::tokens::Tokens;
use crate::watchful::Watchful;
use crate::wire::{self, Payload};
use crate::{Bootstrap, Fatal, Options, force};

/// Bytes of requests that a leader takes before they are committed: where others do not answer, its
/// memory must not grow without bound.
const UNCOMMITTED: Option<NonZeroU64> = NonZeroU64::new(256 << 20);

/// How often what is left of a long lease is written down, where that is wanted.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(300);

/// The outside world of a member.
#[derive(Debug, Clone)]
pub struct World {
    /// Where its files are.
    pub disk: Arc<dyn Disk>,
    /// What tells it the time.
    pub clock: Arc<dyn Clock>,
}

/// A member that can be stepped.
pub(crate) struct Booted {
    pub(crate) drive: Drive,
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    pub(crate) db_path: PathBuf,
    pub(crate) ids: Arc<RequestIds>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) clockwork: Arc<Clockwork>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) watchful: Watchful,
    pub(crate) others: Arc<Others>,
    pub(crate) opening: Opening,
}

impl Booted {
    /// Where snapshots and the db file are.
    pub(crate) fn snap_dir(&self) -> PathBuf {
        self.db_path.parent().map_or_else(PathBuf::new, Path::to_owned)
    }
}

/// The log and consensus, as they were found or made.
struct Log {
    wal: Wal,
    raft: RawNode<Payload, MemStorage<Payload>>,
    cluster_id: u64,
    member_id: u64,
    snapshot_index: u64,
}

struct Boot<'a> {
    world: &'a World,
    options: &'a Options,
    snap_dir: PathBuf,
    wal_dir: PathBuf,
    segment_bytes: u64,
}

/// Opens what the data directory holds, or begins a new member in it.
pub(crate) fn boot(world: &World, options: &Options) -> Result<Booted, Fatal> {
    boot_with(world, options, wal::Options::default().segment_bytes)
}

/// As [`boot`], with log segments of another length.
pub(crate) fn boot_with(
    world: &World,
    options: &Options,
    segment_bytes: u64,
) -> Result<Booted, Fatal> {
    let member_dir = options.data_dir.join("member");
    let snap_dir = member_dir.join("snap");
    let wal_dir = options.wal_dir.clone().unwrap_or_else(|| member_dir.join("wal"));
    Boot { world, options, snap_dir, wal_dir, segment_bytes }.run()
}

impl Boot<'_> {
    fn run(self) -> Result<Booted, Fatal> {
        let disk = &*self.world.disk;
        self.make_durable(&self.snap_dir)?;
        if let (Some(_), Some(above)) = (&self.options.wal_dir, self.wal_dir.parent()) {
            self.make_durable(above)?;
        }
        self.remove_leftovers();
        let has_log = Wal::exists(disk, &self.wal_dir).map_err(|source| Fatal::Io {
            what: "look into",
            path: self.wal_dir.clone(),
            source,
        })?;
        let snapshot = if has_log {
            let valid = Wal::valid_snapshots(disk, &self.wal_dir)?;
            valid.last().map(SnapshotMark::from).unwrap_or_default()
        } else {
            SnapshotMark::default()
        };
        let state = self.open_state(snapshot)?;
        let revision = state.views().reader.current_revision();
        life::restored(state.applied().index, revision);
        life::quota_set(self.options.quota_bytes, state.views().quota().limit());
        let log = if has_log { self.restart(snapshot, &state)? } else { self.begin(&state)? };
        let who = Who { cluster_id: log.cluster_id, member_id: log.member_id };
        // Who is forced has said so himself.
        if !(has_log && self.options.force_new_cluster) {
            who.starts(has_log.then(|| log.raft.status().hard_state.commit.0));
        }
        who.runs(state.views().members.cluster_version());
        Ok(self.assemble(state, log))
    }

    /// Makes a directory whose name a power cut does not take away: a log in a directory that is
    /// gone was synced for nothing. Also where it was there before, for the start that made it may
    /// have been cut short.
    fn make_durable(&self, dir: &Path) -> Result<(), Fatal> {
        let disk = &*self.world.disk;
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| Fatal::Io { what, path, source }
        };
        // The data directory's own name, and that of each directory above which is new.
        let keeps = self.options.data_dir.parent();
        let mut names = Vec::new();
        for dir in dir.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
            let ours = keeps.is_none_or(|above| dir != above && dir.starts_with(above));
            if !ours && disk.exists(dir).map_err(failed("look for", dir))? {
                break;
            }
            names.push(dir);
        }
        disk.create_dir_all(dir).map_err(failed("create", dir))?;
        if self.options.no_fsync {
            return Ok(());
        }
        for name in names {
            let above = name.parent().filter(|above| !above.as_os_str().is_empty());
            let above = above.unwrap_or(Path::new("."));
            disk.sync_dir(above).map_err(failed("sync", above))?;
        }
        Ok(())
    }

    /// They only take room, so a failure stops nothing.
    fn remove_leftovers(&self) {
        match wal::snap::remove_leftovers(&*self.world.disk, &self.snap_dir) {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => tracing::info!(files = ?removed, "removed temporary files"),
            Err(error) => tracing::warn!(error = %error, "failed to remove temporary files"),
        }
    }

    fn open_state(&self, snapshot: SnapshotMark) -> Result<State, Fatal> {
        let state = self.open_db()?;
        let consistent_index = state.applied().index;
        if snapshot.index <= consistent_index {
            return Ok(state);
        }
        // A crash between saving a received db file and taking it into use.
        let received = self.snap_dir.join(wal::snap::db_file_name(snapshot.index));
        let there = self.world.disk.exists(&received);
        let there = there.map_err(|source| Fatal::Io {
            what: "look for",
            path: received.clone(),
            source,
        })?;
        if !there {
            return Err(Fatal::DbBehindSnapshot {
                consistent_index,
                snapshot_index: snapshot.index,
            });
        }
        drop(state);
        let db = self.snap_dir.join("db");
        let renamed = self.world.disk.rename(&received, &db);
        let renamed = renamed.and_then(|()| self.world.disk.sync_dir(&self.snap_dir));
        renamed.map_err(|source| Fatal::Io { what: "rename", path: received, source })?;
        let state = self.open_db()?;
        let consistent_index = state.applied().index;
        if consistent_index < snapshot.index {
            return Err(Fatal::DbBehindSnapshot {
                consistent_index,
                snapshot_index: snapshot.index,
            });
        }
        Ok(state)
    }

    fn open_db(&self) -> Result<State, Fatal> {
        let path = self.snap_dir.join("db");
        let begun = self.world.clock.now();
        let state = Opening::new(self.world, self.options).open(&path)?;
        life::db_opened(&path, self.world.clock.now().saturating_sub(begun));
        Ok(state)
    }

    /// A new member: its log begins with the members of the cluster.
    fn begin(&self, state: &State) -> Result<Log, Fatal> {
        if state.applied().index > 0 {
            return Err(Fatal::Bootstrap(format!(
                "{} has a db file but no log: restore the log, or the member from a snapshot",
                self.snap_dir.display()
            )));
        }
        let (cluster_id, member_id, raft) = match &self.options.bootstrap {
            Some(Bootstrap::New { members }) => {
                let me = self.find_myself(members)?.id.0;
                (state::cluster_id(ids(members)), me, self.bootstrap(me, members)?)
            }
            Some(Bootstrap::Join { cluster_id, member_id, .. }) => {
                // What it is to know comes from who leads, the members first.
                let config = self.raft_config(node_id(*member_id)?);
                let raft = RawNode::new(config, MemStorage::new()).map_err(start_failure)?;
                (*cluster_id, *member_id, raft)
            }
            None => {
                return Err(Fatal::Bootstrap(format!(
                    "there is no log in {}, and nothing says how to begin one",
                    self.wal_dir.display()
                )));
            }
        };
        let metadata =
            Metadata { node_id: Some(member_id), cluster_id: Some(cluster_id) }.encode_to_vec();
        let disk = Arc::clone(&self.world.disk);
        let wal = Wal::create_with(disk, &self.wal_dir, &metadata, self.wal_options())?;
        Ok(Log { wal, raft, cluster_id, member_id, snapshot_index: 0 })
    }

    /// The first entries of a new cluster's log are its members, by their ids: every member begins
    /// with the same ones.
    fn bootstrap(
        &self,
        me: u64,
        members: &[Member],
    ) -> Result<RawNode<Payload, MemStorage<Payload>>, Fatal> {
        let mut members: Vec<_> = members.iter().collect();
        members.sort_by_key(|member| member.id);
        let mut first = Vec::new();
        for member in members {
            let context = Payload::from(bytes::Bytes::from(member.to_json()));
            first.push((node_id(member.id.0)?, Some(context)));
        }
        RawNode::bootstrap(self.raft_config(node_id(me)?), MemStorage::new(), first)
            .map_err(start_failure)
    }

    /// This member among the first ones.
    fn find_myself<'a>(&self, members: &'a [Member]) -> Result<&'a Member, Fatal> {
        let name = &self.options.name;
        members.iter().find(|member| member.name == *name).ok_or_else(|| {
            Fatal::Bootstrap(format!(
                "couldn't find local name {name:?} in the initial cluster configuration"
            ))
        })
    }

    /// A member that has lived before.
    fn restart(&self, snapshot: SnapshotMark, state: &State) -> Result<Log, Fatal> {
        let disk = Arc::clone(&self.world.disk);
        let (mut wal, recovered) =
            Wal::open_with(disk, &self.wal_dir, snapshot, self.wal_options())?;
        let metadata = Metadata::decode(recovered.metadata.clone())
            .map_err(|error| Fatal::Metadata(error.to_string()))?;
        let (cluster_id, member_id) = (metadata.cluster_id(), metadata.node_id());
        check_belongs_together(snapshot, &recovered, state)?;
        self.check_learners(state)?;
        // Whoever voted, or took in an entry of a leader, has noted a term first.
        let nothing_promised =
            snapshot.index == 0 && recovered.hard_state.term() == 0 && state.applied().index == 0;
        let forced = self.options.force_new_cluster;
        let raft = match &self.options.bootstrap {
            // The first start was cut short before all of it was durable.
            Some(Bootstrap::New { members }) if nothing_promised && !forced => {
                let me = self.find_myself(members)?;
                self.check_is_ours(me, members, cluster_id, member_id)?;
                self.bootstrap(me.id.0, members)?
            }
            _ => {
                let recovered = match forced {
                    true => {
                        force::alone(recovered, state, Who { cluster_id, member_id }, &mut wal)?
                    }
                    false => recovered,
                };
                self.recover(snapshot, recovered, state, node_id(member_id)?)?
            }
        };
        Ok(Log { wal, raft, cluster_id, member_id, snapshot_index: snapshot.index })
    }

    /// Whether the cluster has more learners than this member was told to expect.
    fn check_learners(&self, state: &State) -> Result<(), Fatal> {
        let members = state.views().members.list();
        let learners = members.iter().filter(|member| member.is_learner).count();
        if learners <= self.options.max_learners {
            return Ok(());
        }
        Err(Fatal::Bootstrap(format!("membership: {}", state::Rejected::TooManyLearners)))
    }

    /// A log that nothing was promised in yet is taken up only by who began it: it says who it
    /// belongs to, and the next start believes it.
    fn check_is_ours(
        &self,
        me: &Member,
        members: &[Member],
        cluster_id: u64,
        member_id: u64,
    ) -> Result<(), Fatal> {
        if me.id.0 == member_id && state::cluster_id(ids(members)) == cluster_id {
            return Ok(());
        }
        Err(Fatal::Bootstrap(format!(
            "the log in {} was begun for member {member_id:x} of cluster {cluster_id:x}, not for \
             member {}: start with the URLs and the token of then, or remove it, for nothing is \
             in it",
            self.wal_dir.display(),
            me.id
        )))
    }

    fn recover(
        &self,
        snapshot: SnapshotMark,
        recovered: Recovered,
        state: &State,
        id: NodeId,
    ) -> Result<RawNode<Payload, MemStorage<Payload>>, Fatal> {
        let applied = state.applied().index;
        let mut hard_state = wire::hard_state(&recovered.hard_state);
        // What is applied was committed; the log is not synced for the commit index alone.
        hard_state.commit = hard_state.commit.max(LogIndex(applied));
        let conf_state = configuration(state)?;
        let mut storage = MemStorage::at(SnapshotMeta {
            id: EntryId::new(snapshot.term, snapshot.index),
            conf_state,
        });
        let entries: Result<Vec<_>, _> = recovered.entries.into_iter().map(wire::entry).collect();
        storage.append(entries?).map_err(|error| Fatal::Raft(error.to_string()))?;
        storage.set_hard_state(hard_state);
        let config = raft::Config { applied: LogIndex(applied), ..self.raft_config(id) };
        RawNode::new(config, storage).map_err(start_failure)
    }

    fn raft_config(&self, id: NodeId) -> raft::Config {
        raft::Config {
            election_tick: self.options.election_ticks,
            pre_vote: self.options.pre_vote,
            // Half of etcd's: where votes are split it is asked again soon.
            election_jitter: Some((self.options.election_ticks / 2).max(1)),
            max_uncommitted_size: UNCOMMITTED,
            seed: id.get() ^ self.world.clock.unix().as_nanos() as u64,
            ..raft::Config::new(id)
        }
    }

    /// Who there is to speak to before the log tells of the members.
    fn remotes(&self) -> Vec<Peer> {
        match &self.options.bootstrap {
            Some(Bootstrap::New { members } | Bootstrap::Join { members, .. }) => members
                .iter()
                .map(|member| Peer { id: member.id.0, urls: member.peer_urls.clone() })
                .collect(),
            None => Vec::new(),
        }
    }

    fn wal_options(&self) -> wal::Options {
        wal::Options { sync: !self.options.no_fsync, segment_bytes: self.segment_bytes }
    }

    fn assemble(self, state: State, log: Log) -> Booted {
        let Log { wal, raft, cluster_id, member_id, snapshot_index } = log;
        let remotes = self.remotes();
        let now = self.world.clock.now();
        let ids = Arc::new(RequestIds::new(member_id, self.world.clock.unix()));
        let standing = Arc::new(Standing::default());
        let expiry = ExpiryOptions {
            retry: self.options.request_timeout(),
            checkpoint_interval: Some(CHECKPOINT_INTERVAL),
            ..ExpiryOptions::default()
        };
        let clockwork = Arc::new(Clockwork::new(Expiry::new(expiry)));
        let tokens = Arc::new(Tokens::new(self.options.simple_token_ttl));
        let too_long = self.options.warning_apply_duration;
        let watchful = Watchful { clock: Arc::clone(&self.world.clock), too_long };
        let db_path = self.snap_dir.join("db");
        let others = Arc::new(Others::default());
        let opening = Opening::new(self.world, self.options);
        let random = Random::new(member_id ^ self.world.clock.unix().as_nanos() as u64);
        let snapshots = Snapshots {
            disk: Arc::clone(&self.world.disk),
            snap_dir: self.snap_dir,
            wal_dir: self.wal_dir,
            member_id,
            count: self.options.snapshot_count,
            max_snapshots: self.options.max_snapshots,
            max_wals: self.options.max_wals,
            last: snapshot_index,
        };
        let parts = Parts {
            raft,
            wal,
            state,
            who: Who { cluster_id, member_id },
            ids: Arc::clone(&ids),
            standing: Arc::clone(&standing),
            clockwork: Arc::clone(&clockwork),
            tokens: Arc::clone(&tokens),
            compactor: Compactor::new(self.options.auto_compaction, now),
            snapshots,
            watchful: watchful.clone(),
            others: Arc::clone(&others),
            remotes,
            random,
        };
        let mut drive = Drive::new(parts, pace(self.options), now);
        if self.options.initial_election_tick_advance {
            drive.advance_election(self.options.election_ticks);
        }
        Booted {
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
        }
    }
}

/// How fast everything goes.
fn pace(options: &Options) -> Pace {
    Pace {
        tick: options.tick,
        election_timeout: options.tick * options.election_ticks,
        batch_interval: options.batch_interval,
        batch_limit: options.batch_limit,
        pre_vote: options.pre_vote,
        checkpoint_leases: options.has("LeaseCheckpoint"),
        catchup_entries: options.catchup_entries,
    }
}

/// Only what is in the log was ever applied.
fn check_belongs_together(
    snapshot: SnapshotMark,
    recovered: &Recovered,
    state: &State,
) -> Result<(), Fatal> {
    let applied = state.applied().index;
    let last = recovered.entries.last().map_or(snapshot.index, raftpb_index);
    if applied > last {
        return Err(Fatal::Bootstrap(format!(
            "the log ends at index {last}, but the db file holds index {applied}: \
             they do not belong together"
        )));
    }
    Ok(())
}

/// The configuration that belongs to what the db file holds: its members.
fn configuration(state: &State) -> Result<ConfState, Fatal> {
    let mut conf_state = ConfState::default();
    for member in state.views().members.list() {
        let id = node_id(member.id.0)?;
        if member.is_learner {
            conf_state.learners.push(id);
        } else {
            conf_state.voters.push(id);
        }
    }
    Ok(conf_state)
}

fn raftpb_index(entry: &proto::raftpb::Entry) -> u64 {
    entry.index()
}

fn ids(members: &[Member]) -> impl Iterator<Item = state::MemberId> {
    members.iter().map(|member| member.id)
}

fn node_id(id: u64) -> Result<NodeId, Fatal> {
    NodeId::new(id).ok_or_else(|| Fatal::Metadata("member id 0".to_owned()))
}

fn start_failure(error: raft::StartError) -> Fatal {
    Fatal::Raft(error.to_string())
}

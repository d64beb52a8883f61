use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use mvcc::{Backend, Bucket, CompactJob, Hub, Reader, Store, WatchOptions, Writer};
use proto::etcdserverpb::TxnRequest;
use proto::raftpb::ConfState;

use crate::alarm::AlarmSet;
use crate::auth::{Auth, AuthInfo, AuthStore, Caller, Gate, Need};
use crate::lease::{Lease, LeaseTable};
use crate::members::Roster;
use crate::reply::TxnReply;
use crate::schema::{self, Record, names};
use crate::{Alarms, Error, LeaseId, Leases, Members, QuotaBytes, Rejected, Version, txn};

/// What an operator may choose. All but the quota and the memory must be the same on all
/// members: they decide what an entry does.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The shortest TTL of a lease in seconds, see [`min_lease_ttl`](crate::min_lease_ttl).
    pub min_lease_ttl: i64,
    /// How many learners there may be at a time.
    pub max_learners: usize,
    /// Whether checkpoints of leases are stored before the cluster is at 3.6.
    pub persist_checkpoints: bool,
    /// How many bytes the db file may hold.
    pub quota: QuotaBytes,
    /// Memory of the store.
    pub store: mvcc::Options,
    /// Memory of watches.
    pub watch: WatchOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            min_lease_ttl: 2,
            max_learners: 1,
            persist_checkpoints: false,
            quota: QuotaBytes::from_flag(0),
            store: mvcc::Options::default(),
            watch: WatchOptions::default(),
        }
    }
}

/// Where an entry stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryId {
    /// Its index.
    pub index: u64,
    /// The term it was proposed in.
    pub term: u64,
}

/// The replicated machine. One thread owns it and applies entries to it, in the order of the
/// log; other threads look at it through [`Views`].
///
/// What an entry does is visible as soon as it is applied. It is on disk once the backend has
/// committed what [`State::seal`] closed, always together with the entry's index.
pub struct State {
    pub(crate) writer: Writer,
    pub(crate) views: Views,
    pub(crate) options: Options,
    pub(crate) applied: EntryId,
    pub(crate) storage_version: Option<Version>,
    conf_state: Option<ConfState>,
    conf_state_changed: bool,
    /// What the meta bucket says already.
    noted: EntryId,
    resumed_compaction: Option<CompactJob>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("State").field("applied", &self.applied).finish_non_exhaustive()
    }
}

/// The state as other threads see it. Clones are cheap and show the same.
#[derive(Clone)]
pub struct Views {
    /// Keys.
    pub reader: Reader,
    /// Changes of keys.
    pub hub: Hub,
    /// Leases.
    pub leases: Leases,
    /// Alarms.
    pub alarms: Alarms,
    /// Members and versions.
    pub members: Members,
    /// Users and roles.
    pub auth: Auth,
    /// The db file.
    pub backend: Backend,
    pub(crate) quota: QuotaBytes,
}

impl Views {
    /// Answers a txn that only reads (see [`is_read_only`](crate::is_read_only)), all of it as
    /// of one revision.
    pub fn read_txn(&self, txn: &TxnRequest) -> Result<Result<TxnReply, Rejected>, Error> {
        txn::read_txn(&self.reader, txn)
    }

    /// Whether a caller has what a call needs. Without auth everybody has.
    pub fn permit(&self, who: &AuthInfo, need: Need<'_>) -> Result<(), Rejected> {
        if !self.auth.is_enabled() {
            return Ok(());
        }
        let (auth, leases) = (self.auth.read(), self.leases.read());
        let caller = Caller { username: &who.username, revision: who.revision };
        Gate { auth: &auth, leases: &leases, caller }.permits(need)
    }

    /// Whether a request of this cost still fits into the db file of this member. The door asks
    /// before it proposes; apply asks again.
    pub fn check_quota(&self, cost: u64) -> Result<(), Rejected> {
        let asks = cost > 0 && self.quota.limit().is_some();
        if asks { self.quota.check(self.used_bytes(), cost) } else { Ok(()) }
    }

    /// The quota in bytes, `None` for none.
    pub fn quota(&self) -> QuotaBytes {
        self.quota
    }

    /// Live bytes of the db file, and what waits to be written to it.
    pub fn used_bytes(&self) -> u64 {
        self.backend.db().size_in_use() + self.backend.pending().bytes as u64
    }

    /// The storage version in the db file.
    pub fn storage_version(&self) -> Result<Option<Version>, Error> {
        let field = self.backend.get(Bucket::Meta, names::STORAGE_VERSION);
        let field = field.map_err(mvcc::Error::from)?;
        Ok(field.and_then(|value| schema::read_storage_version(&value)))
    }
}

impl State {
    /// Reads the whole state from a db file. A file that a newer etcd wrote is refused.
    pub fn open(backend: Backend, options: Options) -> Result<Self, Error> {
        let file = File { backend: &backend };
        let applied = EntryId {
            index: file.number(names::CONSISTENT_INDEX)?,
            term: file.number(names::TERM)?,
        };
        let stored = file.get(Bucket::Meta, names::STORAGE_VERSION)?;
        let stored = stored.and_then(|value| schema::read_storage_version(&value));
        let storage_version = schema::stored_version(stored, applied.term > 0);
        if let Some(stored) = storage_version {
            schema::check_supported(stored)?;
        }
        let conf_state = match file.get(Bucket::Meta, names::CONF_STATE)? {
            Some(value) => Some(schema::read_conf_state(&value)?),
            None => None,
        };
        let mut leases = file.leases(options.min_lease_ttl)?;
        let alarms = file.alarms()?;
        let roster = file.roster()?;
        if let Some(cluster) = roster.cluster_version() {
            schema::check_cluster_version(cluster)?;
        }
        let (auth, first_revision) = file.auth()?;
        let store = Store::open(backend.clone(), options.store)?;
        for (key, lease) in &store.attachments {
            if !leases.attach(key, LeaseId(*lease)) {
                tracing::error!(lease = %LeaseId(*lease), "failed to attach a lease");
            }
        }
        let views = Views {
            hub: Hub::new(Arc::new(store.reader.clone()), options.watch),
            reader: store.reader,
            leases: Leases::new(leases),
            alarms: Alarms::new(alarms),
            members: Members::new(roster),
            auth: Auth::new(auth),
            backend,
            quota: options.quota,
        };
        let mut state = Self {
            writer: store.writer,
            views,
            options,
            applied,
            storage_version,
            conf_state,
            conf_state_changed: false,
            noted: applied,
            resumed_compaction: store.resumed_compaction,
        };
        state.write(first_revision);
        state.raise_storage_version()?;
        Ok(state)
    }

    /// Takes the place of another state, which was replaced by this one: its watchers go on here,
    /// from where they are.
    pub fn take_watchers_of(&mut self, other: &Self) {
        let hub = other.views.hub.clone();
        hub.restored(Arc::new(self.views.reader.clone()));
        self.views.hub = hub;
    }

    /// The last entry whose effect is in here; (0, 0) before the first.
    pub fn applied(&self) -> EntryId {
        self.applied
    }

    /// The raft configuration that the db file had or that was set since.
    pub fn conf_state(&self) -> Option<&ConfState> {
        self.conf_state.as_ref()
    }

    /// Takes the configuration that raft came to with an accepted conf change.
    pub fn set_conf_state(&mut self, conf_state: ConfState) {
        self.conf_state = Some(conf_state);
        self.conf_state_changed = true;
    }

    /// For other threads.
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// The rest of a compaction that was under way when the db file was last closed, once.
    pub fn take_resumed_compaction(&mut self) -> Option<CompactJob> {
        self.resumed_compaction.take()
    }

    /// Closes what was applied so far so that the backend can commit it, together with the
    /// index of the last entry. False where nothing is to be written, or a commit still runs.
    pub fn seal(&mut self) -> bool {
        if self.applied != self.noted {
            self.write([schema::consistent_index(self.applied.index)]);
            if self.applied.term > 0 {
                self.write([schema::term(self.applied.term)]);
            }
            self.noted = self.applied;
        }
        if self.conf_state_changed
            && let Some(conf_state) = &self.conf_state
        {
            self.write([schema::conf_state(conf_state)]);
            self.conf_state_changed = false;
        }
        self.views.backend.seal()
    }

    /// Sets the storage version to an older one. Only the caller knows whether the log since
    /// the last snapshot has anything that the older etcd cannot read.
    pub fn lower_storage_version(&mut self, target: Version) -> Result<(), Error> {
        let Some(stored) = self.storage_version else { return Ok(()) };
        self.write(schema::migrate(stored, target)?);
        self.storage_version = Some(target.to_minor());
        Ok(())
    }

    /// Lets the storage version follow the cluster's version upwards.
    pub(crate) fn raise_storage_version(&mut self) -> Result<(), Error> {
        let cluster = self.views.members.cluster_version();
        let (Some(stored), Some(cluster)) = (self.storage_version, cluster) else { return Ok(()) };
        if cluster > stored {
            self.write(schema::migrate(stored, cluster)?);
            self.storage_version = Some(cluster.to_minor());
        }
        Ok(())
    }

    /// The version that the members agreed on, where the file is of a newer one: as it is after a
    /// downgrade was prepared. The version of a cluster that has not heard of all its members yet
    /// is older than that of any file.
    pub fn agreed_below_storage(&self) -> Option<Version> {
        let agreed = self.views.members.cluster_version()?.to_minor();
        schema::check_supported(agreed).ok()?;
        self.storage_version.filter(|stored| stored.to_minor() > agreed).map(|_| agreed)
    }

    pub(crate) fn write(&self, records: impl IntoIterator<Item = Record>) {
        records.into_iter().for_each(|record| record.write(&self.views.backend));
    }
}

/// The db file as it is read at start.
struct File<'a> {
    backend: &'a Backend,
}

impl File<'_> {
    fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.backend.get(bucket, key).map_err(mvcc::Error::from)?)
    }

    fn number(&self, key: &'static [u8]) -> Result<u64, Error> {
        match self.get(Bucket::Meta, key)? {
            Some(value) => schema::read_u64(Bucket::Meta, key, &value),
            None => Ok(0),
        }
    }

    fn all<T>(
        &self,
        bucket: Bucket,
        read: impl Fn(&[u8], &[u8]) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let all = self.backend.range(bucket, Bound::Unbounded, Bound::Unbounded, usize::MAX);
        all.map_err(mvcc::Error::from)?.iter().map(|(key, value)| read(key, value)).collect()
    }

    fn leases(&self, min_ttl: i64) -> Result<LeaseTable, Error> {
        let mut table = LeaseTable::default();
        for lease in self.all(Bucket::Lease, schema::read_lease)? {
            table.insert(Lease { ttl: lease.ttl.max(min_ttl), ..lease });
        }
        Ok(table)
    }

    fn alarms(&self) -> Result<AlarmSet, Error> {
        Ok(AlarmSet::restore(self.all(Bucket::Alarm, |key, _| schema::read_alarm(key))?))
    }

    fn roster(&self) -> Result<Roster, Error> {
        let members = self.all(Bucket::Members, schema::read_member)?;
        let removed = self.all(Bucket::MembersRemoved, |key, _| schema::read_removed(key))?;
        let version = match self.get(Bucket::Cluster, names::CLUSTER_VERSION)? {
            Some(value) => Some(schema::read_cluster_version(&value)?),
            None => None,
        };
        let mut roster = Roster::new(members, removed, version);
        if let Some(value) = self.get(Bucket::Cluster, names::DOWNGRADE)? {
            roster.set_downgrade(schema::read_downgrade(&value)?);
        }
        Ok(roster)
    }

    fn auth(&self) -> Result<(AuthStore, Option<Record>), Error> {
        let enabled = self.get(Bucket::Auth, names::AUTH_ENABLED)?;
        let revision = match self.get(Bucket::Auth, names::AUTH_REVISION)? {
            Some(value) => schema::read_auth_revision(&value)?,
            None => 0,
        };
        let users = self.all(Bucket::AuthUsers, schema::read_user)?;
        let roles = self.all(Bucket::AuthRoles, schema::read_role)?;
        let enabled = enabled.is_some_and(|value| schema::read_auth_enabled(&value));
        let mut store = AuthStore::restore(enabled, revision, users, roles);
        let first_revision = store.first_revision();
        Ok((store, first_revision))
    }
}

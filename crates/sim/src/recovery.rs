//! The death of a member, its next start, and all that is checked then.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::{Access, Clock as _, Disk as _, SimDisk};
use node::Stepped;
use proto::Message as _;
use proto::etcdserverpb::{AlarmType, InternalRaftRequest};
use proto::raftpb::{Entry, EntryType};
use state::{LeaseId, Rejected, Views};
use wal::{SnapshotMark, Wal};

use crate::asked::Standing;
use crate::check::{decoded, keys_of};
use crate::leases::LeaseWatch;
use crate::model::Model;
use crate::run::{Alive, Bug, Run};
use crate::sabotage;
use crate::tap::{Attic, Tap, attic};
use crate::verdict::{Checked, Checker, ensure};
use crate::watch::Watch;

pub(crate) const WAL: &str = "/data/member/wal";

impl Run {
    /// Ends the member, starts it again until it lives, and checks it.
    pub(crate) fn recover(&mut self, mut cut: bool) -> Checked {
        if self.member.is_some() {
            let now = self.clock.now();
            self.collect(now);
        }
        self.member = None;
        loop {
            match cut {
                true => self.report.power_cuts += 1,
                false => self.report.kills += 1,
            }
            self.disk = if cut { self.disk.crash() } else { self.disk.kill() };
            sabotage::before_start(self);
            self.clock.advance(Duration::from_millis(20 + self.random.below(3000)));
            if self.random.chance(1, 6) {
                self.disk.crash_after(self.random.below(30));
            }
            if self.start()? == Alive::Yes {
                return Ok(());
            }
            self.member = None;
            self.report.failed_starts += 1;
            cut = self.disk.is_off() || self.random.chance(1, 2);
        }
    }

    fn start(&mut self) -> Checked<Alive> {
        let unsynced = match self.plan.bug {
            Some(Bug::UnsyncedLog) => Some(".wal"),
            Some(Bug::UnsyncedDb) => Some("snap/db"),
            _ => None,
        };
        let (digest, attic) = (self.digest.clone(), Arc::clone(&self.attic));
        self.tap = Tap::new(self.disk.clone(), digest, attic, unsynced);
        match Stepped::boot(&self.world(), &self.options, self.segment_bytes) {
            Ok(member) => self.member = Some(member),
            Err(failure) => {
                let excused = self.tap.has_failed();
                ensure(excused, Checker::Boot, || format!("does not start: {failure}"))?;
                return Ok(Alive::No);
            }
        }
        self.check_log()?;
        let checked = self.check_index();
        if self.unless_disk_failed(checked)? == Alive::No || self.settle()? == Alive::No {
            return Ok(Alive::No);
        }
        // What the member has asked for by itself since is in the log, too.
        self.check_log()?;
        let checked = self.check_state().and_then(|()| self.open_watch());
        self.unless_disk_failed(checked)
    }

    /// What a checker found counts only where the disk let it look.
    fn unless_disk_failed(&self, checked: Checked) -> Checked<Alive> {
        match checked {
            Ok(()) => Ok(Alive::Yes),
            Err(_) if self.tap.has_failed() => Ok(Alive::No),
            Err(found) => Err(found),
        }
    }

    /// Steps until the member serves.
    fn settle(&mut self) -> Checked<Alive> {
        let last = self.log.len() as u64;
        // What the last leader said of leases binds this one only as far as it was noted.
        self.leases = LeaseWatch::default();
        for _ in 0..40 {
            if self.plan.bug != Some(Bug::Asleep) && self.step_alive()? == Alive::No {
                return Ok(Alive::No);
            }
            if self.member().reads_freely() && self.member().applied().index >= last {
                let now = self.clock.now();
                let views = self.member().views().clone();
                self.leases.restarted(now, &views.leases);
                return Ok(Alive::Yes);
            }
            self.clock.advance(Duration::from_millis(100));
        }
        Err((Checker::Serving, format!("does not serve, applied {:?}", self.member().applied())))
    }

    /// The log against what was asked, and the answers against what the log leads to.
    fn check_log(&mut self) -> Checked {
        let entries = self.read_log()?;
        let kept = entries.len() >= self.log.len() && entries[..self.log.len()] == self.log[..];
        ensure(kept, Checker::Log, || {
            let same = entries.iter().zip(&self.log).take_while(|(now, then)| now == then).count();
            format!("{} entries, but {} before; equal: {same}", entries.len(), self.log.len())
        })?;
        for entry in &entries[self.log.len()..] {
            self.check_entry(entry)?;
            self.log.push(entry.clone());
        }
        let open = self.asked.recent().filter(|asked| asked.standing == Standing::Open).count();
        self.report.unanswered_lost += open as u64;
        self.asked.end()?;
        for seen in std::mem::take(&mut self.reads) {
            let expected = self.model.range_as_of(&seen.request, &seen.told);
            ensure(expected.as_ref() == Some(&seen.told), Checker::Seen, || {
                format!("{seen:?}, but there was {expected:?}")
            })?;
        }
        match self.watch.take() {
            Some(watch) => watch.check(&self.model, false),
            None => Ok(()),
        }
    }

    fn check_entry(&mut self, entry: &Entry) -> Checked {
        let next = self.log.len() as u64 + 1;
        ensure(entry.index() == next, Checker::Log, || {
            format!("entry {} where {next} should be", entry.index())
        })?;
        self.reference.apply(entry)?;
        if entry.r#type() != EntryType::EntryNormal || entry.data().is_empty() {
            return Ok(());
        }
        let request = InternalRaftRequest::decode(entry.data())
            .map_err(|error| (Checker::Log, format!("entry {next}: {error}")))?;
        let id = request.header.as_ref().map_or(0, |header| header.id);
        let told = self.model.apply(&request);
        let revision = self.model.revision();
        let Some(asked) = self.asked.logged(id)? else {
            // A member asks by itself for the end of leases, and for its alarm where it is full.
            let alarm = self.options.quota_bytes > 0
                && request.alarm.is_some_and(|alarm| alarm.alarm == AlarmType::Nospace as i32);
            return ensure(alarm || request.lease_revoke.is_some(), Checker::Log, || {
                format!("entry {next} was never asked for: {request:?}")
            });
        };
        let plain = InternalRaftRequest { header: None, ..request };
        ensure(plain == asked.request, Checker::Log, || {
            format!("entry {next} is {plain:?}, asked was {:?}", asked.request)
        })?;
        if let Standing::Answered { outcome, revision: answered } = &asked.standing {
            // What a quota has no room for is done all the same, and only answered otherwise.
            if *outcome == Err(Rejected::NoSpace) && told.is_ok() && self.options.quota_bytes > 0 {
                self.report.over_quota += 1;
                return Ok(());
            }
            let right = *outcome == told && (*answered == revision || told.is_err());
            return ensure(right, Checker::Answer, || {
                format!(
                    "{plain:?} was answered {outcome:?} at {answered}, not {told:?} at {revision}"
                )
            });
        }
        self.report.unanswered_done += 1;
        Ok(())
    }

    /// All entries, those in purged segments too.
    fn read_log(&self) -> Checked<Vec<Entry>> {
        let unreadable = |error: String| (Checker::Log, format!("the log cannot be read: {error}"));
        let whole = whole_log(&self.disk, &self.attic);
        let whole = whole.map_err(|error| unreadable(error.to_string()))?;
        let read = wal::read(&whole, Path::new(WAL), SnapshotMark::default());
        Ok(read.map_err(|error| unreadable(error.to_string()))?.entries)
    }

    /// The db file before anything was replayed: whole entries, of exactly those up to its index.
    fn check_index(&mut self) -> Checked {
        let applied = self.member().applied().index;
        let snapshots = Wal::valid_snapshots(&self.disk, Path::new(WAL));
        let snapshots = snapshots.map_err(|error| (Checker::Log, error.to_string()))?;
        let newest = snapshots.last().map_or(0, |snapshot| snapshot.index.unwrap_or(0));
        self.report.snapshots = self.report.snapshots.max(snapshots.len() as u64 - 1);
        let (committed, last) = (self.committed_index, self.log.len() as u64);
        let right = applied >= newest && applied >= committed && applied <= last;
        ensure(right, Checker::Index, || {
            format!("{applied}, snapshot {newest}, commit {committed}, log {last}")
        })?;
        self.note_committed();
        let mut model = self.model.fresh();
        for entry in &self.log[..applied as usize] {
            if entry.r#type() == EntryType::EntryNormal && !entry.data().is_empty() {
                let request = InternalRaftRequest::decode(entry.data());
                // What it answers was checked with the log.
                let _ = model.apply(&request.expect("it was decoded before"));
            }
        }
        let views = self.member().views();
        compare(views, &model, &[0]).map_err(|(_, what)| {
            (Checker::Index, format!("the db file at index {applied}: {what}"))
        })
    }

    /// All that readers can see, against the model and the reference.
    fn check_state(&mut self) -> Checked {
        let oldest = self.model.compacted.max(1);
        let span = (self.model.revision() - oldest + 1).unsigned_abs();
        let mut revisions = vec![0, oldest];
        revisions.extend((0..3).map(|_| oldest + self.random.below(span) as i64));
        let views = self.member().views().clone();
        compare(&views, &self.model, &revisions)?;
        let readers = [&views.reader, &self.reference.state().views().reader];
        // A compaction to revision 0 leaves a hash that is given when the current one is asked
        // for, until the next start: as in etcd.
        let leftover = |reader: &&mvcc::Reader| {
            reader.compaction_hashes().iter().any(|hash| hash.revision == 0)
        };
        if !readers.iter().any(leftover) {
            let hashes = readers.map(|reader| reader.hash_kv(0).map_err(|error| error.to_string()));
            ensure(hashes[0].is_ok() && hashes[0] == hashes[1], Checker::Hash, || {
                format!("{:?}, the reference has {:?}", hashes[0], hashes[1])
            })?;
        }
        let problems = views.backend.db().check();
        ensure(problems.is_empty(), Checker::File, || format!("{problems:?}"))
    }

    fn open_watch(&mut self) -> Checked {
        let views = self.member().views().clone();
        let (current, oldest) =
            (views.reader.current_revision(), views.reader.compact_revision().max(1));
        let start = oldest + self.random.below((current - oldest + 2).unsigned_abs()) as i64;
        self.watch = Some(Watch::open(&views.hub, start)?);
        Ok(())
    }

    /// Remembers what the db file is known to have.
    pub(crate) fn note_committed(&mut self) {
        let tx = self.member().views().backend.snapshot();
        let index = tx.bucket(b"meta").ok().flatten();
        let index = index.and_then(|meta| meta.get(b"consistent_index").ok().flatten());
        if let Some(index) = index.and_then(|index| index.as_ref().try_into().ok()) {
            self.committed_index = u64::from_be_bytes(index);
        }
    }

    /// The end of a run: all leases end, all is brought to the db file, and compared once more.
    pub(crate) fn finish(&mut self) -> Checked {
        self.recover(true)?;
        self.disk.crash_after(u64::MAX);
        for _ in 0..60 {
            self.clock.advance(Duration::from_millis(500));
            self.step()?;
        }
        let views = self.member().views().clone();
        let corrupt = views.alarms.any(AlarmType::Corrupt);
        ensure(corrupt || views.leases.is_empty(), Checker::Lease, || {
            format!("these do not end: {:?}", views.leases.list())
        })?;
        self.recover(false)?;
        self.disk.crash_after(u64::MAX);
        let broken = |error: node::Fatal| (Checker::Boot, error.to_string());
        while self.member().step_compaction(1000).map_err(broken)?.is_some() {}
        while self.member().seal() || self.member().commit_sealed().map_err(broken)? {
            self.member().commit_sealed().map_err(broken)?;
        }
        self.reference.flush()?;
        let views = self.member().views().clone();
        let (mine, theirs) = (views.reader.hash(), self.reference.state().views().reader.hash());
        ensure(
            matches!((&mine, &theirs), (Ok(mine), Ok(theirs)) if mine == theirs),
            Checker::Hash,
            || format!("all buckets: {mine:?}, the reference has {theirs:?}"),
        )?;
        let revisions: Vec<i64> =
            (self.model.compacted.max(1)..=self.model.revision()).chain([0]).collect();
        compare(&views, &self.model, &revisions)?;
        let problems = views.backend.db().check();
        ensure(problems.is_empty(), Checker::File, || format!("{problems:?}"))
    }
}

/// A disk with all segments of a log, those too that were purged from this one.
pub(crate) fn whole_log(disk: &SimDisk, removed: &Attic) -> std::io::Result<SimDisk> {
    let removed = attic(removed);
    if removed.is_empty() {
        return Ok(disk.clone());
    }
    let wal = Path::new(WAL);
    let mut segments = removed.clone();
    for name in disk.list(wal)?.into_iter().filter(|name| name.ends_with(".wal")) {
        let file = disk.open(&wal.join(&name), Access::Read)?;
        let mut bytes = vec![0; file.len()? as usize];
        file.read_exact_at(&mut bytes, 0)?;
        segments.insert(name, bytes);
    }
    let whole = SimDisk::new(0);
    whole.create_dir_all(wal)?;
    for (name, bytes) in segments {
        whole.open(&wal.join(name), Access::Create)?.write_all_at(&bytes, 0)?;
    }
    Ok(whole)
}

/// What readers see against what they should.
pub(crate) fn compare(views: &Views, model: &Model, revisions: &[i64]) -> Checked {
    let reader = &views.reader;
    let numbers = (reader.current_revision(), reader.compact_revision());
    let expected = (model.revision(), model.compacted);
    same("revision and compaction", &numbers, &expected)?;
    for &revision in revisions {
        let range = mvcc::Range { revision, ..mvcc::Range::of(mvcc::KeyRange::all()) };
        let ranged = reader.range(&range);
        let ranged =
            ranged.map_err(|error| (Checker::State, format!("rows at {revision}: {error}")))?;
        let rows: Vec<_> = ranged.kvs.iter().map(decoded).collect();
        let expected = model.rows(revision).map(|rows| rows.values().cloned().collect());
        same(&format!("rows at {revision}"), &Some(rows), &expected)?;
    }
    let leases: Vec<_> = views
        .leases
        .list()
        .into_iter()
        .map(|lease| (lease.id.0, (lease.ttl, lease.remaining_ttl)))
        .collect();
    same("leases", &leases, &model.leases.iter().map(|(id, lease)| (*id, *lease)).collect())?;
    let rows = model.rows(0).expect("the current ones");
    for id in model.leases.keys() {
        let keys = views.leases.keys(LeaseId(*id));
        same("keys of a lease", &keys, &Some(keys_of(rows, *id)))?;
    }
    same("alarms", &views.alarms.get(AlarmType::None), &model.alarms_of(0))?;
    for member in views.members.list() {
        let (name, urls) = model.published.get(&member.id.0).cloned().unwrap_or_default();
        let expected = if name.is_empty() { member.name.clone() } else { name };
        same("member", &(member.name, member.client_urls), &(expected, urls))?;
    }
    let version = views.members.cluster_version().map(|version| version.to_string());
    same("cluster version", &version, &model.cluster_version)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Checked {
    ensure(found == expected, Checker::State, || {
        format!("{what}: {found:?}, but should be {expected:?}")
    })
}

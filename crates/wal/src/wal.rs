use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use env::{Access, Disk, File, failpoint};
use proto::raftpb::HardState;
use proto::{Message, walpb};

use crate::decoder::Decoder;
use crate::error::{Error, LOCK};
use crate::next_segment::{NextSegment, NextSegmentJob};
use crate::record::{Encoder, EntryRef};
use crate::repair::repair;
use crate::replay::{Recovered, Replay, SnapshotMark, valid_snapshots};
use crate::segment::{self, SegmentName};

/// How far in front of the log zeros are written where no job has done it for the whole segment.
const ZEROS_AHEAD: usize = 256 << 10;
static ZEROS: [u8; ZEROS_AHEAD] = [0; ZEROS_AHEAD];

/// Before more than this is appended without a sync, the log syncs by itself; a record alone may
/// be longer.
const UNSYNCED: u64 = 4 << 20;

/// How a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// A segment that is at least this long is closed. Anything but the default is for tests.
    pub segment_bytes: u64,
    /// Whether to sync at all (`--unsafe-no-fsync` turns it off).
    pub sync: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64_000_000, sync: true }
    }
}

/// Whether what was appended has to be synced before anybody may rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an append that must be synced is not durable before it is"]
pub enum MustSync {
    Yes,
    /// Nothing that anybody relies on was written, or it is synced already.
    No,
}

/// The write-ahead log of a member, open for appending.
///
/// After an error of [`Wal::append`], a sync or a cut, nothing is known about what reached the
/// disk, and every later call fails with [`Error::Broken`].
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    metadata: Vec<u8>,
    hard_state: HardState,
    /// Of the entry written last.
    last_index: u64,
    /// The highest of all snapshot records.
    snapshot_index: u64,
    /// Since the log was opened.
    written_bytes: u64,
    encoder: Encoder,
    /// The segments that must not be purged, oldest first; the last one is appended to.
    held: Vec<Held>,
    tail: Tail,
    /// Bytes written since the last sync was asked for.
    unsynced: AtomicU64,
    broken: Arc<AtomicBool>,
    next: NextSegment,
}

/// A segment with its lock.
#[derive(Debug)]
struct Held {
    name: SegmentName,
    file: Arc<dyn File>,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Tail {
    file: Arc<dyn File>,
    path: PathBuf,
    /// Where the next record goes.
    offset: u64,
    /// Up to here zeros were written in front of it.
    written_to: u64,
}

impl Wal {
    /// Whether there is a log: this alone tells a restart from a first start.
    pub fn exists(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
        segment::exists(disk, dir)
    }

    /// Makes a log; it appears whole or not at all.
    pub fn create(disk: Arc<dyn Disk>, dir: &Path, metadata: &[u8]) -> Result<Self, Error> {
        Self::create_with(disk, dir, metadata, Options::default())
    }

    /// As [`Wal::create`].
    pub fn create_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        metadata: &[u8],
        options: Options,
    ) -> Result<Self, Error> {
        let dir: PathBuf = dir.components().collect();
        if segment::exists(&*disk, &dir).map_err(Error::io("list", &dir))? {
            return Err(Error::Exists(dir));
        }
        let mut temporary = dir.clone().into_os_string();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let made = Self::create_in(&disk, &dir, &temporary, metadata, options);
        if made.is_err() {
            // What is left of it is removed at the next try, too.
            let _ = disk.remove_dir_all(&temporary);
        }
        made
    }

    fn create_in(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        temporary: &Path,
        metadata: &[u8],
        options: Options,
    ) -> Result<Self, Error> {
        remove_dir(&**disk, temporary)?;
        disk.create_dir_all(temporary).map_err(Error::io("create", temporary))?;
        let name = SegmentName { sequence: 0, index: 0 };
        let path = temporary.join(name.to_string());
        let file = disk.open(&path, Access::Create).map_err(Error::io("create", &path))?;
        file.try_lock_segment().map_err(Error::io(LOCK, &path))?;
        let reserved = file.allocate(options.segment_bytes);
        reserved.map_err(Error::io("reserve space for", &path))?;

        let tail = Tail { file: Arc::clone(&file), path, offset: 0, written_to: 0 };
        let held = vec![Held { name, file }];
        let mut wal = Self::assemble(disk, dir, options, held, tail, 0);
        wal.metadata = metadata.to_vec();
        wal.encoder.crc();
        wal.encoder.metadata(metadata);
        let nothing = walpb::Snapshot { index: Some(0), term: Some(0), conf_state: None };
        wal.encoder.snapshot(&nothing.encode_to_vec());
        wal.write()?;
        wal.sync()?;
        wal.sync_dir(temporary)?;

        remove_dir(&**disk, dir)?;
        disk.rename(temporary, dir).map_err(Error::io("rename", temporary))?;
        wal.sync_dir(parent(dir))?;
        wal.tail.path = dir.join(name.to_string());
        Ok(wal)
    }

    fn assemble(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        held: Vec<Held>,
        tail: Tail,
        crc: u32,
    ) -> Self {
        Self {
            disk: Arc::clone(disk),
            dir: dir.to_owned(),
            options,
            metadata: Vec::new(),
            hard_state: HardState::default(),
            last_index: 0,
            snapshot_index: 0,
            written_bytes: 0,
            encoder: Encoder::new(crc),
            held,
            tail,
            unsynced: AtomicU64::new(0),
            broken: Arc::default(),
            next: NextSegment::new(Arc::clone(disk), dir, options.segment_bytes),
        }
    }

    /// Opens the log at a snapshot that [`Wal::valid_snapshots`] has told (or at 0), locks its
    /// segments and reads what is behind the snapshot. All of it is durable afterwards.
    ///
    /// A last record that was not written to its end is cut off, once.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        from: SnapshotMark,
    ) -> Result<(Self, Recovered), Error> {
        Self::open_with(disk, dir, from, Options::default())
    }

    /// As [`Wal::open`].
    pub fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        from: SnapshotMark,
        options: Options,
    ) -> Result<(Self, Recovered), Error> {
        let dir: PathBuf = dir.components().collect();
        match Self::open_once(&disk, &dir, from, options) {
            Err(error) if error.is_unexpected_eof() => {
                let repaired = repair(&*disk, &dir)?;
                let (wal, recovered) = Self::open_once(&disk, &dir, from, options)?;
                Ok((wal, Recovered { repaired, ..recovered }))
            }
            other => other,
        }
    }

    fn open_once(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        from: SnapshotMark,
        options: Options,
    ) -> Result<(Self, Recovered), Error> {
        let mut held = Vec::new();
        let mut files = Vec::new();
        for found in segment::select(segment::list(&**disk, dir)?, from.index)? {
            let path = dir.join(&found.name);
            let file = disk.open(&path, Access::ReadWrite).map_err(Error::io("open", &path))?;
            file.try_lock_segment().map_err(Error::io(LOCK, &path))?;
            held.push(Held { name: found.parsed, file: Arc::clone(&file) });
            files.push((found.name, file));
        }
        let mut decoder = Decoder::of_files(dir, files)?;
        let mut replay = Replay::new(from);
        replay.read(&mut decoder)?;
        let (last_index, snapshot_index) = (replay.last_index, replay.snapshot_index);
        let recovered = replay.finish()?;

        let path = dir.join(decoder.segment());
        let file = match held.last() {
            Some(last) => Arc::clone(&last.file),
            None => return Err(Error::NoSegments(dir.to_owned())),
        };
        let offset = decoder.offset();
        let tail = Tail { file, path, offset, written_to: offset };
        let mut wal = Self::assemble(disk, dir, options, held, tail, decoder.crc());
        wal.metadata = recovered.metadata.to_vec();
        wal.hard_state = recovered.hard_state;
        wal.last_index = last_index;
        wal.snapshot_index = snapshot_index;
        wal.settle_tail(decoder.longest())?;
        // A killed predecessor may have left names that only the machine's memory has.
        wal.sync_dir(dir)?;
        wal.sync_dir(parent(dir))?;
        Ok((wal, recovered))
    }

    /// Makes everything behind the last record zeros, and everything before it durable.
    ///
    /// Behind it there may be parts of records that were never written whole; new records must
    /// not end in front of them. Before it there may be bytes that only the machine's memory has:
    /// those of a killed predecessor, which a sync is enough for, and those of one whose sync
    /// failed, which no later sync would write. So the end of the log is written again: a sync
    /// and what was appended beside it, each of them one record of any length and a bit.
    fn settle_tail(&self, longest: u64) -> Result<(), Error> {
        let Tail { file, path, offset, .. } = &self.tail;
        let len = file.len().map_err(Error::io("read the length of", path))?;
        file.set_len(*offset).map_err(Error::io("truncate", path))?;
        let rewritten = (*offset).min(2 * (UNSYNCED + longest));
        let mut end = vec![0; rewritten as usize];
        file.read_exact_at(&mut end, offset - rewritten).map_err(Error::io("read", path))?;
        file.write_all_at(&end, offset - rewritten).map_err(Error::io("write", path))?;
        match file.allocate(len.max(self.options.segment_bytes)) {
            // The log works in the space that it finds.
            Err(error) if is_disk_full(&error) => {}
            other => other.map_err(Error::io("reserve space for", path))?,
        }
        self.sync()
    }

    /// The snapshots that a member can start from (recorded in the log and committed), oldest
    /// first. It takes no lock.
    pub fn valid_snapshots(disk: &dyn Disk, dir: &Path) -> Result<Vec<walpb::Snapshot>, Error> {
        valid_snapshots(disk, dir)
    }

    /// Writes entries, then the hard state, in one write and without a sync, unless there are
    /// megabytes of them; begins a new segment (with a sync) where this one is full.
    pub fn append(
        &mut self,
        entries: &[EntryRef<'_>],
        hard_state: Option<HardState>,
    ) -> Result<MustSync, Error> {
        let hard_state = hard_state.filter(|state| !is_empty(state));
        if entries.is_empty() && hard_state.is_none() {
            return Ok(MustSync::No);
        }
        let mut must_sync = !entries.is_empty();
        for entry in entries {
            self.sync_ahead_of(entry.data.len())?;
            self.encoder.entry(entry);
            self.last_index = entry.index;
        }
        if let Some(state) = hard_state {
            must_sync |= promise(&state) != promise(&self.hard_state);
            self.encoder.state(&state);
            self.hard_state = state;
        }
        self.write()?;
        if self.tail.offset >= self.options.segment_bytes {
            self.cut()?;
            return Ok(MustSync::No);
        }
        Ok(if must_sync { MustSync::Yes } else { MustSync::No })
    }

    /// Sees to it that a failed sync leaves no more in doubt than the next start writes again.
    fn sync_ahead_of(&mut self, len: usize) -> Result<(), Error> {
        let waiting = self.unsynced.load(Ordering::Relaxed) + self.encoder.bytes().len() as u64;
        if waiting == 0 || waiting + len as u64 <= UNSYNCED {
            return Ok(());
        }
        self.write()?;
        self.sync()
    }

    /// Makes durable what was appended.
    pub fn sync(&self) -> Result<(), Error> {
        self.sync_job().run()
    }

    /// The work of making durable what was appended so far. It may run on any thread, also while
    /// more is appended.
    pub fn sync_job(&self) -> SyncJob {
        self.unsynced.store(0, Ordering::Relaxed);
        SyncJob {
            file: Arc::clone(&self.tail.file),
            path: self.tail.path.clone(),
            enabled: self.options.sync,
            broken: Arc::clone(&self.broken),
        }
    }

    /// How many bytes were written to the log since it was opened, zeros ahead not counted.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Records (durably) that the snapshot of this index was saved. It counts once a hard state
    /// that commits its index is durable, too; only then may older segments be released.
    pub fn save_snapshot(&mut self, snapshot: &walpb::Snapshot) -> Result<(), Error> {
        let (Some(index), Some(_)) = (snapshot.index, snapshot.term) else {
            return Err(Error::IncompleteSnapshot);
        };
        if index > 0 && snapshot.conf_state.is_none() {
            return Err(Error::IncompleteSnapshot);
        }
        self.encoder.snapshot(&snapshot.encode_to_vec());
        self.snapshot_index = self.snapshot_index.max(index);
        self.write()?;
        self.sync()
    }

    /// Lets go of the segments that a member with a snapshot at `index` no longer needs, so that
    /// [`purge`](crate::purge) may remove them.
    pub fn release_to(&mut self, index: u64) {
        let at_or_behind = self.held.iter().position(|segment| segment.name.index >= index);
        // The segment before the first one behind the index has the entries from the index on.
        let keep_from = at_or_behind.unwrap_or(self.held.len()).saturating_sub(1);
        self.held.drain(..keep_from);
    }

    /// The work of making the next segment; `None` where that is done, being done, or too early:
    /// a member that writes little should not write a whole segment of zeros at every start.
    pub fn next_segment_job(&self) -> Option<NextSegmentJob> {
        let due = self.tail.offset >= self.options.segment_bytes / 4;
        if due { self.next.job() } else { None }
    }

    /// Makes everything durable and lets go of the log.
    pub fn close(self) -> Result<(), Error> {
        self.sync()
    }

    /// Writes what the encoder has gathered.
    fn write(&mut self) -> Result<(), Error> {
        if self.broken.load(Ordering::Acquire) {
            self.encoder.clear();
            return Err(Error::Broken);
        }
        let written = self.write_gathered();
        self.encoder.clear();
        if written.is_err() {
            self.broken.store(true, Ordering::Release);
        }
        written.map_err(Error::io("write", &self.tail.path))
    }

    fn write_gathered(&mut self) -> io::Result<()> {
        let bytes = self.encoder.bytes();
        let tail = &mut self.tail;
        tail.file.write_all_at(bytes, tail.offset)?;
        tail.offset += bytes.len() as u64;
        self.written_bytes += bytes.len() as u64;
        let room = self.options.segment_bytes.saturating_sub(tail.offset);
        if self.options.sync && tail.offset > tail.written_to && room > 0 {
            // A sync takes half as long again when it must also record that reserved space is in
            // use: pay that once for many appends.
            let zeros = room.min(ZEROS_AHEAD as u64) as usize;
            tail.file.write_all_at(&ZEROS[..zeros], tail.offset)?;
            tail.written_to = tail.offset + zeros as u64;
        }
        Ok(())
    }

    /// Ends this segment and begins the next one, durably.
    fn cut(&mut self) -> Result<(), Error> {
        let cut = self.cut_over();
        if cut.is_err() {
            self.broken.store(true, Ordering::Release);
        }
        cut
    }

    fn cut_over(&mut self) -> Result<(), Error> {
        let blank = self.next.take()?;
        let ended = &self.tail;
        ended.file.set_len(ended.offset).map_err(Error::io("truncate", &ended.path))?;
        self.sync()?;

        let sequence = self.held.last().map_or(0, |last| last.name.sequence) + 1;
        // A reader with a snapshot at or behind this index begins with the new segment, so no
        // such snapshot may be recorded before it. One may be ahead of the entries: then a crash
        // came before the snapshot was installed, and the leader sent entries instead.
        let index = self.last_index.max(self.snapshot_index).saturating_add(1);
        let name = SegmentName { sequence, index };
        let file = Arc::clone(&blank.file);
        self.held.push(Held { name, file: blank.file });
        self.tail = Tail { file, path: blank.path, offset: 0, written_to: blank.written_to };
        self.encoder.crc();
        self.encoder.metadata(&self.metadata);
        if !is_empty(&self.hard_state) {
            self.encoder.state(&self.hard_state);
        }
        self.write()?;
        self.sync()?;

        let path = self.dir.join(name.to_string());
        let renamed = self.disk.rename(&self.tail.path, &path);
        renamed.map_err(Error::io("rename", &self.tail.path))?;
        self.tail.path = path;
        self.sync_dir(&self.dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        match self.options.sync {
            true => self.disk.sync_dir(dir).map_err(Error::io("sync", dir)),
            false => Ok(()),
        }
    }
}

/// Makes a part of the log durable; see [`Wal::sync_job`].
#[derive(Debug)]
#[must_use = "nothing is durable before it has run"]
pub struct SyncJob {
    file: Arc<dyn File>,
    path: PathBuf,
    enabled: bool,
    broken: Arc<AtomicBool>,
}

impl SyncJob {
    /// Does it. After a failure the log is broken: the bytes may be gone, and a second try
    /// would succeed without writing them.
    pub fn run(self) -> Result<(), Error> {
        if self.broken.load(Ordering::Acquire) {
            return Err(Error::Broken);
        }
        if !self.enabled {
            return Ok(());
        }
        failpoint("walBeforeSync");
        self.file.sync_data().map_err(|error| {
            self.broken.store(true, Ordering::Release);
            Error::io("sync", &self.path)(error)
        })?;
        failpoint("walAfterSync");
        Ok(())
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn is_empty(state: &HardState) -> bool {
    promise(state) == (0, 0) && state.commit.unwrap_or_default() == 0
}

/// What a member has promised to others; the commit index can be learned again.
fn promise(state: &HardState) -> (u64, u64) {
    (state.term.unwrap_or_default(), state.vote.unwrap_or_default())
}

fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => dir,
    }
}

fn remove_dir(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    match disk.remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

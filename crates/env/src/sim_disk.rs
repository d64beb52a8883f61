//! A disk in memory that keeps what a real one promises, and no more.
//!
//! ```text
//!   write_all_at, set_len        create, rename, remove
//!         |                              |
//!   [ cached bytes ] --sync_data-->  [ names ] --sync_dir-->  [ what the disk has ]
//!         '--------------- crash(): some, none or all of it --------^
//! ```
//!
//! Everything that happens comes from the seed and the order of the calls.

mod content;
mod faults;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use faults::Call;
use faults::{Faults, Verdict, power_cut};
use tree::{InodeId, Tree};

use crate::Random;
use crate::disk::{Access, Disk, File};

/// A simulated disk; clones share it. The root directory `/` always exists.
///
/// After a power cut ([`SimDisk::crash`]) each unsynced write may have survived, been lost, or
/// been torn at 512-byte sectors; each unsynced name likewise, but a rename is atomic.
#[derive(Debug, Clone)]
pub struct SimDisk {
    machine: Arc<Mutex<Machine>>,
}

#[derive(Debug)]
struct Machine {
    tree: Tree,
    faults: Faults,
    random: Random,
    open: BTreeMap<u64, InodeId>,
    next_handle: u64,
    locks: BTreeMap<(InodeId, Lock), u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lock {
    Segment,
    Db,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self::with(Tree::new(), Random::new(seed))
    }

    fn with(tree: Tree, random: Random) -> Self {
        let machine = Machine {
            tree,
            faults: Faults::default(),
            random,
            open: BTreeMap::new(),
            next_handle: 0,
            locks: BTreeMap::new(),
        };
        Self { machine: Arc::new(Mutex::new(machine)) }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power. What is left is the new disk; every later call on the old one fails.
    pub fn crash(&self) -> SimDisk {
        let mut machine = self.machine();
        machine.faults.cut_now();
        let tree = {
            let Machine { tree, random, .. } = &mut *machine;
            tree.after_power_cut(random)
        };
        Self::with(tree, machine.random.split())
    }

    /// Kills the process but not the machine: what was written stays (unsynced as it was), locks
    /// and open files are gone. Every later call on the old disk fails.
    pub fn kill(&self) -> SimDisk {
        let mut machine = self.machine();
        machine.faults.cut_now();
        let mut tree = machine.tree.clone();
        tree.forget_unreachable(&BTreeSet::new());
        Self::with(tree, machine.random.split())
    }

    /// Cuts the power in the call that changes the disk after `changes` more such calls: that
    /// call fails (it may have happened), and so do all others until [`SimDisk::crash`] is taken.
    pub fn crash_after(&self, changes: u64) {
        self.machine().faults.cut_after(changes);
    }

    /// Whether the power is cut.
    pub fn is_off(&self) -> bool {
        self.machine().faults.is_off()
    }

    /// How many calls so far could change the disk (see [`SimDisk::crash_after`]).
    pub fn changes(&self) -> u64 {
        self.machine().faults.changes
    }

    /// Lets one call fail with an input/output error: of those of this kind whose path contains
    /// `path_part`, the one after the next `skip`.
    pub fn fail(&self, call: Call, path_part: &str, skip: u64) {
        self.machine().faults.plan(call, path_part, skip);
    }

    /// Limits the bytes that all files may take together (`StorageFull` beyond it).
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.machine().faults.capacity = bytes;
    }

    /// Takes back all faults that are planned, and the limit. A power cut that happened stays.
    pub fn forget_faults(&self) {
        self.machine().faults.forget();
    }

    /// The bytes that all files take together.
    pub fn used(&self) -> u64 {
        let mut machine = self.machine();
        machine.forget_unreachable();
        machine.tree.used()
    }

    /// Flips one bit of a file, on the disk and in memory; `bit` counts from the file's start.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut machine = self.machine();
        let inode = machine.tree.find(path)?;
        machine.tree.file(inode)?.flip(bit);
        Ok(())
    }

    /// Flips a bit anywhere in a file; says which.
    pub fn flip_any_bit(&self, path: &Path) -> io::Result<u64> {
        let bit = {
            let mut machine = self.machine();
            let inode = machine.tree.find(path)?;
            let bits = machine.tree.file(inode)?.len() * 8;
            machine.random.below(bits)
        };
        self.flip_bit(path, bit).map(|()| bit)
    }
}

impl Machine {
    /// Does what a call asks for, unless a fault says otherwise.
    fn call<T>(
        &mut self,
        call: Call,
        path: &Path,
        act: impl FnOnce(&mut Tree) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.faults.judge(call, path, &mut self.random) {
            Verdict::Go => act(&mut self.tree),
            Verdict::Fail(error) => Err(error),
            Verdict::Cut { happened } => {
                if happened {
                    // Whether it could succeed no longer matters to anybody.
                    let _ = act(&mut self.tree);
                }
                Err(power_cut())
            }
        }
    }

    fn forget_unreachable(&mut self) {
        let open: BTreeSet<InodeId> = self.open.values().copied().collect();
        self.tree.forget_unreachable(&open);
    }

    /// How many of the bytes from `len` to `wanted` the disk has room for.
    fn room(&mut self, len: u64, wanted: u64) -> u64 {
        let Some(capacity) = self.faults.capacity else { return wanted };
        if wanted <= len {
            return wanted;
        }
        self.forget_unreachable();
        let free = capacity.saturating_sub(self.tree.used());
        wanted.min(len + free)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let mut machine = self.machine();
        let found = machine.call(Call::Open, path, |tree| match tree.find(path) {
            Ok(inode) => tree.file(inode).map(|_| Some(inode)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })?;
        let inode = match (found, access) {
            (Some(inode), _) => inode,
            (None, Access::Create) => {
                machine.call(Call::Create, path, |tree| tree.create_file(path))?
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        let handle = machine.next_handle;
        machine.next_handle += 1;
        machine.open.insert(handle, inode);
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            path: path.to_owned(),
            inode,
            handle,
            writes: access != Access::Read,
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.machine().call(Call::Create, path, |tree| tree.create_dir_all(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.machine().call(Call::List, path, |tree| tree.names(path))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.machine().call(Call::List, path, |tree| match tree.find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.machine().call(Call::Rename, from, |tree| tree.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.machine().call(Call::Remove, path, |tree| tree.remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.machine().call(Call::Remove, path, |tree| tree.remove_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.call(Call::SyncDir, path, |tree| tree.sync_dir(path))?;
        machine.forget_unreachable();
        Ok(())
    }
}

/// How much of a write at `offset` is done when it ends early at `end`: nobody ever sees a part of
/// a sector.
fn whole_sectors(len: usize, offset: u64, end: u64) -> usize {
    match (end.saturating_sub(offset)) as usize {
        done if done >= len => len,
        _ => (end - end % content::SECTOR).saturating_sub(offset) as usize,
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inode: InodeId,
    handle: u64,
    writes: bool,
}

impl SimFile {
    fn may_write(&self) -> io::Result<()> {
        match self.writes {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(rustix::io::Errno::BADF.raw_os_error())),
        }
    }

    fn try_lock(&self, lock: Lock) -> io::Result<()> {
        let mut machine = self.disk.machine();
        if machine.faults.is_off() {
            return Err(power_cut());
        }
        let holder = *machine.locks.entry((self.inode, lock)).or_insert(self.handle);
        if holder == self.handle { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn grow(&self, len: u64, shrink: bool) -> io::Result<()> {
        self.may_write()?;
        let mut machine = self.disk.machine();
        let now = machine.tree.file(self.inode)?.len();
        if machine.room(now, len) < len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = self.inode;
        machine.call(Call::SetLen, &self.path, |tree| {
            let file = tree.file(inode)?;
            if shrink || len > file.len() {
                file.set_len(len);
            }
            Ok(())
        })
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let inode = self.inode;
        self.disk
            .machine()
            .call(Call::Read, &self.path, |tree| Ok(tree.file(inode)?.read(buf, offset)))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.may_write()?;
        let mut machine = self.disk.machine();
        let Machine { tree, faults, random, .. } = &mut *machine;
        let verdict = faults.judge(Call::Write, &self.path, random);
        let part = match &verdict {
            Verdict::Go => bytes.len(),
            Verdict::Fail(_) if faults.is_off() => 0,
            Verdict::Fail(_) | Verdict::Cut { happened: true } => random.index(bytes.len() + 1),
            Verdict::Cut { happened: false } => 0,
        };
        let len = tree.file(self.inode)?.len();
        let end = offset + part as u64;
        let end = machine.room(len, end).min(end);
        let fits = whole_sectors(bytes.len(), offset, end);
        if fits > 0 {
            machine.tree.file(self.inode)?.write(&bytes[..fits], offset);
        }
        match verdict {
            Verdict::Go if fits < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
            Verdict::Go => Ok(()),
            Verdict::Fail(error) => Err(error),
            Verdict::Cut { .. } => Err(power_cut()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut machine = self.disk.machine();
        let Machine { tree, faults, random, .. } = &mut *machine;
        let verdict = faults.judge(Call::SyncData, &self.path, random);
        let off = faults.is_off();
        let file = tree.file(self.inode)?;
        match verdict {
            Verdict::Go => file.sync(),
            Verdict::Cut { happened } => {
                if happened {
                    file.sync();
                }
                return Err(power_cut());
            }
            Verdict::Fail(error) => {
                if !off {
                    file.fail_sync(random);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut machine = self.disk.machine();
        if machine.faults.is_off() {
            return Err(power_cut());
        }
        Ok(machine.tree.file(self.inode)?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.grow(len, true)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.grow(len, false)
    }

    fn try_lock_segment(&self) -> io::Result<()> {
        self.try_lock(Lock::Segment)
    }

    fn try_lock_db(&self) -> io::Result<()> {
        self.try_lock(Lock::Db)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut machine = self.disk.machine();
        machine.open.remove(&self.handle);
        let handle = self.handle;
        machine.locks.retain(|_, holder| *holder != handle);
    }
}

#[cfg(test)]
mod tests;

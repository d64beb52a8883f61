//! A disk between the member and the simulated one: it takes the digest of all calls, keeps what
//! is removed from the log, counts failures, and lies where a test wants it to.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use env::{Access, Disk, File, SimDisk};

use crate::digest::Digest;

/// Log segments that were removed, by name.
pub(crate) type Attic = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// The disk that a member sees. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Tap {
    inner: SimDisk,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    digest: Digest,
    attic: Attic,
    /// Failures that no program has to expect.
    failures: AtomicU64,
    /// Files whose path contains this are not synced, but said to be.
    unsynced: Option<&'static str>,
}

impl Tap {
    pub(crate) fn new(
        inner: SimDisk,
        digest: Digest,
        attic: Attic,
        unsynced: Option<&'static str>,
    ) -> Self {
        let shared = Shared { digest, attic, failures: AtomicU64::new(0), unsynced };
        Self { inner, shared: Arc::new(shared) }
    }

    /// Whether the disk has given the member a reason to fail.
    pub(crate) fn has_failed(&self) -> bool {
        self.inner.is_off() || self.shared.failures.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn forget_failures(&self) {
        self.shared.failures.store(0, Ordering::Relaxed);
    }

    fn note<T>(
        &self,
        what: &str,
        path: &Path,
        numbers: &[u64],
        done: io::Result<T>,
    ) -> io::Result<T> {
        self.shared.note(what, path, numbers, &[], done)
    }

    fn keep(&self, path: &Path) -> io::Result<()> {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
        if !name.ends_with(".wal") {
            return Ok(());
        }
        let file = self.inner.open(path, Access::Read)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        attic(&self.shared.attic).insert(name.to_owned(), bytes);
        Ok(())
    }
}

/// What is in an attic.
pub(crate) fn attic(attic: &Attic) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
    attic.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn note<T>(
        &self,
        what: &str,
        path: &Path,
        numbers: &[u64],
        bytes: &[u8],
        done: io::Result<T>,
    ) -> io::Result<T> {
        self.digest.note(what, numbers, path.to_string_lossy().as_bytes());
        self.digest.note(if done.is_ok() { "ok" } else { "failed" }, &[], bytes);
        if let Err(error) = &done
            && !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock)
        {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        done
    }
}

impl Disk for Tap {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let opened = self.inner.open(path, access);
        let inner = self.note("open", path, &[access as u64], opened)?;
        Ok(Arc::new(TapFile { inner, path: path.to_owned(), shared: Arc::clone(&self.shared) }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.note("create_dir_all", path, &[], self.inner.create_dir_all(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.note("list", path, &[], self.inner.list(path))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.note("exists", path, &[], self.inner.exists(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note("rename", from, &[], self.inner.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let removed = self.keep(path).and_then(|()| self.inner.remove_file(path));
        self.note("remove_file", path, &[], removed)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.note("remove_dir_all", path, &[], self.inner.remove_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.note("sync_dir", path, &[], self.inner.sync_dir(path))
    }
}

#[derive(Debug)]
struct TapFile {
    inner: Arc<dyn File>,
    path: PathBuf,
    shared: Arc<Shared>,
}

impl TapFile {
    fn note<T>(
        &self,
        what: &str,
        numbers: &[u64],
        bytes: &[u8],
        done: io::Result<T>,
    ) -> io::Result<T> {
        self.shared.note(what, &self.path, numbers, bytes, done)
    }
}

impl File for TapFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.inner.read_at(buf, offset);
        self.note("read", &[offset, buf.len() as u64], &[], read)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.note("write", &[offset], bytes, self.inner.write_all_at(bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        let lies = |part| self.path.to_string_lossy().contains(part);
        if self.shared.unsynced.is_some_and(lies) {
            return Ok(());
        }
        self.note("sync", &[], &[], self.inner.sync_data())
    }

    fn len(&self) -> io::Result<u64> {
        self.note("len", &[], &[], self.inner.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note("set_len", &[len], &[], self.inner.set_len(len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.note("allocate", &[len], &[], self.inner.allocate(len))
    }

    fn try_lock_segment(&self) -> io::Result<()> {
        self.note("lock", &[], &[], self.inner.try_lock_segment())
    }

    fn try_lock_db(&self) -> io::Result<()> {
        self.note("lock", &[], &[], self.inner.try_lock_db())
    }
}

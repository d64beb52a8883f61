//! Something that is read from files, and read anew when they change.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A file that was changed so short a time ago may be changed again without looking different.
const UNSETTLED: Duration = Duration::from_millis(100);

/// What tells one state of a file from another, as far as one sees without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Looks {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// How one reads it from the bytes of its files.
pub(super) type Read<T> = fn(&[PathBuf], &[Vec<u8>]) -> Result<T, String>;

/// The last good state of what some files say.
pub(super) struct Watched<T> {
    paths: Vec<PathBuf>,
    read: Read<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// `None` where they must be read again whatever they look like.
    looks: Option<Vec<Option<Looks>>>,
    bytes: Vec<Vec<u8>>,
    value: Arc<T>,
    /// What was wrong when they were last read, and was told.
    told: Option<String>,
}

impl<T> Watched<T> {
    /// Reads the files for the first time; they must be good.
    pub(super) fn new(paths: Vec<PathBuf>, read: Read<T>) -> Result<Self, String> {
        let looks = settled(looks(&paths));
        let bytes = contents(&paths)?;
        let value = Arc::new(read(&paths, &bytes)?);
        let state = Mutex::new(State { looks, bytes, value, told: None });
        Ok(Self { paths, read, state })
    }

    /// What the files say now, or said when they were last good.
    pub(super) fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = looks(&self.paths);
        if state.looks.as_ref() == Some(&seen) {
            return Arc::clone(&state.value);
        }
        match contents(&self.paths) {
            Ok(bytes) if bytes == state.bytes => state.told = None,
            Ok(bytes) => match (self.read)(&self.paths, &bytes) {
                Ok(value) => {
                    let files = &self.paths;
                    tracing::info!(files = ?files, "TLS files have changed and are used now");
                    state.value = Arc::new(value);
                    state.bytes = bytes;
                    state.told = None;
                }
                Err(error) => self.tell(&mut state, error),
            },
            Err(error) => self.tell(&mut state, error),
        }
        state.looks = settled(seen);
        Arc::clone(&state.value)
    }

    fn tell(&self, state: &mut State<T>, error: String) {
        if state.told.as_ref() == Some(&error) {
            return;
        }
        tracing::warn!(
            files = ?self.paths,
            error = %error,
            "TLS files have changed and cannot be used; what they said before holds"
        );
        state.told = Some(error);
    }
}

fn looks(paths: &[PathBuf]) -> Vec<Option<Looks>> {
    let of = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Looks {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    paths.iter().map(of).collect()
}

fn settled(looks: Vec<Option<Looks>>) -> Option<Vec<Option<Looks>>> {
    let now = super::today().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let recent = |looks: &Looks| {
        let (seconds, nanos) = looks.changed;
        let changed = Duration::new(
            u64::try_from(seconds).unwrap_or_default(),
            u32::try_from(nanos).unwrap_or_default(),
        );
        changed + UNSETTLED > now
    };
    let unsettled = looks.iter().flatten().any(recent);
    (!unsettled).then_some(looks)
}

fn contents(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| format!("open {}: {}", path.display(), plain(&error)))
    };
    paths.iter().map(read).collect()
}

/// As Go spells it.
fn plain(error: &io::Error) -> String {
    crate::listener::plain(error)
}

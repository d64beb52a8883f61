//! A log file that begins anew when it has grown, as the lumberjack library does it for etcd.
//!
//! The full file is renamed to `NAME-TIME.EXT`; old ones go by age and by number.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use env::Clock;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// What the names of compressed files end with.
const COMPRESSED: &str = ".gz";
const MEGABYTE: u64 = 1024 * 1024;
const DEFAULT_MEGABYTES: u64 = 100;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Milliseconds are written apart: the library has no verb for three digits after a full stop.
const TIME_FORMAT: &str = "%Y-%m-%dT%H-%M-%S";

/// When to begin a new file and what to keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// 0 means 100.
    pub(crate) max_size_megabytes: u64,
    /// 0 keeps for ever.
    pub(crate) max_age_days: u64,
    /// 0 keeps all.
    pub(crate) max_backups: usize,
    /// Local time in the names of old files, in place of UTC.
    pub(crate) local_time: bool,
    /// Old files are compressed by gzip.
    pub(crate) compress: bool,
}

/// The file that is written, and what it needs to begin the next.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    clock: Arc<dyn Clock>,
    open: Option<(File, u64)>,
    /// Compresses old files. One at a time; the next rotation finds what this one leaves.
    mill: Option<JoinHandle<()>>,
}

impl RotatingFile {
    pub(crate) fn new(path: impl Into<PathBuf>, rotation: Rotation, clock: Arc<dyn Clock>) -> Self {
        RotatingFile { path: path.into(), rotation, clock, open: None, mill: None }
    }

    /// Appends a line, in a new file when the old one has no room for it.
    pub(crate) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let (mut file, size) = match self.open.take() {
            Some(open) => open,
            None => self.open_or_create()?,
        };
        let mut size = size;
        if size > 0 && size + length > self.limit() {
            drop(file);
            file = self.rotate()?;
            size = 0;
        }
        let written = file.write_all(line);
        self.open = Some((file, size + length));
        written
    }

    fn limit(&self) -> u64 {
        let megabytes = match self.rotation.max_size_megabytes {
            0 => DEFAULT_MEGABYTES,
            megabytes => megabytes,
        };
        megabytes.saturating_mul(MEGABYTE)
    }

    fn open_or_create(&self) -> io::Result<(File, u64)> {
        let directory = self.path.parent().filter(|path| !path.as_os_str().is_empty());
        if let Some(directory) = directory {
            fs::create_dir_all(directory)?;
        }
        let file = private().append(true).create(true).open(&self.path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    fn rotate(&mut self) -> io::Result<File> {
        let now = self.clock.unix();
        let permissions = fs::metadata(&self.path)?.permissions();
        fs::rename(&self.path, self.backup_path(now))?;
        let file = private().write(true).create(true).truncate(true).open(&self.path)?;
        file.set_permissions(permissions)?;
        // What could not be removed now will be found again next time.
        let _ = self.remove_old(now);
        if self.rotation.compress {
            let _ = self.compress_old();
        }
        Ok(file)
    }

    /// Has the old files compressed that are not yet, on a thread aside: who logs does not wait.
    fn compress_old(&mut self) -> io::Result<()> {
        if self.mill.as_ref().is_some_and(|mill| !mill.is_finished()) {
            return Ok(());
        }
        let plain = self.backups()?.into_iter().map(|(_, path)| path);
        let plain: Vec<_> = plain.filter(|path| !is_compressed(path)).collect();
        let mill = std::thread::Builder::new().name("log-mill".to_owned());
        // What could not be compressed stays as it is, and will be found again next time.
        self.mill = Some(mill.spawn(move || {
            for path in plain {
                let _ = compress(&path);
            }
        })?);
        Ok(())
    }

    fn zone(&self) -> TimeZone {
        if self.rotation.local_time { TimeZone::system() } else { TimeZone::UTC }
    }

    fn backup_path(&self, now: Duration) -> PathBuf {
        let (prefix, extension) = self.name_parts();
        let nanoseconds = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX);
        let instant = Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::MAX);
        let local = self.zone().to_datetime(instant);
        let time = local.strftime(TIME_FORMAT);
        let milliseconds = local.subsec_nanosecond() / 1_000_000;
        self.path.with_file_name(format!("{prefix}{time}.{milliseconds:03}{extension}"))
    }

    /// `name-` and `.ext` of `name.ext`.
    fn name_parts(&self) -> (String, String) {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.rsplit_once('.') {
            Some((stem, extension)) => (format!("{stem}-"), format!(".{extension}")),
            None => (format!("{name}-"), String::new()),
        }
    }

    /// Removes old files past the number and the age, newest kept first.
    fn remove_old(&self, now: Duration) -> io::Result<()> {
        let mut backups = self.backups()?;
        backups.sort_by_key(|backup| std::cmp::Reverse(backup.0));
        let days = self.rotation.max_age_days;
        let oldest =
            now.saturating_sub(DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)));
        for (rank, (time, path)) in backups.into_iter().enumerate() {
            let too_many = self.rotation.max_backups > 0 && rank >= self.rotation.max_backups;
            let too_old = days > 0 && time < oldest;
            if too_many || too_old {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Old files with the time that their names bear; other files are not ours.
    fn backups(&self) -> io::Result<Vec<(Duration, PathBuf)>> {
        let directory = self.path.parent().filter(|path| !path.as_os_str().is_empty());
        let (prefix, extension) = self.name_parts();
        let mut found = Vec::new();
        for entry in fs::read_dir(directory.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name();
            let time = name
                .to_str()
                .map(|name| name.strip_suffix(COMPRESSED).unwrap_or(name))
                .and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(&extension))
                .and_then(|time| self.time_of(time));
            if let Some(time) = time {
                found.push((time, entry.path()));
            }
        }
        Ok(found)
    }

    fn time_of(&self, text: &str) -> Option<Duration> {
        let (seconds, milliseconds) = text.rsplit_once('.')?;
        if milliseconds.len() != 3 {
            return None;
        }
        let local = DateTime::strptime(TIME_FORMAT, seconds).ok()?;
        let instant = local.to_zoned(self.zone()).ok()?.timestamp();
        let seconds = u64::try_from(instant.as_second()).ok()?;
        Some(Duration::from_secs(seconds) + Duration::from_millis(milliseconds.parse().ok()?))
    }
}

impl Drop for RotatingFile {
    fn drop(&mut self) {
        if let Some(mill) = self.mill.take() {
            // A thread that panics has ended the process.
            let _ = mill.join();
        }
    }
}

fn is_compressed(path: &Path) -> bool {
    path.to_string_lossy().ends_with(COMPRESSED)
}

/// Puts a compressed file in the place of a plain one, of the same rights.
fn compress(path: &Path) -> io::Result<()> {
    let mut plain = File::open(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(COMPRESSED);
    let target = PathBuf::from(name);
    let done = private().write(true).create(true).truncate(true).open(&target).and_then(|file| {
        file.set_permissions(plain.metadata()?.permissions())?;
        let mut gzip = GzEncoder::new(file, Compression::default());
        io::copy(&mut plain, &mut gzip)?;
        gzip.finish()?.sync_all()
    });
    match done {
        Ok(()) => fs::remove_file(path),
        // A half of it is no use to anybody.
        Err(error) => fs::remove_file(target).and(Err(error)),
    }
}

/// Opens what it creates for its owner alone.
fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

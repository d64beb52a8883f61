//! Makes the next segment while the present one fills.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use env::{Access, Disk, File};

use crate::error::{Error, LOCK};

/// Made by a job; a cut renames it.
const AHEAD: &str = "0.tmp";
/// Made by a cut that found nothing ready.
const AT_ONCE: &str = "1.tmp";

/// Zeros are written and synced in pieces of this size, so that no sync of the log waits long
/// behind them.
const PIECE: usize = 1 << 20;

/// A segment without records.
#[derive(Debug)]
pub(crate) struct Blank {
    pub(crate) file: Arc<dyn File>,
    pub(crate) path: PathBuf,
    /// Up to here zeros have been written, not only reserved.
    pub(crate) written_to: u64,
}

/// Where a job leaves what a cut takes.
#[derive(Debug)]
pub(crate) struct NextSegment {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    slot: Arc<Mutex<Slot>>,
}

#[derive(Debug)]
enum Slot {
    Empty,
    InTheMaking,
    Ready(Blank),
    /// Not tried again before the next cut.
    Failed,
    Closed,
}

fn hold(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NextSegment {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, segment_bytes: u64) -> Self {
        let slot = Arc::new(Mutex::new(Slot::Empty));
        Self { disk, dir: dir.to_owned(), segment_bytes, slot }
    }

    /// The work of making the next segment, unless it is done or somebody is at it.
    pub(crate) fn job(&self) -> Option<NextSegmentJob> {
        let mut slot = hold(&self.slot);
        if !matches!(*slot, Slot::Empty) {
            return None;
        }
        *slot = Slot::InTheMaking;
        Some(NextSegmentJob {
            disk: Arc::clone(&self.disk),
            path: self.dir.join(AHEAD),
            segment_bytes: self.segment_bytes,
            slot: Arc::clone(&self.slot),
        })
    }

    /// What is ready, or one made now and only reserved.
    pub(crate) fn take(&self) -> Result<Blank, Error> {
        let mut slot = hold(&self.slot);
        if matches!(*slot, Slot::Ready(_) | Slot::Failed)
            && let Slot::Ready(blank) = std::mem::replace(&mut *slot, Slot::Empty)
        {
            return Ok(blank);
        }
        drop(slot);
        let path = self.dir.join(AT_ONCE);
        let file = reserve(&*self.disk, &path, self.segment_bytes)?;
        Ok(Blank { file, path, written_to: 0 })
    }
}

impl Drop for NextSegment {
    fn drop(&mut self) {
        let last = std::mem::replace(&mut *hold(&self.slot), Slot::Closed);
        if let Slot::Ready(blank) = last {
            // A leftover does no harm: the next log makes it anew.
            let _ = self.disk.remove_file(&blank.path);
        }
    }
}

/// Makes the next segment: reserves it and writes zeros through it, because a sync that must
/// also record that space is now in use takes half as long again. May run on any thread.
#[derive(Debug)]
pub struct NextSegmentJob {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    segment_bytes: u64,
    slot: Arc<Mutex<Slot>>,
}

impl NextSegmentJob {
    /// Does it. A failure costs nothing: the log then makes the segment when it needs it.
    pub fn run(self) -> Result<(), Error> {
        let made = self.make();
        let mut slot = hold(&self.slot);
        match (made, &*slot) {
            (Ok(Some(blank)), Slot::InTheMaking) => *slot = Slot::Ready(blank),
            (Ok(_), _) => {
                let _ = self.disk.remove_file(&self.path);
            }
            (Err(error), Slot::InTheMaking) => {
                *slot = Slot::Failed;
                return Err(error);
            }
            (Err(error), _) => return Err(error),
        }
        Ok(())
    }

    /// `None` where the log was closed meanwhile.
    fn make(&self) -> Result<Option<Blank>, Error> {
        let file = reserve(&*self.disk, &self.path, self.segment_bytes)?;
        let zeros = vec![0; PIECE];
        let mut offset = 0;
        while offset < self.segment_bytes {
            if matches!(*hold(&self.slot), Slot::Closed) {
                return Ok(None);
            }
            let piece = (self.segment_bytes - offset).min(PIECE as u64) as usize;
            let written =
                file.write_all_at(&zeros[..piece], offset).and_then(|()| file.sync_data());
            if let Err(source) = written {
                let _ = self.disk.remove_file(&self.path);
                return Err(Error::io("write", &self.path)(source));
            }
            offset += piece as u64;
        }
        let path = self.path.clone();
        Ok(Some(Blank { file, path, written_to: self.segment_bytes }))
    }
}

impl Drop for NextSegmentJob {
    fn drop(&mut self) {
        let mut slot = hold(&self.slot);
        if matches!(*slot, Slot::InTheMaking) {
            *slot = Slot::Empty;
        }
    }
}

/// An empty, locked file with space reserved. The lock also keeps a job of a log that was closed
/// from writing into what a newer log has made its own.
fn reserve(disk: &dyn Disk, path: &Path, segment_bytes: u64) -> Result<Arc<dyn File>, Error> {
    let file = disk.open(path, Access::Create).map_err(Error::io("create", path))?;
    file.try_lock_segment().map_err(Error::io(LOCK, path))?;
    let reserved: io::Result<()> = file.set_len(0).and_then(|()| file.allocate(segment_bytes));
    if let Err(source) = reserved {
        let _ = disk.remove_file(path);
        return Err(Error::io("reserve space for", path)(source));
    }
    Ok(file)
}

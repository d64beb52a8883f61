use std::io;
use std::path::Path;

use crate::Random;

/// The kinds of calls that a fault can be planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `Disk::open`.
    Open,
    /// `Disk::list` and `Disk::exists`.
    List,
    /// `Disk::create_dir_all`, and `Disk::open` where it makes a file.
    Create,
    /// `Disk::rename`; the path is the one before the rename.
    Rename,
    /// `Disk::remove_file` and `Disk::remove_dir_all`.
    Remove,
    /// `Disk::sync_dir`.
    SyncDir,
    /// `File::read_at`.
    Read,
    /// `File::write_all_at`.
    Write,
    /// `File::sync_data`; when it fails the dirty data is dropped, and the next sync succeeds.
    SyncData,
    /// `File::set_len` and `File::allocate`.
    SetLen,
}

impl Call {
    fn changes(self) -> bool {
        !matches!(self, Call::Open | Call::List | Call::Read)
    }
}

/// What to do with a call.
#[derive(Debug)]
pub(super) enum Verdict {
    Go,
    /// Fail; what the call would have changed may have happened in part.
    Fail(io::Error),
    /// The power is cut in this call: it fails, and it happened wholly or not at all.
    Cut {
        happened: bool,
    },
}

#[derive(Debug)]
struct Planned {
    call: Call,
    path_part: String,
    skip: u64,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    planned: Vec<Planned>,
    changes_left: Option<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) changes: u64,
    off: bool,
}

impl Faults {
    pub(super) fn plan(&mut self, call: Call, path_part: &str, skip: u64) {
        self.planned.push(Planned { call, path_part: path_part.to_owned(), skip });
    }

    pub(super) fn cut_after(&mut self, changes: u64) {
        self.changes_left = Some(changes);
    }

    pub(super) fn forget(&mut self) {
        self.planned.clear();
        (self.changes_left, self.capacity) = (None, None);
    }

    pub(super) fn cut_now(&mut self) {
        self.off = true;
    }

    pub(super) fn is_off(&self) -> bool {
        self.off
    }

    pub(super) fn judge(&mut self, call: Call, path: &Path, random: &mut Random) -> Verdict {
        if self.off {
            return Verdict::Fail(power_cut());
        }
        if call.changes() {
            self.changes += 1;
            match &mut self.changes_left {
                Some(0) => {
                    self.off = true;
                    return Verdict::Cut { happened: random.chance(1, 2) };
                }
                Some(left) => *left -= 1,
                None => {}
            }
        }
        let matches = |planned: &Planned| {
            planned.call == call && path.to_string_lossy().contains(&planned.path_part)
        };
        let mut failed = None;
        for (at, planned) in self.planned.iter_mut().enumerate() {
            if matches(planned) {
                match planned.skip.checked_sub(1) {
                    Some(left) => planned.skip = left,
                    None => failed = Some(at),
                }
            }
        }
        match failed {
            Some(at) => {
                self.planned.remove(at);
                Verdict::Fail(input_output())
            }
            None => Verdict::Go,
        }
    }
}

pub(super) fn power_cut() -> io::Error {
    io::Error::other("simulated power cut")
}

fn input_output() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

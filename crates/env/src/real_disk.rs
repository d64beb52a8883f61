use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, fcntl};
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

use crate::disk::{Access, Disk, File};

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).mode(0o600);
        match access {
            Access::Read => {}
            Access::ReadWrite => {
                options.write(true);
            }
            Access::Create => {
                options.write(true).create(true).truncate(false);
            }
        }
        Ok(Arc::new(RealFile { file: options.open(path)? }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            // A name that is not UTF-8 is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.len()? >= len {
            return Ok(());
        }
        loop {
            match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                Err(rustix::io::Errno::INTR) => {}
                // A file system that cannot reserve still can grow.
                Err(rustix::io::Errno::OPNOTSUPP) => return self.set_len(len),
                other => return Ok(other?),
            }
        }
    }

    fn try_lock_segment(&self) -> io::Result<()> {
        let whole = nix::libc::flock {
            l_type: nix::libc::F_WRLCK as _,
            l_whence: nix::libc::SEEK_SET as _,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole)) {
            // A file system without such locks may still have the other kind; etcd does the same.
            Err(nix::errno::Errno::EINVAL | nix::errno::Errno::EOPNOTSUPP) => self.try_lock_db(),
            // POSIX lets a held lock be told in two ways.
            Err(nix::errno::Errno::EACCES) => Err(io::ErrorKind::WouldBlock.into()),
            other => Ok(other.map(|_| ())?),
        }
    }

    fn try_lock_db(&self) -> io::Result<()> {
        Ok(flock(&self.file, FlockOperation::NonBlockingLockExclusive)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct TempDir(std::path::PathBuf);

    impl TempDir {
        fn new(name: &str) -> Self {
            let name = format!("pintle-env-{name}-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            RealDisk.create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_segment_lock_outlives_other_handles_of_the_same_file() {
        let dir = TempDir::new("ofd");
        let path = dir.0.join("f");
        let holder = RealDisk.open(&path, Access::Create).unwrap();
        holder.try_lock_segment().unwrap();
        holder.try_lock_segment().unwrap();
        let other = RealDisk.open(&path, Access::ReadWrite).unwrap();
        assert_eq!(other.try_lock_segment().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(other);
        let other = RealDisk.open(&path, Access::ReadWrite).unwrap();
        assert_eq!(other.try_lock_segment().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        other.try_lock_db().unwrap();
        drop(holder);
        other.try_lock_segment().unwrap();
    }

    #[test]
    fn a_file_reads_back_what_was_written_and_zeros_between() {
        let dir = TempDir::new("file");
        let file = RealDisk.open(&dir.0.join("f"), Access::Create).unwrap();
        file.write_all_at(b"ab", 4).unwrap();
        file.allocate(4096).unwrap();
        file.sync_data().unwrap();
        RealDisk.sync_dir(&dir.0).unwrap();
        let mut bytes = [9; 7];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"\0\0\0\0ab\0");
        assert_eq!(file.len().unwrap(), 4096);
        file.set_len(5).unwrap();
        assert_eq!(file.read_at(&mut bytes, 4).unwrap(), 1);
        assert_eq!(RealDisk.list(&dir.0).unwrap(), ["f"]);
    }
}

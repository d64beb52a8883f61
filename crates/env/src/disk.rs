use std::io;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It must exist; writes fail.
    Read,
    /// It must exist; reads and writes.
    ReadWrite,
    /// Reads and writes; made (empty, mode 0600) where it is missing.
    Create,
}

/// A file system as much as a database needs one.
///
/// Durability is the honest minimum: bytes written are durable after [`File::sync_data`] returns,
/// names (made, renamed, removed) after [`Disk::sync_dir`] on their directory returns. Before
/// that a crash may keep all, some or none of them.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Opens a file. A missing one is `NotFound`.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>>;
    /// Makes a directory and all above it, mode 0700. One that exists is fine.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Whether a file or directory stands there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Renames a file or directory over `to` (a file at `to` is replaced).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// An open file; all calls may be made from any thread.
pub trait File: Send + Sync + std::fmt::Debug {
    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`; the file grows as needed, a gap reads as zeros.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the bytes written so far (and the file's length) durable.
    fn sync_data(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the length is zero.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or grows (with zeros) to this length.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves space so that the file is at least `len` long; what is new reads as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Takes the exclusive lock that a WAL segment needs (Linux: open file description lock on
    /// the whole file); `WouldBlock` where another process holds it. Kept until the file closes.
    fn try_lock_segment(&self) -> io::Result<()>;
    /// Takes the exclusive lock that a db file needs (`flock`); `WouldBlock` where another
    /// process holds it. Kept until the file closes.
    fn try_lock_db(&self) -> io::Result<()>;

    /// Reads exactly `buf.len()` bytes at `offset`, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let read = self.read_at(&mut buf[done..], offset + done as u64)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            done += read;
        }
        Ok(())
    }
}

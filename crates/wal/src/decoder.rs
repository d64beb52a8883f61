//! Reads records out of segments: frames, the crc chain, and the difference between a write that
//! was cut off and bytes that went bad.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::{Access, Disk, File};
use proto::{Message, walpb};

use crate::error::Error;
use crate::record::{FRAME_HEADER, Kind};
use crate::segment::{self, Found};

/// A disk writes this much as a whole.
const SECTOR: u64 = 512;
const WINDOW: usize = 256 << 10;

/// A record with a valid crc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub kind: Kind,
    pub crc: u32,
    pub data: Bytes,
}

/// Reads segments one after the other as one chain of records.
#[derive(Debug)]
pub struct Decoder {
    /// The one being read is at the front; the last one stays after its end.
    segments: VecDeque<Segment>,
    /// Where the last valid record ends.
    offset: u64,
    /// The longest record of the segment that is being read.
    longest: u64,
    crc: u32,
}

#[derive(Debug)]
struct Segment {
    name: String,
    len: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Bytes(Bytes),
    File { file: Arc<dyn File>, window: Vec<u8>, start: u64 },
}

impl Decoder {
    /// Reads everything in a directory that hangs together, without locks: the log may be in use.
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, Error> {
        Self::of_names(disk, dir, &segment::unbroken(segment::list(disk, dir)?))
    }

    /// Reads segments that are in memory; `names` are for messages.
    pub fn of_bytes(segments: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        let segments = segments.into_iter().map(|(name, bytes)| Segment {
            name,
            len: bytes.len() as u64,
            source: Source::Bytes(bytes),
        });
        Self { segments: segments.collect(), offset: 0, longest: 0, crc: 0 }
    }

    pub(crate) fn of_names(disk: &dyn Disk, dir: &Path, names: &[Found]) -> Result<Self, Error> {
        let mut files = Vec::with_capacity(names.len());
        for found in names {
            let path = dir.join(&found.name);
            let file = disk.open(&path, Access::Read).map_err(Error::io("open", &path))?;
            files.push((found.name.clone(), file));
        }
        Self::of_files(dir, files)
    }

    pub(crate) fn of_files(
        dir: &Path,
        files: impl IntoIterator<Item = (String, Arc<dyn File>)>,
    ) -> Result<Self, Error> {
        let mut segments = VecDeque::new();
        for (name, file) in files {
            let len = file.len().map_err(Error::io("read the length of", &dir.join(&name)))?;
            let source = Source::File { file, window: Vec::new(), start: 0 };
            segments.push_back(Segment { name, len, source });
        }
        Ok(Self { segments, offset: 0, longest: 0, crc: 0 })
    }

    /// Where the last valid record ends, in the segment that is being read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The length of the longest record of the segment that is being read.
    pub(crate) fn longest(&self) -> u64 {
        self.longest
    }

    /// The running crc.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The name of the segment that is being read; the last one's after the end.
    pub fn segment(&self) -> &str {
        self.segments.front().map_or("", |segment| &segment.name)
    }

    /// The next record; `None` at the clean end of the log.
    #[expect(clippy::should_implement_trait, reason = "after an error there is no next record")]
    pub fn next(&mut self) -> Result<Option<Record>, Error> {
        let Some((body_len, padding)) = self.next_frame()? else { return Ok(None) };
        let frame_len = (body_len + padding) as usize;
        let frame = self.read(self.offset + FRAME_HEADER as u64, frame_len)?;
        let body = frame.slice(..(body_len as usize).min(frame.len()));
        let record = match walpb::Record::decode(body) {
            Ok(record) => record,
            Err(_) if self.is_torn(&frame) => return Err(self.unexpected_eof()),
            Err(source) => return Err(self.undecodable("a record", source)),
        };
        let kind = Kind::from(record.r#type.unwrap_or_default());
        let crc = record.crc.unwrap_or_default();
        let data = record.data.unwrap_or_default();
        if kind == Kind::Crc {
            // A running crc of 0 means that the chain begins here.
            if self.crc != 0 && self.crc != crc {
                return Err(self.mismatch());
            }
            self.crc = crc;
        } else {
            let running = crc32c::crc32c_append(self.crc, &data);
            if running != crc {
                return Err(match self.is_torn(&frame) {
                    true => self.unexpected_eof(),
                    false => self.mismatch(),
                });
            }
            self.crc = running;
        }
        let len = (FRAME_HEADER + frame_len) as u64;
        self.offset += len;
        self.longest = self.longest.max(len);
        Ok(Some(Record { kind, crc, data }))
    }

    /// The length of the next record and of its padding.
    fn next_frame(&mut self) -> Result<Option<(u64, u64)>, Error> {
        loop {
            let Some(segment) = self.segments.front() else { return Ok(None) };
            let left = segment.len.saturating_sub(self.offset);
            let field = match left {
                0 => 0,
                _ if left < FRAME_HEADER as u64 => return Err(self.unexpected_eof()),
                _ => {
                    let header = self.read(self.offset, FRAME_HEADER)?;
                    u64::from_le_bytes(header.as_ref().try_into().unwrap_or_default())
                }
            };
            if field == 0 {
                // The end of the file, or space that was reserved and not used yet.
                if self.segments.len() == 1 {
                    return Ok(None);
                }
                self.segments.pop_front();
                self.offset = 0;
                self.longest = 0;
                continue;
            }
            let body = field & (u64::MAX >> 8);
            let padding = if field >> 63 == 1 { field >> 56 & 7 } else { 0 };
            if body + padding > left - FRAME_HEADER as u64 {
                return Err(self.unexpected_eof());
            }
            return Ok(Some((body, padding)));
        }
    }

    /// Bytes that are known to be within the segment.
    fn read(&mut self, offset: u64, len: usize) -> Result<Bytes, Error> {
        let eof = || Error::UnexpectedEof { segment: String::new(), offset };
        let segment = self.segments.front_mut().ok_or_else(eof)?;
        segment.read(offset, len)
    }

    /// Whether a bad frame at the end of the log was never written to its end: then a sector of
    /// it still has the zeros that were there before.
    fn is_torn(&self, frame: &[u8]) -> bool {
        if self.segments.len() != 1 {
            return false;
        }
        let start = self.offset + FRAME_HEADER as u64;
        let in_first = ((SECTOR - start % SECTOR) as usize).min(frame.len());
        let (first, rest) = frame.split_at(in_first);
        let is_zero = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
        (!first.is_empty() && is_zero(first)) || rest.chunks(SECTOR as usize).any(is_zero)
    }

    fn place(&self) -> (String, u64) {
        (self.segment().to_owned(), self.offset)
    }

    fn unexpected_eof(&self) -> Error {
        let (segment, offset) = self.place();
        Error::UnexpectedEof { segment, offset }
    }

    fn mismatch(&self) -> Error {
        let (segment, offset) = self.place();
        Error::Crc { segment, offset }
    }

    /// A record at the current place turned out not to be what it says.
    pub(crate) fn undecodable(&self, what: &'static str, source: proto::DecodeError) -> Error {
        let (segment, offset) = self.place();
        Error::Decode { what, segment, offset, source }
    }

    pub(crate) fn unknown(&self, kind: i64) -> Error {
        let (segment, offset) = self.place();
        Error::UnknownKind { kind, segment, offset }
    }
}

impl Segment {
    fn read(&mut self, offset: u64, len: usize) -> Result<Bytes, Error> {
        let (file, window, start) = match &mut self.source {
            Source::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let end = start.saturating_add(len).min(bytes.len());
                return Ok(bytes.slice(start..end));
            }
            Source::File { file, window, start } => (file, window, start),
        };
        let failed = |source| Error::Io { action: "read", path: self.name.clone().into(), source };
        if len > WINDOW {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, offset).map_err(failed)?;
            return Ok(bytes.into());
        }
        let within = |start: u64| usize::try_from(offset.checked_sub(start)?).ok();
        let cached = within(*start).and_then(|at| window.get(at..at.checked_add(len)?));
        if let Some(cached) = cached {
            return Ok(Bytes::copy_from_slice(cached));
        }
        let size = (self.len.saturating_sub(offset)).min(WINDOW as u64) as usize;
        window.resize(size, 0);
        *start = offset;
        file.read_exact_at(window, offset).map_err(failed)?;
        Ok(Bytes::copy_from_slice(window.get(..len).unwrap_or_default()))
    }
}

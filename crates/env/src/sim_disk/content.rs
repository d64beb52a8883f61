use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Random;

/// What a disk writes as a whole: a torn write ends at such a border.
pub(super) const SECTOR: u64 = 512;
const PAGE: usize = 4096;

/// Bytes of a file; pages of zeros cost nothing, so that preallocated segments stay cheap.
#[derive(Debug, Clone, Default)]
pub(super) struct Bytes {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Bytes {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let wanted = (buf.len() as u64).min(self.len.saturating_sub(offset)) as usize;
        let mut done = 0;
        while done < wanted {
            let (page, within) = split(offset + done as u64);
            let part = (PAGE - within).min(wanted - done);
            match self.pages.get(&page) {
                Some(bytes) => {
                    buf[done..done + part].copy_from_slice(&bytes[within..within + part]);
                }
                None => buf[done..done + part].fill(0),
            }
            done += part;
        }
        wanted
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        self.put(bytes, offset);
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (page, within) = split(len);
            self.pages.split_off(&(page + u64::from(within > 0)));
            if let Some(last) = self.pages.get_mut(&page) {
                Arc::make_mut(last)[within..].fill(0);
            }
        }
        self.len = len;
    }

    /// Puts bytes without moving the length.
    fn put(&mut self, bytes: &[u8], offset: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, within) = split(offset + done as u64);
            let part = (PAGE - within).min(bytes.len() - done);
            let from = &bytes[done..done + part];
            if from.iter().any(|byte| *byte != 0) || self.pages.contains_key(&page) {
                let to = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
                Arc::make_mut(to)[within..within + part].copy_from_slice(from);
            }
            done += part;
        }
    }

    /// Zeros one sector from `from` (an offset in it) on.
    fn zero_sector(&mut self, sector: u64, from: u64) {
        let start = from.max(sector * SECTOR);
        let zeros = [0; SECTOR as usize];
        let count = ((sector + 1) * SECTOR - start) as usize;
        self.put(&zeros[..count], start);
    }

    /// The sectors at or after an offset that hold anything.
    fn sectors_from(&self, offset: u64) -> Vec<u64> {
        let per_page = PAGE as u64 / SECTOR;
        let first = offset / SECTOR;
        self.pages
            .range(first / per_page..)
            .flat_map(|(page, _)| page * per_page..(page + 1) * per_page)
            .filter(|sector| *sector >= first)
            .collect()
    }
}

fn split(offset: u64) -> (u64, usize) {
    (offset / PAGE as u64, (offset % PAGE as u64) as usize)
}

/// One change of a file that no sync has made durable.
#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

impl Change {
    fn apply(&self, to: &mut Bytes) {
        match self {
            Change::Write { offset, bytes } => to.write(bytes, *offset),
            Change::SetLen(len) => to.set_len(*len),
        }
    }
}

/// A file as the running machine sees it, and what of it the disk really has.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    cached: Bytes,
    durable: Bytes,
    unsynced: Vec<Change>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.cached.len()
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        self.cached.read(buf, offset)
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        self.cached.write(bytes, offset);
        self.unsynced.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len != self.cached.len() {
            self.cached.set_len(len);
            self.unsynced.push(Change::SetLen(len));
        }
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync that failed: some of the dirty data reached the disk, the rest is forgotten, and
    /// the machine goes on to read what the disk does not have (as Linux does).
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        self.durable = self.survivor(random);
        self.unsynced.clear();
    }

    /// Changes one bit, on the disk and in memory.
    pub(super) fn flip(&mut self, bit: u64) {
        for bytes in [&mut self.cached, &mut self.durable] {
            let mut byte = [0];
            if bytes.read(&mut byte, bit / 8) == 1 {
                bytes.put(&[byte[0] ^ (1 << (bit % 8))], bit / 8);
            }
        }
    }

    /// The file after a power cut.
    pub(super) fn after_power_cut(&self, random: &mut Random) -> Content {
        let survived = self.survivor(random);
        Content { cached: survived.clone(), durable: survived, unsynced: Vec::new() }
    }

    fn survivor(&self, random: &mut Random) -> Bytes {
        let all = self.unsynced.len();
        let mut survived = self.durable.clone();
        let kept = match random.below(4) {
            0 => 0,
            1 => all,
            2 => random.index(all + 1),
            _ => return self.torn(random),
        };
        for change in &self.unsynced[..kept] {
            change.apply(&mut survived);
        }
        survived
    }

    /// Each sector on its own keeps one of the states that it had since the last sync, and so
    /// does the length. A cut that the length remembers has also reached the sectors behind it.
    fn torn(&self, random: &mut Random) -> Bytes {
        let all = self.unsynced.len();
        let kept_len = random.index(all + 1);
        let mut survived = self.durable.clone();
        let mut len = survived.len();
        let mut end = survived.len();
        let mut cuts = Vec::new();
        for (at, change) in self.unsynced.iter().enumerate() {
            match change {
                Change::Write { offset, bytes } => end = end.max(offset + bytes.len() as u64),
                Change::SetLen(to) => {
                    if *to < end && at < kept_len {
                        cuts.push((to / SECTOR, at + 1));
                    }
                    end = *to;
                }
            }
            if at + 1 == kept_len {
                len = end;
            }
        }
        let mut kept: BTreeMap<u64, usize> = BTreeMap::new();
        let mut keeps = |sector: u64, at: usize| {
            let chosen = kept.entry(sector).or_insert_with(|| {
                let least = cuts.iter().filter(|(from, _)| sector >= *from).map(|(_, at)| *at);
                let least = least.max().unwrap_or(0);
                match random.below(4) {
                    0 => least,
                    1 => all,
                    _ => least + random.index(all + 1 - least),
                }
            });
            at < *chosen
        };
        for (at, change) in self.unsynced.iter().enumerate() {
            match change {
                Change::Write { offset, bytes } => {
                    for (start, part) in by_sector(bytes, *offset) {
                        if keeps(start / SECTOR, at) {
                            survived.put(part, start);
                        }
                    }
                }
                Change::SetLen(to) => {
                    for sector in survived.sectors_from(*to) {
                        if keeps(sector, at) {
                            survived.zero_sector(sector, *to);
                        }
                    }
                }
            }
        }
        // What lies behind the length that survived is gone.
        survived.len = u64::MAX;
        survived.set_len(len);
        survived
    }
}

/// A write in the pieces that a disk keeps or loses as a whole.
fn by_sector(mut bytes: &[u8], mut offset: u64) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let part = ((SECTOR - offset % SECTOR) as usize).min(bytes.len());
        let (piece, rest) = bytes.split_at(part);
        let start = offset;
        bytes = rest;
        offset += part as u64;
        Some((start, piece))
    })
}

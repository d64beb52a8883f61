//! When the db file is made smaller, unasked.
//!
//! Free pages are what the next commits write on: a file that grew to its size will mostly do so
//! again. So this waits until a good part of the file has been free for a while, moves its end
//! down in small steps with pauses between, and leaves some room in the end.

use std::time::Duration;

/// Free bytes that are not worth the trouble.
pub(crate) const LEAST_BYTES: u64 = 32 << 20;
/// Pages that one step moves: a millisecond or so of writing. To find them a step looks at all
/// branches, so it moves more where there are many.
const STEP_PAGES: std::ops::RangeInclusive<u64> = 64..=256;
const PAGES_PER_STEP_PAGE: u64 = 2048;

/// So long the pages must have been free: what one compaction or one big delete lets go may be
/// needed again at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// The least pause between two steps, for the syncs of others.
const PAUSE: Duration = Duration::from_millis(50);
/// A pause is so many times as long as the step before it took.
const REST: u32 = 4;
/// When it is tried again where nothing more could be moved (a reader holds the pages, or nothing
/// fits) or the disk was full.
const RETRY: Duration = Duration::from_secs(600);

/// Decides when steps of the vacuum are due, and takes them. It has no thread and no clock.
#[derive(Debug)]
pub(crate) struct Vacuum {
    least_bytes: u64,
    /// Since when there has been enough to do.
    wanted_since: Option<Duration>,
    not_before: Duration,
    round: Option<Round>,
    /// The file has a page that cannot be read: nothing is moved any more.
    given_up: bool,
}

/// The file is being made smaller.
#[derive(Debug)]
struct Round {
    begun: Duration,
    size_before: u64,
    moved_pages: u64,
    next_step: Duration,
}

impl Vacuum {
    /// One that does not care for less than this many free bytes.
    pub(crate) fn new(least_bytes: u64) -> Self {
        Self {
            least_bytes,
            wanted_since: None,
            not_before: Duration::ZERO,
            round: None,
            given_up: false,
        }
    }

    /// When the next step is due. To be asked again after every commit: `None`, or a time that
    /// passes, means that there is nothing to do for now.
    pub(crate) fn due(&mut self, now: Duration, db: &bolt::Db) -> Option<Duration> {
        if self.given_up {
            return None;
        }
        if let Some(round) = &self.round {
            return Some(round.next_step);
        }
        let (size, free) = sizes(db);
        if free < self.least_bytes || free < size / 4 {
            self.wanted_since = None;
            return None;
        }
        let since = *self.wanted_since.get_or_insert(now);
        Some((since + PATIENCE).max(self.not_before))
    }

    /// Takes a step if one is due; whether it did. An error means that the file cannot be
    /// written.
    pub(crate) fn step(
        &mut self,
        db: &bolt::Db,
        now: impl Fn() -> Duration,
    ) -> Result<bool, bolt::Error> {
        let begun = now();
        if self.due(begun, db).is_none_or(|due| due > begun) {
            return Ok(false);
        }
        let mut round = self.round.take().unwrap_or_else(|| Round::begin(begun, db));
        let step = match db.vacuum(step_pages(db)) {
            Ok(step) => step,
            Err(error) => return self.failed(error, begun).map(|()| true),
        };
        round.moved_pages += step.moved_pages;
        let ended = now();
        let (size, free) = sizes(db);
        if free < size / 8 || free < self.least_bytes / 2 {
            self.end(round, ended, db);
        } else if !step.more {
            self.not_before = ended + RETRY;
            self.end(round, ended, db);
        } else {
            round.next_step = ended + PAUSE.max((ended - begun) * REST);
            self.round = Some(round);
        }
        Ok(true)
    }

    fn end(&mut self, round: Round, now: Duration, db: &bolt::Db) {
        self.wanted_since = None;
        let (size, free) = sizes(db);
        tracing::info!(
            "moved-pages" = round.moved_pages,
            "current-db-size-bytes-diff" = size as i64 - round.size_before as i64,
            "current-db-size-bytes" = size,
            "current-db-size-in-use-bytes" = size - free,
            took = ?(now - round.begun),
            "finished background vacuum of the db file"
        );
    }

    fn failed(&mut self, error: bolt::Error, now: Duration) -> Result<(), bolt::Error> {
        self.wanted_since = None;
        if error.is_disk_full() {
            tracing::warn!(error = %error, "background vacuum of the db file has to wait");
            self.not_before = now + RETRY;
            return Ok(());
        }
        if error.is_write_failure() {
            return Err(error);
        }
        // Whoever needs what cannot be read will be told; the rest of the file still serves.
        tracing::error!(error = %error, "background vacuum of the db file has stopped");
        self.given_up = true;
        Ok(())
    }
}

impl Round {
    fn begin(now: Duration, db: &bolt::Db) -> Self {
        let (size, free) = sizes(db);
        tracing::info!(
            "current-db-size-bytes" = size,
            "current-db-size-in-use-bytes" = size - free,
            "starting background vacuum of the db file"
        );
        Self { begun: now, size_before: size, moved_pages: 0, next_step: now }
    }
}

/// How many pages a step moves in this file.
pub(crate) fn step_pages(db: &bolt::Db) -> usize {
    let used = db.size_in_use() / db.page_size() as u64;
    (used / PAGES_PER_STEP_PAGE).clamp(*STEP_PAGES.start(), *STEP_PAGES.end()) as usize
}

/// The file's size, and how much of it is free.
fn sizes(db: &bolt::Db) -> (u64, u64) {
    let size = db.size();
    (size, size.saturating_sub(db.size_in_use()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;
    use std::sync::Arc;

    use bytes::Bytes;
    use env::{Call, SimDisk};

    use super::*;

    const LEAST: u64 = 256 << 10;

    /// A file of a few MiB, a key to a page.
    fn filled(disk: &SimDisk) -> bolt::Db {
        let options = bolt::Options { grow_bytes: 0, cache_bytes: 0, ..Default::default() };
        let db = bolt::Db::open(Arc::new(disk.clone()), Path::new("/db"), options).expect("a db");
        let mut tx = db.write();
        tx.create_bucket(b"b").expect("a bucket");
        tx.commit().expect("a commit");
        put(&db, 0..1000);
        db
    }

    fn put(db: &bolt::Db, keys: std::ops::Range<u32>) {
        let mut tx = db.write();
        for key in keys {
            let value = Bytes::from(vec![1; 3000]);
            tx.put(b"b", Bytes::from(key.to_be_bytes().to_vec()), value).expect("a put");
        }
        tx.commit().expect("a commit");
    }

    fn delete(db: &bolt::Db, keys: std::ops::Range<u32>) {
        let mut tx = db.write();
        for key in keys {
            tx.delete(b"b", &key.to_be_bytes()).expect("a deletion");
        }
        tx.commit().expect("a commit");
    }

    /// Lets so much time pass; how many steps were taken.
    fn run(vacuum: &mut Vacuum, db: &bolt::Db, now: &mut Duration, until: Duration) -> usize {
        let mut steps = 0;
        while let Some(due) = vacuum.due(*now, db).filter(|due| *due <= until) {
            *now = due.max(*now);
            assert!(vacuum.step(db, || *now).expect("the disk is sound"), "it was due");
            steps += 1;
        }
        *now = until;
        steps
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_file_that_was_emptied_shrinks_after_a_while_and_keeps_some_room() {
        let db = filled(&SimDisk::new(1));
        let mut vacuum = Vacuum::new(LEAST);
        let mut now = Duration::ZERO;
        assert_eq!(run(&mut vacuum, &db, &mut now, 100 * SECOND), 0, "it is full");
        delete(&db, 100..800);
        let before = db.size();
        assert_eq!(run(&mut vacuum, &db, &mut now, 129 * SECOND), 0, "too early");
        assert_eq!(db.size(), before);
        let steps = run(&mut vacuum, &db, &mut now, 300 * SECOND);
        assert!((3..20).contains(&steps), "{steps}");
        let (size, free) = sizes(&db);
        assert!(size < before / 2 && free < size / 6, "{size} {free}");
        assert_eq!(db.check(), []);
    }

    #[test]
    fn what_is_soon_written_on_again_stays() {
        let db = filled(&SimDisk::new(2));
        let mut vacuum = Vacuum::new(LEAST);
        let mut now = Duration::ZERO;
        let size = db.size();
        for round in 1..20 {
            delete(&db, 100..800);
            assert_eq!(run(&mut vacuum, &db, &mut now, round * 50 * SECOND - 25 * SECOND), 0);
            put(&db, 100..800);
            assert_eq!(run(&mut vacuum, &db, &mut now, round * 50 * SECOND), 0);
        }
        assert!(db.size() <= size * 5 / 4, "{} {size}", db.size());
    }

    #[test]
    fn what_a_reader_holds_is_tried_again_much_later() {
        let db = filled(&SimDisk::new(3));
        let mut vacuum = Vacuum::new(LEAST);
        let mut now = Duration::ZERO;
        let reader = db.read();
        delete(&db, 0..900);
        let before = db.size();
        let steps = run(&mut vacuum, &db, &mut now, 300 * SECOND);
        assert!(steps < 10, "{steps}");
        assert!(db.size() >= before);
        drop(reader);
        assert_eq!(run(&mut vacuum, &db, &mut now, 600 * SECOND), 0);
        assert!(run(&mut vacuum, &db, &mut now, 700 * SECOND) > 0);
        assert!(db.size() < before / 4);
    }

    #[test]
    fn a_long_step_makes_a_long_pause() {
        let db = filled(&SimDisk::new(4));
        let mut vacuum = Vacuum::new(LEAST);
        delete(&db, 0..900);
        assert_eq!(vacuum.due(Duration::ZERO, &db), Some(30 * SECOND));
        let now = Cell::new(30 * SECOND);
        let slow = || now.replace(now.get() + SECOND);
        assert!(vacuum.step(&db, slow).expect("the disk is sound"));
        // It began at 30 and ended at 31 seconds.
        assert_eq!(vacuum.due(now.get(), &db), Some(35 * SECOND));
    }

    #[test]
    fn a_failed_sync_ends_the_member_and_a_failed_read_only_the_vacuum() {
        let disk = SimDisk::new(5);
        let db = filled(&disk);
        delete(&db, 0..900);
        for (call, fatal) in [(Call::SyncData, true), (Call::Write, true), (Call::Read, false)] {
            let mut vacuum = Vacuum::new(LEAST);
            let due = vacuum.due(Duration::ZERO, &db).expect("much is free");
            disk.fail(call, "db", 0);
            assert_eq!(vacuum.step(&db, || due).is_err(), fatal, "{call:?}");
            if !fatal {
                assert_eq!(vacuum.due(due, &db), None);
            }
        }
    }
}

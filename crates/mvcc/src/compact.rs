use std::sync::Arc;

use bytes::Bytes;

use crate::hash::{HashKv, Hasher, Keep, LOOKUP_CHUNK, next_after};
use crate::record::RecordKey;
use crate::restore::{FINISHED_COMPACTION, SCHEDULED_COMPACTION, compaction, mark_compaction};
use crate::store::Shared;
use crate::{Error, Revision};

/// Keys that are trimmed in one hold of the index.
const INDEX_HOLD: usize = 128;

/// The work that a compaction leaves: dropping what nobody can read any more, first from the
/// index, then from the db file, in small steps by whoever has time.
///
/// ```text
///   schedule:  reads below fail from now on; the mark is in the backend
///   wait:      for reads that began before, and for the compaction before
///   index:     histories are trimmed, dead keys leave
///   records:   each record up to the revision is hashed, and deleted unless it is kept
///   done:      the second mark is in the backend; the hash is stored
/// ```
///
/// A job that is dropped half done is taken up when the store opens next, or done by the next
/// compaction.
#[derive(Debug)]
pub struct CompactJob {
    shared: Arc<Shared>,
    revision: i64,
    hasher: Hasher,
    /// The compaction before had finished, so the hash covers all that it should.
    stores_hash: bool,
    phase: Phase,
    deleted: usize,
}

#[derive(Debug)]
enum Phase {
    Waiting,
    /// Keys up to this one are done.
    Index(Option<Bytes>),
    /// Records before this one are done.
    Records {
        from: RecordKey,
        keeps_none: bool,
    },
    Done,
}

/// How far a compaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Somebody reads what is to go, or a compaction before this one is not finished: try again
    /// a little later.
    Waiting,
    /// There is more to do.
    More,
    /// All is done.
    Done,
}

impl CompactJob {
    pub(crate) fn schedule(shared: &Arc<Shared>, revision: i64) -> Result<Self, Error> {
        let previous = shared.compacted();
        if revision <= previous {
            return Err(Error::Compacted);
        }
        if revision > shared.current() {
            return Err(Error::FutureRevision);
        }
        let scheduled = compaction(&shared.backend, SCHEDULED_COMPACTION)?;
        let finished = compaction(&shared.backend, FINISHED_COMPACTION)?;
        mark_compaction(&shared.backend, SCHEDULED_COMPACTION, revision);
        shared.raise_compacted(revision);
        shared.compactions().push_back(revision);
        Ok(Self {
            shared: Arc::clone(shared),
            revision,
            hasher: Hasher::new(previous, revision),
            stores_hash: scheduled == finished,
            phase: Phase::Waiting,
            deleted: 0,
        })
    }

    /// The revision that is compacted to.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Whether histories are still being trimmed; the db file comes after.
    pub fn is_in_index(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Index(_))
    }

    /// Records deleted so far.
    pub fn deleted(&self) -> usize {
        self.deleted
    }

    /// The hash, once the job is done and if it is one that members can compare.
    pub fn hash(&self) -> Option<HashKv> {
        let done = matches!(self.phase, Phase::Done) && self.stores_hash;
        done.then(|| self.hasher.finish())
    }

    /// Does a part of the work: about `limit` keys or records. After an error the same part can
    /// be tried again.
    pub fn step(&mut self, limit: usize) -> Result<Progress, Error> {
        let limit = limit.max(1);
        match &mut self.phase {
            Phase::Waiting => {
                let is_next = self.shared.compactions().front() == Some(&self.revision);
                if !is_next || self.shared.is_pinned_below(self.revision) {
                    return Ok(Progress::Waiting);
                }
                self.phase = Phase::Index(None);
            }
            Phase::Index(after) => {
                let mut rest = after.clone();
                for _ in 0..limit.div_ceil(INDEX_HOLD) {
                    rest = self.shared.index_mut().compact(self.revision, rest, INDEX_HOLD);
                    if rest.is_none() {
                        break;
                    }
                }
                self.phase = match rest {
                    Some(after) => Phase::Index(Some(after)),
                    None => Phase::Records {
                        from: RecordKey::put(Revision::default()),
                        keeps_none: self.keeps_none()?,
                    },
                };
            }
            Phase::Records { from, keeps_none } => {
                let (from, keeps_none) = (*from, *keeps_none);
                self.phase = match self.step_records(from, keeps_none, limit)? {
                    Some(from) => Phase::Records { from, keeps_none },
                    None => self.conclude(),
                };
            }
            Phase::Done => {}
        }
        Ok(if matches!(self.phase, Phase::Done) { Progress::Done } else { Progress::More })
    }

    /// Whether nothing at all is kept: etcd's hash takes in everything then.
    fn keeps_none(&self) -> Result<bool, Error> {
        let lives = self.shared.count_all(self.revision) > 0;
        Ok(!lives && self.shared.deleted_in(self.revision)?.is_empty())
    }

    /// Hashes and deletes some records. Returns where to go on.
    fn step_records(
        &mut self,
        from: RecordKey,
        keeps_none: bool,
        limit: usize,
    ) -> Result<Option<RecordKey>, Error> {
        let records = self.shared.backend.scan(from, self.revision, limit)?;
        let mut verdicts = Vec::with_capacity(records.len());
        for chunk in records.chunks(LOOKUP_CHUNK) {
            let keep = Keep::CompactionAt(self.revision);
            verdicts.extend(self.shared.kept(chunk, keep, |_| true)?);
        }
        let mut dropped = Vec::new();
        for ((key, value), kept) in records.iter().zip(verdicts) {
            self.hasher.add(*key, value, kept || keeps_none);
            if !kept {
                dropped.push(*key);
            }
        }
        self.shared.backend.delete_records(&dropped);
        self.deleted += dropped.len();
        Ok(next_after(&records, limit))
    }

    fn conclude(&mut self) -> Phase {
        mark_compaction(&self.shared.backend, FINISHED_COMPACTION, self.revision);
        if self.stores_hash {
            self.shared.store_hash(self.hasher.finish());
        }
        self.leave_queue();
        Phase::Done
    }

    fn leave_queue(&self) {
        self.shared.compactions().retain(|revision| *revision != self.revision);
    }
}

impl Drop for CompactJob {
    fn drop(&mut self) {
        self.leave_queue();
    }
}

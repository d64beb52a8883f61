//! What was read, for those who may hear what is not the newest.
//!
//! An answer is forgotten when one of its keys is written through this proxy, before and after the
//! write. A read that was under way meanwhile may have seen what was before: it is not kept.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use crate::metrics;

/// Answers that are kept at most, as in etcd.
const ENTRIES: usize = 2048;
/// What they may take together.
const BYTES: usize = 64 << 20;
/// Writes that are remembered for reads that are under way.
const RECENT: usize = 256;

/// What an answer is found by: who asks, and what.
pub(crate) type Question = Bytes;

/// Keys from the first one on and below the second; an empty one stands for the key alone, and a
/// zero for no end.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) key: Bytes,
    pub(crate) range_end: Bytes,
}

impl Keys {
    fn reach_beyond(&self, key: &[u8]) -> bool {
        match &self.range_end[..] {
            [] => self.key >= key,
            [0] => true,
            end => end > key,
        }
    }

    fn overlap(&self, other: &Self) -> bool {
        self.reach_beyond(&other.key) && other.reach_beyond(&self.key)
    }
}

/// What there was when a read began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since(u64);

/// What the cache knows of a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Answer(Bytes),
    Compacted,
    Nothing,
}

#[derive(Debug, Default)]
pub(crate) struct Cache {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    answers: HashMap<Question, Answer>,
    by_use: BTreeMap<u64, Question>,
    /// Of answers that are not about the past.
    points: BTreeSet<(Bytes, Question)>,
    ranges: BTreeSet<(Bytes, Bytes, Question)>,
    uses: u64,
    bytes: usize,
    compacted: i64,
    writes: u64,
    recent: VecDeque<Keys>,
}

#[derive(Debug)]
struct Answer {
    reply: Bytes,
    used: u64,
    keys: Keys,
}

impl Cache {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn now(&self) -> Since {
        Since(self.inner().writes)
    }

    pub(crate) fn get(&self, question: &Question, revision: i64) -> Found {
        let mut inner = self.inner();
        if revision > 0 && revision < inner.compacted {
            inner.remove(question);
            metrics::CACHE_HITS.inc();
            return Found::Compacted;
        }
        match inner.touch(question) {
            Some(reply) => {
                metrics::CACHE_HITS.inc();
                Found::Answer(reply)
            }
            None => {
                metrics::CACHE_MISSES.inc();
                Found::Nothing
            }
        }
    }

    /// Keeps an answer, if no write came in its way.
    pub(crate) fn add(
        &self,
        question: Question,
        keys: Keys,
        revision: i64,
        reply: Bytes,
        since: Since,
    ) {
        let mut inner = self.inner();
        let size = size(&question, &reply);
        let is_old = revision > 0;
        if size > BYTES / 4 || (is_old && revision <= inner.compacted) {
            return;
        }
        if !is_old && inner.was_written(&keys, since) {
            return;
        }
        inner.remove(&question);
        if !is_old && keys.range_end.is_empty() {
            inner.points.insert((keys.key.clone(), question.clone()));
        } else if !is_old {
            inner.ranges.insert((keys.key.clone(), keys.range_end.clone(), question.clone()));
        }
        inner.uses += 1;
        let used = inner.uses;
        inner.by_use.insert(used, question.clone());
        inner.bytes += size;
        inner.answers.insert(question, Answer { reply, used, keys });
        while inner.answers.len() > ENTRIES || inner.bytes > BYTES {
            let Some((_, oldest)) = inner.by_use.first_key_value() else { break };
            let oldest = oldest.clone();
            inner.remove(&oldest);
        }
        inner.show();
    }

    /// Forgets what these keys have to do with, now and when the value goes.
    pub(crate) fn writing(&self, keys: Vec<Keys>) -> Writing<'_> {
        self.forget(&keys);
        Writing { cache: self, keys }
    }

    fn forget(&self, keys: &[Keys]) {
        let mut inner = self.inner();
        for keys in keys {
            for question in inner.about(keys) {
                inner.remove(&question);
            }
            inner.writes += 1;
            inner.recent.push_back(keys.clone());
            if inner.recent.len() > RECENT {
                inner.recent.pop_front();
            }
        }
        inner.show();
    }

    /// Nobody can read before this revision any more.
    pub(crate) fn compact(&self, revision: i64) {
        let mut inner = self.inner();
        inner.compacted = inner.compacted.max(revision);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut inner = self.inner();
        let fresh = Inner {
            compacted: inner.compacted,
            uses: inner.uses,
            // Nothing that is under way is kept either.
            writes: inner.writes + RECENT as u64 + 1,
            ..Inner::default()
        };
        *inner = fresh;
        inner.show();
    }
}

/// A write that is under way.
pub(crate) struct Writing<'a> {
    cache: &'a Cache,
    keys: Vec<Keys>,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.cache.forget(&self.keys);
    }
}

fn size(question: &Question, reply: &Bytes) -> usize {
    question.len() * 3 + reply.len() + 256
}

impl Inner {
    fn show(&self) {
        metrics::CACHE_KEYS.set(i64::try_from(self.answers.len()).unwrap_or(i64::MAX));
    }

    fn touch(&mut self, question: &Question) -> Option<Bytes> {
        self.uses += 1;
        let answer = self.answers.get_mut(question)?;
        self.by_use.remove(&answer.used);
        answer.used = self.uses;
        self.by_use.insert(self.uses, question.clone());
        Some(answer.reply.clone())
    }

    fn remove(&mut self, question: &Question) {
        let Some(Answer { reply, used, keys }) = self.answers.remove(question) else { return };
        self.by_use.remove(&used);
        self.bytes -= size(question, &reply);
        if keys.range_end.is_empty() {
            self.points.remove(&(keys.key, question.clone()));
        } else {
            self.ranges.remove(&(keys.key, keys.range_end, question.clone()));
        }
    }

    fn was_written(&self, keys: &Keys, since: Since) -> bool {
        let missed = self.writes.saturating_sub(since.0);
        let Ok(missed) = usize::try_from(missed) else { return true };
        missed > self.recent.len()
            || self.recent.iter().rev().take(missed).any(|written| written.overlap(keys))
    }

    fn about(&self, keys: &Keys) -> Vec<Question> {
        let from = (keys.key.clone(), Bytes::new());
        let points = self.points.range(from..);
        let points = points.take_while(|(key, _)| keys.reach_beyond(key));
        let ranges = self.ranges.iter().filter(|(key, range_end, _)| {
            keys.overlap(&Keys { key: key.clone(), range_end: range_end.clone() })
        });
        points.map(|(_, it)| it.clone()).chain(ranges.map(|(.., it)| it.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: &'static str, end: &'static str) -> Keys {
        Keys { key: Bytes::from(key), range_end: Bytes::from(end) }
    }

    fn question(key: &'static str, end: &'static str) -> Question {
        Bytes::from(format!("{key}|{end}"))
    }

    fn add(cache: &Cache, key: &'static str, end: &'static str) {
        let since = cache.now();
        cache.add(question(key, end), keys(key, end), 0, Bytes::from("it"), since);
    }

    fn has(cache: &Cache, key: &'static str, end: &'static str) -> bool {
        cache.get(&question(key, end), 0) != Found::Nothing
    }

    #[test]
    fn a_write_takes_away_what_it_has_to_do_with() {
        let cache = Cache::default();
        let all = [("b", ""), ("c", ""), ("a", "c"), ("c", "e"), ("a", "\0"), ("d", "\0")];
        for (written, gone) in [
            (("b", ""), &[("b", ""), ("a", "c"), ("a", "\0")][..]),
            (("c", ""), &[("c", ""), ("c", "e"), ("a", "\0")]),
            (("b", "d"), &[("b", ""), ("c", ""), ("a", "c"), ("c", "e"), ("a", "\0")]),
            (("e", "\0"), &[("a", "\0"), ("d", "\0")]),
        ] {
            all.iter().for_each(|(key, end)| add(&cache, key, end));
            drop(cache.writing(vec![keys(written.0, written.1)]));
            for (key, end) in all {
                assert_eq!(has(&cache, key, end), !gone.contains(&(key, end)), "{written:?} {key}");
            }
        }
    }

    #[test]
    fn a_read_beside_a_write_is_not_kept() {
        let cache = Cache::default();
        let since = cache.now();
        let writing = cache.writing(vec![keys("a", "")]);
        cache.add(question("a", ""), keys("a", ""), 0, Bytes::from("old"), since);
        cache.add(question("b", ""), keys("b", ""), 0, Bytes::from("it"), since);
        assert!(!has(&cache, "a", "") && has(&cache, "b", ""));
        add(&cache, "a", "");
        assert!(has(&cache, "a", ""), "it may have begun before the write was done");
        drop(writing);
        assert!(!has(&cache, "a", ""));
    }

    #[test]
    fn it_has_a_bound_and_keeps_what_is_used() {
        let cache = Cache::default();
        add(&cache, "kept", "");
        for number in 0..ENTRIES * 2 {
            let key = Bytes::from(number.to_string());
            let all = Keys { key: key.clone(), range_end: Bytes::new() };
            cache.add(key, all, 0, Bytes::from_static(b"it"), cache.now());
            assert!(has(&cache, "kept", ""));
        }
        let inner = cache.inner();
        assert_eq!((inner.answers.len(), inner.by_use.len()), (ENTRIES, ENTRIES));
        assert_eq!(inner.points.len(), ENTRIES);
    }

    #[test]
    fn what_is_compacted_is_told_so() {
        let cache = Cache::default();
        let since = cache.now();
        cache.add(question("a", ""), keys("a", ""), 3, Bytes::from("it"), since);
        drop(cache.writing(vec![keys("a", "")]));
        assert!(matches!(cache.get(&question("a", ""), 3), Found::Answer(_)), "the past stays");
        cache.compact(4);
        assert_eq!(cache.get(&question("a", ""), 3), Found::Compacted);
    }
}

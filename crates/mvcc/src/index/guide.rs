//! Finding a key among sorted keys without looking at most of them.
//!
//! Keys live all over the heap: each comparison with one waits for memory. So a node keeps, side
//! by side, the eight bytes of each key that come after what all of them begin with. A search
//! goes through those and looks at a key or two at the end.

/// What all keys of a node begin with, and what each goes on with.
#[derive(Debug, Default)]
pub(super) struct Guide {
    prefix: Box<[u8]>,
    /// Eight bytes after the prefix, filled up with zeros: their order is that of the keys,
    /// except that different keys can be equal here.
    words: Vec<u64>,
}

/// A guide grows by so many words at a time, as leaves do.
const GROWTH: usize = 8;

impl Guide {
    /// The guide of keys, which are sorted.
    pub(super) fn of<'k>(keys: impl Iterator<Item = &'k [u8]> + Clone) -> Self {
        let first = keys.clone().next().unwrap_or_default();
        let last = keys.clone().last().unwrap_or_default();
        let prefix: Box<[u8]> = first[..common(first, last)].into();
        let words = keys.map(|key| word(&key[prefix.len()..])).collect();
        Self { prefix, words }
    }

    /// Where a key is, or where it would be. `key_at` gives a key in full.
    pub(super) fn find<'k>(
        &self,
        key: &[u8],
        key_at: impl Fn(usize) -> &'k [u8],
    ) -> Result<usize, usize> {
        let Some(tail) = key.strip_prefix(self.prefix.as_ref()) else {
            return Err(if key < self.prefix.as_ref() { 0 } else { self.words.len() });
        };
        let word = word(tail);
        let (mut from, mut to) = (self.words.partition_point(|other| *other < word), 0);
        if self.words.get(from).is_some_and(|other| *other == word) {
            to = from + self.words[from..].partition_point(|other| *other == word);
        }
        while from < to {
            let middle = from.midpoint(to);
            match key_at(middle).cmp(key) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        Err(from)
    }

    /// Notes a key that comes in at `at`. Where it does not begin as all others do, the guide
    /// has to be made anew, and this returns `false`.
    #[must_use]
    pub(super) fn insert(&mut self, at: usize, key: &[u8]) -> bool {
        let Some(tail) = key.strip_prefix(self.prefix.as_ref()) else { return false };
        if self.words.is_empty() {
            return false;
        }
        if self.words.len() == self.words.capacity() {
            self.words.reserve_exact(GROWTH);
        }
        self.words.insert(at, word(tail));
        true
    }
}

fn common(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

fn word(tail: &[u8]) -> u64 {
    match tail.first_chunk() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => tail.iter().rfold(0, |word, byte| (word >> 8) | u64::from(*byte) << 56),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_ordered_as_what_they_are_made_of() {
        assert_eq!(word(b""), 0);
        assert_eq!(word(b"\x01\x02"), 0x0102 << 48);
        assert_eq!(word(b"\x01\x02\x03\x04\x05\x06\x07\x08\x09"), 0x0102_0304_0506_0708);
        assert!(word(b"a") < word(b"aa") && word(b"aa") < word(b"b"));
    }

    #[test]
    fn every_key_is_found_and_every_gap() {
        let keys: Vec<&[u8]> = vec![
            b"common",
            b"common\0",
            b"common\0\0",
            b"common12345678",
            b"common12345678a",
            b"common12345678b",
            b"common2",
            b"common\xff",
        ];
        let guide = Guide::of(keys.iter().copied());
        assert_eq!(guide.prefix.as_ref(), b"common");
        let others: [&[u8]; 9] = [
            b"",
            b"a",
            b"commo",
            b"common\0\0\0",
            b"common12345678aa",
            b"common12345678c",
            b"common\xff\xff",
            b"comn",
            b"d",
        ];
        for key in keys.iter().chain(&others) {
            let expected = keys.binary_search(key);
            assert_eq!(guide.find(key, |at| keys[at]), expected, "{key:?}");
        }
    }

    #[test]
    fn a_key_that_begins_otherwise_asks_for_a_new_guide() {
        let mut guide = Guide::of([&b"ab1"[..], b"ab3"].into_iter());
        assert!(guide.insert(1, b"ab2"));
        assert_eq!(guide.words, [word(b"1"), word(b"2"), word(b"3")]);
        assert!(!guide.insert(3, b"ac"));
        assert!(!Guide::default().insert(0, b"a"));
    }
}

//! Which watchers does a key concern? Exact keys by hash, spans by interval tree.

use std::collections::HashMap;

use bytes::Bytes;

use super::interval::{IntervalTree, place};
use super::range::WatchRange;

/// Values filed under what they watch.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: HashMap<Bytes, Vec<u32>>,
    spans: IntervalTree,
}

impl Index {
    /// Files `value`; the place that is returned is what [`Index::remove`] wants back.
    pub(super) fn insert(&mut self, range: &WatchRange, value: u32) -> u32 {
        match range {
            WatchRange::Key(key) => {
                let values = self.exact.entry(key.clone()).or_default();
                values.push(value);
                place(values.len() - 1)
            }
            WatchRange::Span(span) => self.spans.insert(span, value),
        }
    }

    /// Takes out the value at `at`; returns the value whose place is `at` from now on, if any.
    pub(super) fn remove(&mut self, range: &WatchRange, at: u32) -> Option<u32> {
        match range {
            WatchRange::Key(key) => {
                let values = self.exact.get_mut(key).expect("only what was inserted is removed");
                values.swap_remove(at as usize);
                if values.is_empty() {
                    self.exact.remove(key);
                    return None;
                }
                values.get(at as usize).copied()
            }
            WatchRange::Span(span) => self.spans.remove(span, at),
        }
    }

    /// Calls `visit` once with every value that watches `key`.
    pub(super) fn visit(&self, key: &[u8], mut visit: impl FnMut(u32)) {
        if !self.exact.is_empty()
            && let Some(values) = self.exact.get(key)
        {
            values.iter().for_each(|value| visit(*value));
        }
        if !self.spans.is_empty() {
            self.spans.stab(key, &mut visit);
        }
    }
}

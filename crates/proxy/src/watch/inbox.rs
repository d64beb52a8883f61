//! What lies between broadcasts and the stream of a client.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;

use super::hub::{Keys, Watcher};

/// Responses, and bytes of them, that wait for a client.
const RESPONSES: usize = 1024;
const BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    content: Mutex<Content>,
    pub(super) filled: Notify,
}

#[derive(Debug, Default)]
struct Content {
    responses: VecDeque<Bytes>,
    bytes: usize,
    fallen: Vec<(Keys, Watcher)>,
}

impl Inbox {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no holder of this lock panics")
    }

    /// Whether there is room, which one response always finds.
    pub(super) fn has_room(&self) -> bool {
        let content = self.content();
        content.responses.is_empty()
            || (content.responses.len() < RESPONSES && content.bytes < BYTES)
    }

    pub(super) fn put(&self, response: Bytes) {
        let mut content = self.content();
        content.bytes += response.len();
        content.responses.push_back(response);
        drop(content);
        self.filled.notify_one();
    }

    pub(super) fn take(&self) -> Option<Bytes> {
        let mut content = self.content();
        let response = content.responses.pop_front()?;
        content.bytes -= response.len();
        Some(response)
    }

    /// A watcher has found no room, and will have to join again.
    pub(super) fn fall(&self, keys: Keys, watcher: Watcher) {
        self.content().fallen.push((keys, watcher));
        self.filled.notify_one();
    }

    pub(super) fn take_fallen(&self) -> Vec<(Keys, Watcher)> {
        std::mem::take(&mut self.content().fallen)
    }

    /// Forgets a fallen watcher; whether there was one.
    pub(super) fn forget_fallen(&self, watch_id: i64) {
        self.content().fallen.retain(|(_, watcher)| watcher.watch_id != watch_id);
    }
}

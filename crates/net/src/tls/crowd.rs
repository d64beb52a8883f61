//! How many handshakes may be under way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Handshakes that are under way. Who comes when there are too many takes the place of the one
/// that has been at it the longest: honest ones take milliseconds.
#[derive(Debug)]
pub(super) struct Crowd {
    most: usize,
    under_way: Mutex<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place among them; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    crowd: Arc<Crowd>,
    /// Ready when the place is needed for somebody else.
    pub(super) pushed_out: oneshot::Receiver<()>,
}

impl Crowd {
    pub(super) fn new(most: usize) -> Arc<Crowd> {
        Arc::new(Crowd { most: most.max(1), under_way: Mutex::default() })
    }

    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let (sender, pushed_out) = oneshot::channel();
        let mut under_way = self.lock();
        while under_way.waiting.len() >= self.most {
            // Dropping its sender tells it.
            under_way.waiting.pop_first();
        }
        let number = under_way.next;
        under_way.next += 1;
        under_way.waiting.insert(number, sender);
        Place { number, crowd: Arc::clone(self), pushed_out }
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.lock().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::Crowd;

    #[test]
    fn who_comes_last_pushes_the_first_out() {
        let crowd = Crowd::new(2);
        let (mut one, mut two) = (crowd.enter(), crowd.enter());
        assert!(one.pushed_out.try_recv().is_err_and(|error| error.to_string().contains("empty")));
        let _three = crowd.enter();
        assert!(one.pushed_out.try_recv().is_err_and(|error| error.to_string().contains("closed")));
        assert!(two.pushed_out.try_recv().is_err_and(|error| error.to_string().contains("empty")));
        drop(one);
        drop(two);
        assert_eq!(crowd.lock().waiting.len(), 1);
    }
}

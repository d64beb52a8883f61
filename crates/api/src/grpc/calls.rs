//! The calls of a connection: where each of them is kept, and which of them want to be polled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use http2::StreamKey;

/// The list of those that were woken. Anybody on any thread may add to it.
#[derive(Debug, Default)]
pub(super) struct Woken {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    numbers: Vec<usize>,
    task: Option<Waker>,
}

impl Woken {
    /// Says which task looks at the list.
    pub(super) fn register(&self, task: &Waker) {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        if !inner.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            inner.task = Some(task.clone());
        }
    }

    /// Takes all numbers, in exchange for an empty list.
    pub(super) fn take(&self, into: &mut Vec<usize>) {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        std::mem::swap(&mut inner.numbers, into);
    }

    fn add(&self, number: usize) {
        let task = {
            let mut inner = self.inner.lock().expect("no holder of this lock panics");
            inner.numbers.push(number);
            // Who is not the first rides along: the task knows already.
            if inner.numbers.len() == 1 { inner.task.clone() } else { None }
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// Wakes one number, however often it is called before the number has its turn.
#[derive(Debug)]
struct Bell {
    woken: Arc<Woken>,
    number: usize,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.woken.add(self.number);
        }
    }
}

/// A number that can be woken, with the means to do so.
#[derive(Debug)]
pub(super) struct Turn {
    bell: Arc<Bell>,
    waker: Waker,
}

impl Turn {
    pub(super) fn new(woken: &Arc<Woken>, number: usize) -> Self {
        let woken = Arc::clone(woken);
        let bell = Arc::new(Bell { woken, number, rung: AtomicBool::new(false) });
        Self { waker: Waker::from(Arc::clone(&bell)), bell }
    }

    /// Gives it another turn.
    pub(super) fn wake(&self) {
        self.waker.wake_by_ref();
    }

    /// Polls a future that shall wake this number.
    pub(super) fn poll<F: Future + Unpin>(&self, future: &mut F) -> Poll<F::Output> {
        // A swap and not a store: whoever found the bell rung and left it at that must be seen by
        // the poll that follows.
        self.bell.rung.swap(false, Ordering::AcqRel);
        std::pin::Pin::new(future).poll(&mut Context::from_waker(&self.waker))
    }
}

/// A place for the call of one stream. Its number is the stream's slot.
#[derive(Debug)]
struct Place<T> {
    turn: Turn,
    call: Option<(StreamKey, T)>,
}

/// All calls, by slot.
#[derive(Debug)]
pub(super) struct Calls<T> {
    woken: Arc<Woken>,
    places: Vec<Place<T>>,
}

impl<T> Calls<T> {
    pub(super) fn new(woken: &Arc<Woken>) -> Self {
        Self { woken: Arc::clone(woken), places: Vec::new() }
    }

    pub(super) fn insert(&mut self, key: StreamKey, call: T) {
        while self.places.len() <= key.slot() {
            let turn = Turn::new(&self.woken, self.places.len());
            self.places.push(Place { turn, call: None });
        }
        self.places[key.slot()].call = Some((key, call));
    }

    /// The call of a stream, if it is still that stream's.
    pub(super) fn get(&mut self, key: StreamKey) -> Option<(&mut T, &Turn)> {
        let place = self.places.get_mut(key.slot())?;
        let (of, call) = place.call.as_mut()?;
        (*of == key).then_some((call, &place.turn))
    }

    pub(super) fn remove(&mut self, key: StreamKey) -> Option<T> {
        let place = self.places.get_mut(key.slot())?;
        place.call.take_if(|(of, _)| *of == key).map(|(_, call)| call)
    }

    /// Whose call is at this number.
    pub(super) fn key_at(&self, number: usize) -> Option<StreamKey> {
        self.places.get(number)?.call.as_ref().map(|(key, _)| *key)
    }

    pub(super) fn keys(&self) -> Vec<StreamKey> {
        self.places.iter().filter_map(|place| Some(place.call.as_ref()?.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    /// Somebody on another thread wakes while the future is being polled for no reason.
    #[tokio::test]
    async fn no_wake_is_lost_however_close_to_a_poll() {
        let woken = Arc::new(Woken::default());
        let turn = Turn::new(&woken, 7);
        let (hand_over, senders) = std::sync::mpsc::channel::<oneshot::Sender<()>>();
        let other = std::thread::spawn(move || {
            for sender in senders {
                let _ = sender.send(());
            }
        });
        let mut numbers = Vec::new();
        for round in 0..20_000 {
            let (sender, mut outcome) = oneshot::channel();
            hand_over.send(sender).expect("the other thread waits for it");
            let mut polls = round % 5;
            let done = poll_fn(|cx| {
                woken.register(cx.waker());
                numbers.clear();
                woken.take(&mut numbers);
                assert!(numbers.iter().all(|number| *number == 7));
                while turn.poll(&mut outcome).is_pending() {
                    if polls == 0 {
                        return Poll::Pending;
                    }
                    polls -= 1;
                }
                Poll::Ready(())
            });
            timeout(Duration::from_secs(20), done).await.expect("nobody is forgotten");
        }
        drop(hand_over);
        other.join().expect("it does not panic");
    }

    #[test]
    fn a_call_is_found_by_its_own_key_alone() {
        let mut connection = http2::Connection::new(http2::Config::default());
        let mut keys = Vec::new();
        let mut open = |connection: &mut http2::Connection, id: u8, greeting: &[u8]| {
            let mut block = Vec::new();
            for (name, value) in [(":method", "POST"), (":scheme", "http"), (":path", "/")] {
                http2::encode(&mut block, name.as_bytes(), value.as_bytes());
            }
            let header = [0, 0, block.len() as u8, 1, 4, 0, 0, 0, id];
            let bytes = [greeting, &header, &block].concat();
            match connection.next(&mut &bytes[..]) {
                Some(http2::Event::Head { stream, .. }) => keys.push(stream),
                other => panic!("{other:?}"),
            }
        };
        let greeting = [http2::PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        open(&mut connection, 1, &greeting);
        connection.fail(http2::ErrorCode::NO_ERROR, b"");
        let mut again = http2::Connection::new(http2::Config::default());
        let _ = again.next(&mut &greeting[..]);
        open(&mut again, 3, b"");
        let [first, second] = keys[..] else { panic!("{keys:?}") };
        assert_eq!(first.slot(), second.slot());
        let mut calls = Calls::new(&Arc::new(Woken::default()));
        calls.insert(first, "first");
        assert!(calls.get(second).is_none() && calls.remove(second).is_none());
        calls.insert(second, "second");
        assert!(calls.get(first).is_none());
        assert_eq!(calls.key_at(second.slot()), Some(second));
        assert_eq!(calls.remove(second), Some("second"));
        assert!(calls.keys().is_empty());
    }
}

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
        self.bell.rung.store(false, Ordering::Release);
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

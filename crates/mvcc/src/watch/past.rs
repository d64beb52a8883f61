//! Pieces of history that were read lately. After a restart the ring is empty, and all clients
//! come back at once, to about the same revision: one of them reads, the others find it here.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use super::batch::EventList;
use super::ring::weight;

/// All events from revision `first` up to and with `covered`.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) first: i64,
    pub(super) covered: i64,
    pub(super) events: EventList,
}

/// Apply never takes its lock.
#[derive(Debug)]
pub(super) struct RecentReads {
    pieces: Mutex<Pieces>,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Pieces {
    /// The one used last is last.
    list: VecDeque<(Piece, usize)>,
    bytes: usize,
    /// Which of the stores that followed each other this was read from.
    restores: u64,
}

impl RecentReads {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { pieces: Mutex::default(), max_bytes }
    }

    /// A piece with revision `from` in it.
    pub(super) fn find(&self, restores: u64, from: i64) -> Option<Piece> {
        let mut pieces = self.lock();
        if pieces.restores != restores {
            return None;
        }
        let holds = |(piece, _): &(Piece, usize)| (piece.first..=piece.covered).contains(&from);
        let at = pieces.list.iter().rposition(holds)?;
        let used = pieces.list.remove(at)?;
        let piece = used.0.clone();
        pieces.list.push_back(used);
        Some(piece)
    }

    /// Keeps what was read, as long as there is no need of the room.
    pub(super) fn keep(&self, restores: u64, piece: Piece) {
        let size = weight(&piece.events);
        if size > self.max_bytes {
            return;
        }
        let mut pieces = self.lock();
        if pieces.restores != restores {
            *pieces = Pieces { restores, ..Pieces::default() };
        }
        pieces.bytes += size;
        pieces.list.push_back((piece, size));
        while pieces.bytes > self.max_bytes
            && let Some((_, size)) = pieces.list.pop_front()
        {
            pieces.bytes -= size;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().expect("nobody panics with the pieces in hand")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn piece(first: i64, covered: i64) -> Piece {
        Piece { first, covered, events: Arc::from([]) }
    }

    #[test]
    fn a_piece_is_found_by_any_revision_in_it_until_the_store_is_replaced() {
        let reads = RecentReads::new(1);
        reads.keep(0, piece(5, 9));
        reads.keep(0, piece(10, 10));
        let first = |restores, from| reads.find(restores, from).map(|piece| piece.first);
        assert_eq!(
            [4, 5, 9, 10, 11].map(|from| first(0, from)),
            [None, Some(5), Some(5), Some(10), None]
        );
        assert_eq!(first(1, 5), None);
        reads.keep(1, piece(20, 30));
        assert_eq!([first(1, 5), first(0, 5), first(1, 20)], [None, None, Some(20)]);
    }
}

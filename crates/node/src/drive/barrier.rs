//! Linearizable reads: each waits until this member has applied all that was acknowledged before
//! it was asked for.
//!
//! Reads that come while a round is under way ride in the next one, however many they are.

use std::time::Duration;

use bytes::Bytes;
use raft::StepError;

use super::Drive;
use crate::metrics;
use crate::queue::Read;
use crate::wire::Payload;

/// Rounds that may be under way at a time.
const ROUNDS: usize = 4;
/// A round that is not answered by then is asked again: its message may be lost.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Round {
    number: u64,
    reads: Vec<Read>,
    asked_at: Duration,
}

#[derive(Default)]
pub(super) struct Barrier {
    waiting: Vec<Read>,
    rounds: Vec<Round>,
    /// Confirmed, and to be told when this index is applied.
    confirmed: Vec<(u64, Vec<Read>)>,
}

impl Barrier {
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.rounds.clear();
        self.confirmed.clear();
    }

    pub(super) fn add(&mut self, reads: &mut Vec<Read>) {
        self.waiting.append(reads);
    }

    /// Nothing that was asked is answered any more.
    pub(super) fn ask_again(&mut self) {
        let mut all: Vec<Read> = self.rounds.drain(..).flat_map(|round| round.reads).collect();
        all.append(&mut self.waiting);
        self.waiting = all;
    }

    pub(super) fn pass_time(&mut self, now: Duration) {
        if self.rounds.iter().any(|round| now >= round.asked_at + RETRY) {
            metrics::SLOW_READ_INDEX.inc();
            self.ask_again();
        }
        // Who has given up must not take up room.
        self.waiting.retain(|read| !read.is_closed());
    }

    fn wants_a_round(&self) -> bool {
        !self.waiting.is_empty() && self.rounds.len() < ROUNDS
    }

    /// Gathers what waits in a round.
    fn begin(&mut self, number: u64, now: Duration) {
        let reads = std::mem::take(&mut self.waiting);
        self.rounds.push(Round { number, reads, asked_at: now });
    }

    /// The round was not asked after all.
    fn take_back(&mut self, number: u64) {
        let Some(at) = self.rounds.iter().position(|round| round.number == number) else { return };
        let mut reads = self.rounds.remove(at).reads;
        reads.append(&mut self.waiting);
        self.waiting = reads;
    }

    /// A quorum has confirmed the round: all that was acknowledged before it stands at or before
    /// `index`. Rounds before it are answered with it.
    pub(super) fn confirmed(&mut self, index: u64, context: &[u8]) {
        let Ok(number) = context.try_into().map(u64::from_be_bytes) else { return };
        if !self.rounds.iter().any(|round| round.number == number) {
            return;
        }
        let (done, rest): (Vec<_>, Vec<_>) =
            self.rounds.drain(..).partition(|round| round.number <= number);
        self.rounds = rest;
        self.confirmed.push((index, done.into_iter().flat_map(|round| round.reads).collect()));
    }

    pub(super) fn applied(&mut self, applied: u64) {
        self.confirmed.retain_mut(|(index, reads)| {
            let there = *index <= applied;
            if there {
                // The caller may have gone away.
                reads.drain(..).for_each(|read| drop(read.send(Ok(()))));
            }
            !there
        });
    }
}

impl Drive {
    /// Begins a round for the reads that wait, where somebody leads.
    pub(super) fn ask_reads(&mut self) {
        if self.leader().is_none() || !self.barrier.wants_a_round() {
            return;
        }
        // A leader tells rounds apart by their numbers alone, whoever asks.
        let number = self.parts.ids.next();
        self.barrier.begin(number, self.now);
        let context = Payload::from(Bytes::copy_from_slice(&number.to_be_bytes()));
        match self.parts.raft.read_index(context) {
            Ok(()) => {}
            Err(StepError::Dropped(_)) => self.barrier.take_back(number),
            // The round is asked again, or the member stops.
            Err(error) => tracing::debug!(%error, "read index was not asked"),
        }
    }
}

//! More than half of a set of voters.

use super::{Acked, VoteResult, Votes};
use crate::types::{LogIndex, NodeSet};
use alloc::vec;

/// Up to this many voters the sort needs no allocation; groups are rarely larger.
const ON_STACK: usize = 9;

/// The largest index that a majority of `voters` has acknowledged.
///
/// `LogIndex::MAX` for no voters at all: half of a joint configuration that is not there must not
/// hold back the other half.
pub(crate) fn committed_index(voters: &NodeSet, acked: &impl Acked) -> LogIndex {
    match voters.as_slice() {
        [] => LogIndex::MAX,
        [one] => acked.acked(*one).unwrap_or_default(),
        ids if ids.len() <= ON_STACK => {
            let mut sorted = [LogIndex::ZERO; ON_STACK];
            for (slot, id) in sorted.iter_mut().zip(ids) {
                *slot = acked.acked(*id).unwrap_or_default();
            }
            quorum_of(&mut sorted[..ids.len()])
        }
        ids => {
            let mut sorted = vec![LogIndex::ZERO; ids.len()];
            for (slot, id) in sorted.iter_mut().zip(ids) {
                *slot = acked.acked(*id).unwrap_or_default();
            }
            quorum_of(&mut sorted)
        }
    }
}

/// What is acknowledged by the `n/2 + 1` largest, that is the smallest of these.
fn quorum_of(indexes: &mut [LogIndex]) -> LogIndex {
    indexes.sort_unstable();
    indexes[indexes.len() - (indexes.len() / 2 + 1)]
}

/// The outcome of an election among `voters`. Won if there are none, for the sake of joint
/// configurations, as above.
pub(crate) fn vote_result(voters: &NodeSet, votes: &impl Votes) -> VoteResult {
    let (mut yes, mut missing) = (0, 0);
    for id in voters.iter() {
        match votes.vote(id) {
            Some(true) => yes += 1,
            Some(false) => {}
            None => missing += 1,
        }
    }
    let quorum = voters.len() / 2 + 1;
    if voters.is_empty() || yes >= quorum {
        VoteResult::Won
    } else if yes + missing >= quorum {
        VoteResult::Pending
    } else {
        VoteResult::Lost
    }
}

//! What a quorum says: the arithmetic of consensus, free of everything else.

pub(crate) mod joint;
pub(crate) mod majority;

use crate::types::{LogIndex, NodeId};
use core::fmt;

/// The outcome of an election as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VoteResult {
    /// Neither yes nor no has a quorum, and either still may.
    Pending,
    /// A quorum can no longer be reached.
    Lost,
    Won,
}

impl fmt::Display for VoteResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "VotePending",
            Self::Lost => "VoteLost",
            Self::Won => "VoteWon",
        })
    }
}

/// Who has acknowledged what; `None` for a voter that was never heard of.
pub(crate) trait Acked {
    fn acked(&self, id: NodeId) -> Option<LogIndex>;
}

impl<F: Fn(NodeId) -> Option<LogIndex>> Acked for F {
    fn acked(&self, id: NodeId) -> Option<LogIndex> {
        self(id)
    }
}

/// Who has voted, and how.
pub(crate) trait Votes {
    fn vote(&self, id: NodeId) -> Option<bool>;
}

impl<F: Fn(NodeId) -> Option<bool>> Votes for F {
    fn vote(&self, id: NodeId) -> Option<bool> {
        self(id)
    }
}

#[cfg(test)]
mod tests {
    use super::joint::JointConfig;
    use super::*;
    use crate::types::NodeSet;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn set(ids: &[u64]) -> NodeSet {
        ids.iter().filter_map(|id| NodeId::new(*id)).collect()
    }

    fn joint(incoming: &[u64], outgoing: &[u64]) -> JointConfig {
        JointConfig { incoming: set(incoming), outgoing: set(outgoing) }
    }

    /// Voters, what they have said, and the outcome.
    type Table<Said, Outcome> = &'static [(&'static [u64], &'static [(u64, Said)], Outcome)];
    /// The same with the voters of both halves.
    type JointTable<Said, Outcome> =
        &'static [(&'static [u64], &'static [u64], &'static [(u64, Said)], Outcome)];

    /// Looks a voter up in a table of what each has said.
    fn said<T: Copy>(table: &[(u64, T)]) -> impl Fn(NodeId) -> Option<T> {
        move |id| table.iter().find(|(voter, _)| *voter == id.get()).map(|(_, what)| *what)
    }

    #[test]
    fn committed_index_is_what_more_than_half_have() {
        let cases: Table<u64, u64> = &[
            (&[], &[], u64::MAX),
            (&[1], &[], 0),
            (&[1], &[(1, 12)], 12),
            (&[1], &[(2, 12)], 0),
            (&[1, 2], &[(1, 12)], 0),
            (&[1, 2], &[(1, 12), (2, 5)], 5),
            (&[1, 2, 3], &[(1, 12)], 0),
            (&[1, 2, 3], &[(1, 12), (2, 5)], 5),
            (&[1, 2, 3], &[(1, 12), (2, 12)], 12),
            (&[1, 2, 3], &[(1, 100), (2, 101), (3, 103)], 101),
            (&[1, 2, 3, 4], &[(1, 50), (2, 101), (3, 103), (4, 103)], 101),
            (&[1, 2, 3, 4, 5], &[(1, 0), (2, 101), (3, 103), (4, 103), (5, 104)], 103),
            (&[1, 2, 3, 4, 5], &[(1, 101), (2, 101), (3, 103), (4, 0), (5, 0)], 101),
        ];
        for (voters, acked, committed) in cases {
            let table: Vec<_> = acked.iter().map(|(id, index)| (*id, LogIndex(*index))).collect();
            let index = majority::committed_index(&set(voters), &said(&table));
            assert_eq!(index, LogIndex(*committed), "{voters:?} {acked:?}");
        }
    }

    #[test]
    fn joint_committed_index_is_what_both_halves_have() {
        let cases: JointTable<u64, u64> = &[
            (&[1, 2, 3], &[], &[(1, 100), (2, 101), (3, 99)], 100),
            (&[1], &[2], &[(1, 100)], 0),
            (&[1], &[2], &[(1, 100), (2, 50)], 50),
            (&[1, 2, 3], &[3, 4, 5], &[(1, 100), (2, 100), (3, 100)], 0),
            (&[1, 2, 3], &[3, 4, 5], &[(1, 100), (2, 100), (3, 5), (4, 7)], 5),
            (&[1, 2, 3], &[1, 2, 3], &[(1, 100), (2, 7), (3, 0)], 7),
            (&[1, 2], &[1, 2, 3], &[(1, 8), (2, 7), (3, 9)], 7),
        ];
        for (incoming, outgoing, acked, committed) in cases {
            let table: Vec<_> = acked.iter().map(|(id, index)| (*id, LogIndex(*index))).collect();
            let (there, back) = (joint(incoming, outgoing), joint(outgoing, incoming));
            let index = there.committed_index(&said(&table));
            assert_eq!(index, LogIndex(*committed), "{there} {acked:?}");
            assert_eq!(back.committed_index(&said(&table)), index, "the halves are equals");
        }
    }

    #[test]
    fn elections_are_won_by_more_than_half_and_lost_when_that_is_out_of_reach() {
        use VoteResult::{Lost, Pending, Won};
        const Y: bool = true;
        const N: bool = false;
        let cases: Table<bool, VoteResult> = &[
            (&[], &[], Won),
            (&[1], &[], Pending),
            (&[1], &[(1, N)], Lost),
            (&[1], &[(1, Y)], Won),
            (&[1, 2], &[(1, Y)], Pending),
            (&[1, 2], &[(1, N)], Lost),
            (&[1, 2], &[(1, Y), (2, Y)], Won),
            (&[1, 2, 3], &[(1, Y), (9, Y)], Pending),
            (&[1, 2, 3], &[(1, N), (2, Y)], Pending),
            (&[1, 2, 3], &[(1, N), (2, N)], Lost),
            (&[1, 2, 3], &[(1, Y), (2, N), (3, Y)], Won),
            (&[1, 2, 3, 4], &[(1, Y), (2, Y)], Pending),
            (&[1, 2, 3, 4], &[(1, N), (2, N)], Lost),
            (&[1, 2, 3, 4, 5], &[(1, Y), (2, Y), (3, N), (4, N)], Pending),
        ];
        for (voters, votes, result) in cases {
            assert_eq!(majority::vote_result(&set(voters), &said(votes)), *result, "{votes:?}");
        }
    }

    #[test]
    fn joint_elections_need_both_halves() {
        use VoteResult::{Lost, Pending, Won};
        const Y: bool = true;
        const N: bool = false;
        let cases: JointTable<bool, VoteResult> = &[
            (&[1, 2, 3], &[], &[(1, Y), (2, Y)], Won),
            (&[1], &[2], &[(1, Y)], Pending),
            (&[1], &[2], &[(1, Y), (2, N)], Lost),
            (&[1], &[2], &[(2, N)], Lost),
            (&[1, 2, 3], &[3, 4, 5], &[(1, Y), (2, Y), (3, Y)], Pending),
            (&[1, 2, 3], &[3, 4, 5], &[(1, Y), (2, Y), (3, Y), (4, Y)], Won),
            (&[1, 2, 3], &[3, 4, 5], &[(1, Y), (2, Y), (4, N), (5, N)], Lost),
        ];
        for (incoming, outgoing, votes, result) in cases {
            assert_eq!(joint(incoming, outgoing).vote_result(&said(votes)), *result, "{votes:?}");
            assert_eq!(joint(outgoing, incoming).vote_result(&said(votes)), *result, "{votes:?}");
        }
    }

    proptest! {
        /// openraft #1802: an optimised order of the acknowledgements, and a commit without quorum.
        #[test]
        fn openraft_1802_the_committed_index_is_what_counting_says(
            incoming in proptest::collection::btree_set(1u64..14, 0..12),
            outgoing in proptest::collection::btree_set(1u64..14, 0..12),
            acked in proptest::collection::btree_map(1u64..14, 0u64..20, 0..14),
        ) {
            let halves = [incoming, outgoing].map(|ids| ids.into_iter().filter_map(NodeId::new));
            let halves = halves.map(NodeSet::from_iter);
            let acks = |id: NodeId| acked.get(&id.get()).copied().map(LogIndex);
            let counted = |voters: &NodeSet| {
                let have = |index| voters.iter().filter(|id| acks(*id) >= Some(index)).count();
                if voters.is_empty() {
                    return LogIndex::MAX;
                }
                let by_quorum = |index: &LogIndex| have(*index) > voters.len() / 2;
                (1..20).map(LogIndex).filter(by_quorum).max().unwrap_or_default()
            };
            let [incoming, outgoing] = halves;
            prop_assert_eq!(majority::committed_index(&incoming, &acks), counted(&incoming));
            let least = counted(&incoming).min(counted(&outgoing));
            prop_assert_eq!(JointConfig { incoming, outgoing }.committed_index(&acks), least);
        }
    }
}

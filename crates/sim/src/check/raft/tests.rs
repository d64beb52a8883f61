use super::*;

/// A member with a log of terms.
#[derive(Clone)]
struct Member {
    id: u64,
    term: u64,
    vote: u64,
    leads: bool,
    commit: u64,
    applied: u64,
    log: Vec<LogId>,
}

impl Member {
    fn new(id: u64, term: u64, log: &[u64]) -> Self {
        let log = log.iter().map(|term| LogId { term: *term, checksum: 0 }).collect();
        Self { id, term, vote: 0, leads: false, commit: 0, applied: 0, log }
    }

    fn leads(mut self) -> Self {
        self.leads = true;
        self
    }

    fn committed(mut self, commit: u64) -> Self {
        (self.commit, self.applied) = (commit, commit);
        self
    }

    fn says(&self, watch: &mut RaftWatch) -> Result<u64, Broken> {
        let entry =
            |index: u64| self.log.get(usize::try_from(index).ok()?.checked_sub(1)?).copied();
        watch.look(&Says {
            member: self.id,
            term: self.term,
            vote: self.vote,
            leads: self.leads,
            commit: self.commit,
            applied: self.applied,
            first_index: 1,
            last_index: self.log.len() as u64,
            entry: &entry,
        })
    }
}

#[track_caller]
fn plays(members: &[Member]) -> RaftWatch {
    let mut watch = RaftWatch::new();
    for member in members {
        member.says(&mut watch).unwrap_or_else(|broken| panic!("{broken}"));
    }
    watch
}

/// All but the last one are right.
#[track_caller]
fn breaks(members: &[Member], rule: Rule) {
    let (last, before) = members.split_last().expect("there is one");
    let broken = last.says(&mut plays(before)).expect_err("it is wrong");
    assert_eq!(broken.rule, rule, "{broken}");
}

#[test]
fn an_ordinary_life_is_right() {
    let watch = plays(
        &[
            Member::new(1, 1, &[1]).leads(),
            Member::new(2, 1, &[1]),
            Member::new(1, 1, &[1, 1]).leads().committed(1),
            Member::new(2, 1, &[1, 1]).committed(1),
            Member::new(2, 2, &[1, 1, 2]).leads().committed(1),
            // What was not committed is replaced.
            Member::new(1, 2, &[1, 2]).committed(1),
        ]
        .map(|mut member| {
            // The second entry of member 1 in term 1 stays its own.
            if member.id == 1 && member.term == 2 {
                member.log = Member::new(1, 2, &[1, 1, 2]).log;
            }
            member
        }),
    );
    assert_eq!((watch.elections(), watch.applied()), (2, 1));
}

#[test]
fn two_leaders_of_one_term_are_noticed() {
    let members = [Member::new(1, 3, &[3]).leads(), Member::new(2, 3, &[3]).leads()];
    breaks(&members, Rule::ElectionSafety);
}

#[test]
fn a_second_vote_is_noticed_even_after_a_restart() {
    let mut watch = RaftWatch::new();
    watch.voted(1, 4, 2).expect("the first one");
    watch.voted(1, 4, 2).expect("the same one");
    watch.restarted(1);
    watch.voted(1, 5, 3).expect("another term");
    assert_eq!(watch.voted(1, 4, 3).expect_err("twice").rule, Rule::ElectionSafety);
}

#[test]
fn a_leader_that_rewrites_its_log_is_noticed() {
    let first = Member::new(1, 2, &[1, 2]).leads();
    breaks(&[first.clone(), Member::new(1, 2, &[1]).leads()], Rule::LeaderAppendOnly);
    let mut watch = plays(&[first]);
    watch.restarted(1);
    let other = Member::new(1, 2, &[2, 2]).says(&mut watch).expect_err("another one");
    assert_eq!(other.rule, Rule::LogMatching);
    let old = Member::new(1, 2, &[1, 1]).leads();
    breaks(&[old, Member::new(1, 2, &[1, 2]).leads()], Rule::LeaderAppendOnly);
}

#[test]
fn a_follower_may_rewrite_its_log() {
    plays(&[Member::new(1, 1, &[1, 1]), Member::new(1, 2, &[1, 2])]);
}

#[test]
fn logs_that_do_not_match_are_noticed() {
    // The same entry behind another one.
    breaks(&[Member::new(1, 3, &[1, 3]), Member::new(2, 3, &[2, 3])], Rule::LogMatching);
    // The same entry with another content.
    let mut other = Member::new(2, 3, &[1, 3]);
    other.log[1].checksum = 7;
    breaks(&[Member::new(1, 3, &[1, 3]), other], Rule::LogMatching);
}

#[test]
fn a_leader_that_lacks_what_is_committed_is_noticed() {
    let committed = Member::new(1, 1, &[1, 1]).leads().committed(2);
    breaks(&[committed.clone(), Member::new(2, 2, &[1]).leads()], Rule::LeaderCompleteness);
    breaks(&[committed, Member::new(2, 2, &[1, 2]).leads()], Rule::LeaderCompleteness);
    // Votes of an earlier term may arrive late.
    let later = Member::new(1, 3, &[1, 3]).leads().committed(2);
    plays(&[later, Member::new(2, 2, &[1, 2]).leads()]);
}

#[test]
fn members_that_commit_different_entries_are_noticed() {
    let members = [Member::new(1, 1, &[1]).committed(1), Member::new(2, 2, &[2]).committed(1)];
    breaks(&members, Rule::StateMachineSafety);
    let mut hasty = Member::new(1, 1, &[1, 1]).committed(1);
    hasty.applied = 2;
    breaks(&[hasty], Rule::StateMachineSafety);
}

#[test]
fn nothing_is_taken_back_without_a_restart() {
    let first = Member::new(1, 5, &[1, 1]).committed(2);
    breaks(&[first.clone(), Member::new(1, 4, &[1, 1]).committed(2)], Rule::NotTakenBack);
    breaks(&[first.clone(), Member::new(1, 5, &[1, 1]).committed(1)], Rule::NotTakenBack);
    let voted = |vote| Member { vote, ..first.clone() };
    breaks(&[voted(1), voted(2)], Rule::NotTakenBack);
    let mut watch = plays(&[first]);
    watch.restarted(1);
    Member::new(1, 4, &[1]).says(&mut watch).expect("it had not promised more");
}

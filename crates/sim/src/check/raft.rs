//! The five promises of Raft, from what each member says of itself.

use std::collections::BTreeMap;

use super::{Broken, Rule, ensure};

/// What an entry is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogId {
    /// Of the leader that has made it.
    pub term: u64,
    /// Over its kind and its data.
    pub checksum: u32,
}

/// What a member says after a step.
#[derive(Clone, Copy)]
pub struct Says<'a> {
    /// Who.
    pub member: u64,
    /// Its term.
    pub term: u64,
    /// Whom it has voted for in this term, 0 for nobody.
    pub vote: u64,
    /// It leads.
    pub leads: bool,
    /// Its commit index.
    pub commit: u64,
    /// The last entry that it has applied.
    pub applied: u64,
    /// The first entry that it still has.
    pub first_index: u64,
    /// The last one.
    pub last_index: u64,
    /// Looks an entry up.
    pub entry: &'a dyn Fn(u64) -> Option<LogId>,
}

impl std::fmt::Debug for Says<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { member, term, vote, leads, commit, applied, first_index, last_index, .. } = self;
        write!(
            f,
            "member {member:x} (term {term}, vote {vote:x}, leads: {leads}, committed {commit}, \
             applied {applied}, log {first_index} to {last_index})"
        )
    }
}

/// What one member was last heard to say.
#[derive(Debug, Default)]
struct Heard {
    term: u64,
    vote: u64,
    leads: bool,
    commit: u64,
    applied: u64,
    last_index: u64,
    /// What was seen of its log, from the first entry on that was ever seen.
    log: BTreeMap<u64, LogId>,
}

/// Holds what members say against each other.
#[derive(Debug, Default)]
pub struct RaftWatch {
    members: BTreeMap<u64, Heard>,
    leaders: BTreeMap<u64, u64>,
    /// By member and term.
    votes: BTreeMap<(u64, u64), u64>,
    /// What comes before an entry, and what is in it: with that being one thing for all logs, logs
    /// that share an entry are the same up to it.
    entries: BTreeMap<(u64, u64), (Option<u64>, u32)>,
    /// What is committed, and the term in which that was.
    committed: BTreeMap<u64, (LogId, u64)>,
    applied: u64,
}

impl RaftWatch {
    /// Nobody has said anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// The newest entry that any member has applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// How many terms had a leader.
    pub fn elections(&self) -> usize {
        self.leaders.len()
    }

    /// A member has started again from what its disk had. What it had not promised to anybody may
    /// be lost.
    pub fn restarted(&mut self, member: u64) {
        self.members.remove(&member);
    }

    /// A member has told another one, or itself, that it has its vote. No restart takes that back.
    pub fn voted(&mut self, member: u64, term: u64, candidate: u64) -> Result<(), Broken> {
        let vote = *self.votes.entry((member, term)).or_insert(candidate);
        ensure(vote == candidate, Rule::ElectionSafety, || {
            format!("member {member:x} votes for {vote:x} and {candidate:x} in term {term}")
        })
    }

    /// What is committed at an index, as far as somebody who had it in its log said so.
    pub fn committed(&self, index: u64) -> Option<LogId> {
        self.committed.get(&index).map(|(id, _)| *id)
    }

    /// A member has committed this entry: it was found on its disk, and is not in its memory any
    /// more.
    pub fn committed_on_disk(&mut self, member: u64, index: u64, id: LogId) -> Result<(), Broken> {
        let term = self.members.get(&member).map_or(0, |heard| heard.term);
        let (known, _) = *self.committed.entry(index).or_insert((id, term));
        ensure(known == id, Rule::StateMachineSafety, || {
            format!("member {member:x} has committed {id:?} at {index}, others {known:?}")
        })
    }

    /// Takes in what a member says; to be called after each step of it. Tells from which index on
    /// its log is another one than before.
    pub fn look(&mut self, says: &Says<'_>) -> Result<u64, Broken> {
        let changed_from = self.read_log(says)?;
        self.check_numbers(says)?;
        self.check_leader(says, changed_from)?;
        self.check_committed(says)?;
        let heard = self.members.entry(says.member).or_default();
        (heard.term, heard.vote, heard.leads) = (says.term, says.vote, says.leads);
        (heard.commit, heard.applied) = (says.commit, says.applied);
        heard.last_index = says.last_index;
        self.applied = self.applied.max(says.applied);
        Ok(changed_from)
    }

    /// Reads what is new in a member's log; says from where on that is.
    fn read_log(&mut self, says: &Says<'_>) -> Result<u64, Broken> {
        let heard = self.members.entry(says.member).or_default();
        // A log changes at its end: the newest entry that is still the same ends the search.
        let mut unchanged = says.last_index;
        while unchanged >= says.first_index {
            let known = heard.log.get(&unchanged);
            if known.is_some() && known == (says.entry)(unchanged).as_ref() {
                break;
            }
            unchanged -= 1;
        }
        heard.log.split_off(&(unchanged + 1));
        if unchanged < says.first_index {
            // Nothing ties it to what was there before: a received state may have replaced it all.
            heard.log.clear();
        }
        for index in unchanged + 1..=says.last_index {
            let Some(id) = (says.entry)(index) else { continue };
            let before = heard.log.get(&(index - 1)).map(|before| before.term);
            heard.log.insert(index, id);
            let known = self.entries.entry((index, id.term)).or_insert((before, id.checksum));
            let same_before = before.is_none() || known.0.is_none() || known.0 == before;
            ensure(known.1 == id.checksum && same_before, Rule::LogMatching, || {
                format!("{says:?} has {id:?} at {index} behind {before:?}, others {known:?}")
            })?;
            known.0 = known.0.or(before);
        }
        Ok(unchanged + 1)
    }

    fn check_numbers(&self, says: &Says<'_>) -> Result<(), Broken> {
        let Some(before) = self.members.get(&says.member) else { return Ok(()) };
        let forward = says.term >= before.term
            && says.commit >= before.commit
            && says.applied >= before.applied;
        let votes_once = says.term > before.term || before.vote == 0 || says.vote == before.vote;
        ensure(forward && votes_once, Rule::NotTakenBack, || {
            format!(
                "{says:?}, before: term {}, vote {:x}, committed {}, applied {}",
                before.term, before.vote, before.commit, before.applied
            )
        })?;
        let ordered = says.applied <= says.commit && says.commit <= says.last_index;
        ensure(ordered, Rule::StateMachineSafety, || format!("{says:?}"))
    }

    fn check_leader(&mut self, says: &Says<'_>, changed_from: u64) -> Result<(), Broken> {
        if !says.leads {
            return Ok(());
        }
        let leader = *self.leaders.entry(says.term).or_insert(says.member);
        ensure(leader == says.member, Rule::ElectionSafety, || {
            format!("{says:?}, but {leader:x} leads in this term")
        })?;
        let before = self.members.get(&says.member);
        if let Some(before) = before.filter(|before| before.leads && before.term == says.term) {
            let last = before.last_index;
            let appends = changed_from > last && says.last_index >= last;
            return ensure(appends, Rule::LeaderAppendOnly, || {
                format!("{says:?} has changed its log from {changed_from} on, it went to {last}")
            });
        }
        // One who is elected late need not have what a later term has committed meanwhile.
        let missing = self.committed.iter().rev().find(|(index, (id, term))| {
            let lacks = **index >= says.first_index && (says.entry)(**index) != Some(*id);
            *term < says.term && (lacks || **index > says.last_index)
        });
        ensure(missing.is_none(), Rule::LeaderCompleteness, || {
            format!("{says:?} lacks {missing:?}")
        })
    }

    fn check_committed(&mut self, says: &Says<'_>) -> Result<(), Broken> {
        let before = self.members.get(&says.member).map_or(0, |heard| heard.commit);
        for index in before + 1..=says.commit {
            let id = self.members.get(&says.member).and_then(|heard| heard.log.get(&index));
            let Some(id) = id.copied() else { continue };
            let (known, _) = *self.committed.entry(index).or_insert((id, says.term));
            ensure(known == id, Rule::StateMachineSafety, || {
                format!("{says:?} has committed {id:?} at {index}, others {known:?}")
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

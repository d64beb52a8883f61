//! Linearizability of keys and txns.
//!
//! etcd names a revision in every answer, so the order of all that was answered is known, and only
//! has to be held against the order in time and against what a store answers that does one request
//! after the other. What is left to search (as Wing and Gong do, with a memory of what has failed,
//! as Lowe adds) are the revisions that no answer explains: each was made by one of the requests
//! that nobody has heard of again, or by a lease that ended.
//!
//! There is no need to look at keys one by one: that would find less, and the search seldom looks
//! back further than the next read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use proto::etcdserverpb::compare::CompareTarget;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest};
use proto::mvccpb::KeyValue;

use super::keys::{Change, Keys};
use super::{Answer, Broken, History, Moment, Operation, Outcome, Request, Rule, ensure};

/// How many requests may be tried before the search is given up, for each that was asked.
const TRIES: u64 = 1000;

/// A history as one store would have lived it.
#[derive(Debug, Clone)]
pub struct Replay {
    /// All changes in order.
    pub changes: Vec<Change>,
    /// The revision that it begins after.
    pub first_revision: i64,
    /// The last one that anybody knows of.
    pub revision: i64,
    /// The newest revision that anybody asked to compact to.
    pub compacted: i64,
    /// When what made a revision was asked; leases that ended have no such moment.
    pub called: BTreeMap<i64, Moment>,
    /// Requests without an answer that were done.
    pub unanswered_done: usize,
}

/// Explains a history, or says why it cannot be explained.
pub fn check_linearizable(history: &History) -> Result<Replay, Broken> {
    let operations: Vec<&Operation> = history.operations.iter().collect();
    let floors = floors(&operations, history);
    let mut search = Search::new(history, &operations, floors)?;
    search.check_time()?;
    search.go()?;
    Ok(search.into_replay(history.compacted))
}

/// For each operation the newest revision that anybody knew of before it was asked.
fn floors(operations: &[&Operation], history: &History) -> Vec<i64> {
    let events = history.events.iter();
    let mut answered: Vec<(Moment, i64)> =
        events.map(|event| (event.at, event.kv.mod_revision)).collect();
    for operation in operations {
        if let Outcome::Answered { returned, answer } = &operation.outcome {
            answered.push((*returned, answer.revision()));
        }
    }
    answered.sort_unstable();
    let mut asked: Vec<usize> = (0..operations.len()).collect();
    asked.sort_by_key(|at| operations[*at].called);
    let (mut floors, mut newest, mut next) = (vec![0; operations.len()], 0, 0);
    for at in asked {
        while let Some((returned, revision)) = answered.get(next)
            && *returned < operations[at].called
        {
            newest = newest.max(*revision);
            next += 1;
        }
        floors[at] = newest;
    }
    floors
}

/// What is known of one revision.
#[derive(Debug, Default)]
struct Known<'a> {
    /// What made it.
    write: Option<usize>,
    /// Ends of leases: each may have made it, or found nothing to delete.
    revokes: Vec<usize>,
    /// What found it and changed nothing.
    reads: Vec<usize>,
    /// What was shown of it later.
    past: Vec<(usize, &'a RangeRequest, &'a Answer)>,
    /// What it has brought.
    seen: Vec<(&'a KeyValue, bool)>,
}

/// What may have made a revision that no answer explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Candidate {
    Asked(usize),
    Expired(i64),
}

/// A revision that no answer explains.
#[derive(Debug)]
struct Gap {
    /// The revision before it, and the changes up to then.
    revision: i64,
    changes: usize,
    candidates: Vec<Candidate>,
    next: usize,
    chosen: Option<Candidate>,
}

struct Search<'a> {
    operations: &'a [&'a Operation],
    floors: Vec<i64>,
    known: BTreeMap<i64, Known<'a>>,
    /// What nobody has heard of again, in the order that it was asked in, without what is settled.
    unanswered: Vec<usize>,
    /// What alone can have written a value that was seen, by the revision that brought it.
    settled: BTreeMap<i64, usize>,
    /// Of each key that was seen: the revisions that saw it, with its first revision and its
    /// version then. In between it was not deleted.
    lives: HashMap<&'a [u8], BTreeMap<i64, (i64, i64)>>,
    /// Some txn compares values, so that one may matter that nobody has seen.
    compares_values: bool,
    first: i64,
    last: i64,
    keys: Keys,
    used: BTreeSet<usize>,
    gaps: Vec<Gap>,
    failed: HashSet<(i64, u64, u64)>,
    deepest: Option<(i64, String)>,
    tries: u64,
}

impl<'a> Search<'a> {
    fn new(
        history: &'a History,
        operations: &'a [&'a Operation],
        floors: Vec<i64>,
    ) -> Result<Self, Broken> {
        let first = history.revision.max(1);
        let mut search = Self {
            operations,
            floors,
            known: BTreeMap::new(),
            unanswered: Vec::new(),
            settled: BTreeMap::new(),
            lives: HashMap::new(),
            compares_values: operations.iter().any(|asked| compares_values(&asked.request)),
            first,
            last: first,
            keys: Keys::new(first, history.rows.iter().cloned()),
            used: BTreeSet::new(),
            gaps: Vec::new(),
            failed: HashSet::new(),
            deepest: None,
            tries: 0,
        };
        for (at, operation) in operations.iter().enumerate() {
            match &operation.outcome {
                Outcome::Answered { answer, .. } => search.know(at, operation, answer)?,
                Outcome::Unknown => search.unanswered.push(at),
            }
        }
        for event in &history.events {
            search.see(&event.kv, event.deleted);
        }
        search.unanswered.sort_by_key(|at| operations[*at].called);
        search.settle();
        search.last = search.known.keys().next_back().copied().unwrap_or(first).max(first);
        Ok(search)
    }

    fn know(
        &mut self,
        at: usize,
        operation: &'a Operation,
        answer: &'a Answer,
    ) -> Result<(), Broken> {
        let revision = answer.revision();
        ensure(revision >= self.first, Rule::Linearizable, || {
            format!("{operation:?} is of before revision {}", self.first)
        })?;
        let known = self.known.entry(revision).or_default();
        if matches!(operation.request, Request::LeaseRevoke(_)) {
            known.revokes.push(at);
        } else if answer.tells_of_a_change() {
            let before = known.write.replace(at);
            ensure(before.is_none(), Rule::Linearizable, || {
                let before = before.map(|before| self.operations[before]);
                format!("two made revision {revision}: {before:?} and {operation:?}")
            })?;
        } else {
            known.reads.push(at);
        }
        let mut shown = Vec::new();
        past_ranges(&operation.request, answer, &mut shown);
        for (range, answer) in shown {
            if range.revision >= self.first {
                self.known.entry(range.revision).or_default().past.push((at, range, answer));
            }
        }
        if !is_bare(&operation.request) {
            answer.kvs().into_iter().for_each(|kv| self.see(kv, false));
        }
        Ok(())
    }

    fn see(&mut self, kv: &'a KeyValue, deleted: bool) {
        if !deleted {
            let lives = self.lives.entry(&kv.key).or_default();
            lives.insert(kv.mod_revision, (kv.create_revision, kv.version));
        }
        if kv.mod_revision > self.first {
            self.known.entry(kv.mod_revision).or_default().seen.push((kv, deleted));
        }
    }

    /// Finds out what must have made a revision, by the values that it has brought.
    fn settle(&mut self) {
        let mut writers: HashMap<(&[u8], &[u8]), Vec<usize>> = HashMap::new();
        for (at, operation) in self.operations.iter().enumerate() {
            for put in puts(&operation.request) {
                writers.entry((&put.key, &put.value)).or_default().push(at);
            }
        }
        for (revision, known) in self.known.iter().filter(|(_, known)| known.write.is_none()) {
            for (kv, _) in known.seen.iter().filter(|(_, deleted)| !deleted) {
                let writers = writers.get(&(kv.key.as_ref(), kv.value.as_ref()));
                if let Some([writer]) = writers.map(|writers| &writers[..]) {
                    self.settled.insert(*revision, *writer);
                }
            }
        }
        let settled: BTreeSet<usize> = self.settled.values().copied().collect();
        self.unanswered.retain(|at| !settled.contains(at));
    }

    /// What was answered before something else was asked comes before it.
    fn check_time(&self) -> Result<(), Broken> {
        for (at, operation) in self.operations.iter().enumerate() {
            let Outcome::Answered { answer, .. } = &operation.outcome else { continue };
            // A change makes a revision that nobody can have been told of before.
            let revision = answer.revision() - i64::from(answer.tells_of_a_change());
            let stale = matches!(&operation.request, Request::Range(range) if range.serializable);
            ensure(stale || revision >= self.floors[at], Rule::RealTime, || {
                format!("revision {} was answered before {operation:?}", self.floors[at])
            })?;
        }
        Ok(())
    }

    fn go(&mut self) -> Result<(), Broken> {
        loop {
            let went = self.advance();
            match went {
                Ok(true) => return Ok(()),
                Ok(false) => self.open_gap(),
                Err(what) => {
                    let deeper = |(revision, _): &(i64, String)| *revision < self.keys.revision;
                    if self.deepest.as_ref().is_none_or(deeper) {
                        self.deepest = Some((self.keys.revision, what));
                    }
                }
            }
            while !self.choose_next() {
                if self.gaps.pop().is_none() {
                    let what = self.deepest.take().map(|(_, what)| what).unwrap_or_default();
                    return Err(Broken { rule: Rule::Linearizable, what });
                }
            }
            let limit = TRIES * (self.operations.len() as u64 + 100);
            ensure(self.tries < limit, Rule::Undecided, || {
                format!("tried {} requests, came to {:?}", self.tries, self.deepest)
            })?;
        }
    }

    /// Goes on as far as answers lead; whether that is the end, or else a gap.
    fn advance(&mut self) -> Result<bool, String> {
        loop {
            let revision = self.keys.revision;
            self.check_reads(revision)?;
            if revision == self.last {
                return Ok(true);
            }
            let Some(write) = self.known.get(&(revision + 1)).and_then(|known| known.write) else {
                return Ok(false);
            };
            self.tries += 1;
            let operation = self.operations[write];
            let Outcome::Answered { answer, .. } = &operation.outcome else { continue };
            let expected = self.keys.apply(&operation.request, &|_| None);
            let same = |expected| agrees(&operation.request, answer, expected);
            if !expected.as_ref().is_some_and(same) {
                return Err(format!("{operation:?}, but it should be {expected:?}"));
            }
            self.check_seen()?;
        }
    }

    /// What was shown of a revision that is reached.
    fn check_reads(&mut self, revision: i64) -> Result<(), String> {
        let Some(known) = self.known.get(&revision) else { return Ok(()) };
        for &at in &known.reads {
            self.tries += 1;
            let operation = self.operations[at];
            let Outcome::Answered { answer, .. } = &operation.outcome else { continue };
            let before = self.keys.changes.len();
            let expected = self.keys.apply(&operation.request, &|_| None);
            let same = |expected| agrees(&operation.request, answer, expected);
            let unchanged = self.keys.changes.len() == before;
            self.keys.take_back(before, revision);
            if !unchanged || !expected.as_ref().is_some_and(same) {
                return Err(format!("{operation:?}, but it should be {expected:?}"));
            }
        }
        for (at, range, answer) in &known.past {
            let expected = super::keys::read(&self.keys.rows, range, answer.revision());
            if !range_agrees(range, answer, &expected) {
                let operation = self.operations[*at];
                return Err(format!("{operation:?}, but {range:?} should be {expected:?}"));
            }
        }
        for &at in known.revokes.iter().filter(|at| !self.used.contains(at)) {
            let operation = self.operations[at];
            let Request::LeaseRevoke(lease) = operation.request else { continue };
            let keys = super::keys::keys_of(&self.keys.rows, lease);
            if !keys.is_empty() {
                return Err(format!("{operation:?} has left {keys:?}"));
            }
        }
        Ok(())
    }

    /// Whether the newest revision has brought what was seen of it.
    fn check_seen(&self) -> Result<(), String> {
        let revision = self.keys.revision;
        let Some(known) = self.known.get(&revision) else { return Ok(()) };
        let made = self.keys.changes.iter().rev();
        let made = made.take_while(|change| change.kv.mod_revision == revision);
        let made: Vec<&Change> = made.collect();
        for (kv, deleted) in &known.seen {
            let same = |change: &&&Change| change.deleted == *deleted && change.kv == **kv;
            if made.iter().find(same).is_none() {
                return Err(format!("{kv:?} was seen, but revision {revision} brought {made:?}"));
            }
        }
        made.into_iter().try_for_each(|change| self.check_life(change))
    }

    /// Whether a change can lead to what was seen of its key later.
    fn check_life(&self, change: &Change) -> Result<(), String> {
        let Change { deleted, kv, .. } = change;
        let lives = self.lives.get(kv.key.as_ref());
        let later = lives.and_then(|lives| lives.range(kv.mod_revision..).next());
        let Some((seen, (created, version))) = later else { return Ok(()) };
        let between = seen - kv.mod_revision;
        let is_right = if *created > kv.mod_revision {
            // It is still to be deleted, and made anew.
            *deleted || *created > kv.mod_revision + 1
        } else {
            let left = version - kv.version;
            !deleted && kv.create_revision == *created && (0..=between).contains(&left)
        };
        match is_right {
            true => Ok(()),
            false => {
                Err(format!("{change:?} does not lead to version {version} of {created} at {seen}"))
            }
        }
    }

    /// Notes all that may have made the next revision, unless that was tried from the same state.
    fn open_gap(&mut self) {
        let revision = self.keys.revision;
        let mut hasher = DefaultHasher::new();
        self.used.hash(&mut hasher);
        if !self.failed.insert((revision, self.keys.sum(), hasher.finish())) {
            return;
        }
        let candidates = self.candidates(revision);
        let changes = self.keys.changes.len();
        self.gaps.push(Gap { revision, changes, candidates, next: 0, chosen: None });
    }

    /// What may have made the revision behind this one.
    fn candidates(&self, revision: i64) -> Vec<Candidate> {
        let open = |at: &usize| self.floors[*at] <= revision && !self.used.contains(at);
        if let Some(settled) = self.settled.get(&(revision + 1)) {
            return Some(*settled).filter(open).into_iter().map(Candidate::Asked).collect();
        }
        let revokes = self.known.get(&(revision + 1)).map_or(&[][..], |known| &known.revokes);
        let mut alike = HashSet::new();
        let asked = revokes.iter().chain(&self.unanswered).copied().filter(open);
        // One value that nobody has seen is as good as another one.
        let asked = asked.filter(|at| match &self.operations[*at].request {
            Request::Put(put) if !self.compares_values && !put.ignore_value => {
                alike.insert((&put.key, &put.key[..0], put.lease, put.ignore_lease))
            }
            Request::DeleteRange(delete) => {
                alike.insert((&delete.key, &delete.range_end[..], -1, false))
            }
            _ => true,
        });
        let mut candidates: Vec<Candidate> = asked.map(Candidate::Asked).collect();
        // What can be done at few moments only is tried first.
        candidates.sort_by_key(|candidate| match candidate {
            Candidate::Asked(at) => !matches!(self.operations[*at].request, Request::Txn(_)),
            Candidate::Expired(_) => true,
        });
        let leases: BTreeSet<i64> = self.keys.rows.values().map(|kv| kv.lease).collect();
        candidates.extend(leases.into_iter().filter(|id| *id != 0).map(Candidate::Expired));
        candidates
    }

    /// Explains the last gap in the next way; false where there is none left.
    fn choose_next(&mut self) -> bool {
        loop {
            let Some(gap) = self.gaps.last_mut() else { return false };
            self.keys.take_back(gap.changes, gap.revision);
            if let Some(Candidate::Asked(at)) = gap.chosen.take() {
                self.used.remove(&at);
            }
            let Some(&candidate) = gap.candidates.get(gap.next) else { return false };
            gap.next += 1;
            gap.chosen = Some(candidate);
            let (revision, expired);
            let request = match candidate {
                Candidate::Asked(at) => {
                    self.used.insert(at);
                    &self.operations[at].request
                }
                Candidate::Expired(id) => {
                    expired = Request::LeaseRevoke(id);
                    &expired
                }
            };
            self.tries += 1;
            revision = gap.revision;
            let done = self.keys.apply(request, &|_| None).is_some();
            if done && self.keys.revision == revision + 1 && self.check_seen().is_ok() {
                return true;
            }
        }
    }

    fn into_replay(self, compacted: i64) -> Replay {
        let mut called = BTreeMap::new();
        for (revision, known) in &self.known {
            if let Some(at) = known.write {
                called.insert(*revision, self.operations[at].called);
            }
        }
        for gap in &self.gaps {
            if let Some(Candidate::Asked(at)) = gap.chosen {
                called.insert(gap.revision + 1, self.operations[at].called);
            }
        }
        Replay {
            changes: self.keys.changes,
            first_revision: self.first,
            revision: self.last,
            compacted,
            called,
            unanswered_done: self.used.len(),
        }
    }
}

/// All puts in a request, whether they are done or not.
fn puts(request: &Request) -> Vec<&PutRequest> {
    match request {
        Request::Put(put) => vec![put],
        Request::Txn(txn) => puts_of(txn),
        _ => Vec::new(),
    }
}

fn puts_of(txn: &TxnRequest) -> Vec<&PutRequest> {
    let ops = txn.success.iter().chain(&txn.failure);
    let puts = ops.flat_map(|op| match &op.request {
        Some(Op::RequestPut(put)) => vec![put],
        Some(Op::RequestTxn(nested)) => puts_of(nested),
        _ => Vec::new(),
    });
    puts.collect()
}

fn compares_values(request: &Request) -> bool {
    matches!(request, Request::Txn(txn) if txn_compares_values(txn))
}

fn txn_compares_values(txn: &TxnRequest) -> bool {
    let nested = txn.success.iter().chain(&txn.failure).any(
        |op| matches!(&op.request, Some(Op::RequestTxn(nested)) if txn_compares_values(nested)),
    );
    nested || txn.compare.iter().any(|compare| compare.target == CompareTarget::Value as i32)
}

/// Whether pairs are shown without their values.
fn is_bare(request: &Request) -> bool {
    let op_is_bare = |op: &RequestOp| match &op.request {
        Some(Op::RequestRange(range)) => range.keys_only,
        // It may hide one deeper down; then less is known.
        Some(Op::RequestTxn(_)) => true,
        _ => false,
    };
    match request {
        Request::Range(range) => range.keys_only,
        Request::Txn(txn) => txn.success.iter().chain(&txn.failure).any(op_is_bare),
        _ => false,
    }
}

/// The ranges of older revisions in a request, with what they showed.
fn past_ranges<'a>(
    request: &'a Request,
    answer: &'a Answer,
    shown: &mut Vec<(&'a RangeRequest, &'a Answer)>,
) {
    match (request, answer) {
        (Request::Range(range), _) if range.revision != 0 => shown.push((range, answer)),
        (Request::Txn(txn), Answer::Txn { succeeded, ops, .. }) => {
            past_ranges_of(if *succeeded { &txn.success } else { &txn.failure }, ops, shown);
        }
        _ => {}
    }
}

fn past_ranges_of<'a>(
    branch: &'a [RequestOp],
    ops: &'a [Answer],
    shown: &mut Vec<(&'a RangeRequest, &'a Answer)>,
) {
    for (op, answer) in branch.iter().zip(ops) {
        match (&op.request, answer) {
            (Some(Op::RequestRange(range)), _) if range.revision != 0 => {
                shown.push((range, answer));
            }
            (Some(Op::RequestTxn(txn)), Answer::Txn { succeeded, ops, .. }) => {
                past_ranges_of(if *succeeded { &txn.success } else { &txn.failure }, ops, shown);
            }
            _ => {}
        }
    }
}

/// Whether an answer is the expected one. Revisions in the headers of a txn's operations are not
/// compared, and what ranges show of older revisions is looked at there.
fn agrees(request: &Request, answer: &Answer, expected: &Answer) -> bool {
    if answer.revision() != expected.revision() {
        return false;
    }
    match request {
        Request::Range(range) => range.revision != 0 || range_agrees(range, answer, expected),
        Request::Txn(txn) => txn_agrees(&txn.success, &txn.failure, answer, expected),
        _ => answer == expected,
    }
}

fn txn_agrees(
    success: &[RequestOp],
    failure: &[RequestOp],
    answer: &Answer,
    expected: &Answer,
) -> bool {
    let (Answer::Txn { succeeded, ops, .. }, Answer::Txn { succeeded: holds, ops: wanted, .. }) =
        (answer, expected)
    else {
        return false;
    };
    let branch = if *holds { success } else { failure };
    succeeded == holds
        && ops.len() == wanted.len()
        && branch.len() == ops.len()
        && branch.iter().zip(ops.iter().zip(wanted)).all(|(op, (answer, expected))| {
            match &op.request {
                Some(Op::RequestRange(range)) => {
                    range.revision != 0 || range_agrees(range, answer, expected)
                }
                Some(Op::RequestTxn(txn)) => {
                    txn_agrees(&txn.success, &txn.failure, answer, expected)
                }
                _ => op_agrees(answer, expected),
            }
        })
}

fn op_agrees(answer: &Answer, expected: &Answer) -> bool {
    match (answer, expected) {
        (Answer::Put { prev_kv: mine, .. }, Answer::Put { prev_kv: theirs, .. }) => mine == theirs,
        (
            Answer::Delete { deleted: mine, prev_kvs: my_kvs, .. },
            Answer::Delete { deleted: theirs, prev_kvs: their_kvs, .. },
        ) => mine == theirs && my_kvs == their_kvs,
        _ => answer == expected,
    }
}

/// Without its revision. Releases differ in whether a pair without its value has its lease.
fn range_agrees(range: &RangeRequest, answer: &Answer, expected: &Answer) -> bool {
    let (
        Answer::Range { count, more, kvs, .. },
        Answer::Range { count: wanted, more: has_more, kvs: rows, .. },
    ) = (answer, expected)
    else {
        return false;
    };
    let same = |(mine, theirs): (&KeyValue, &KeyValue)| match range.keys_only {
        true => KeyValue { lease: 0, ..mine.clone() } == KeyValue { lease: 0, ..theirs.clone() },
        false => mine == theirs,
    };
    count == wanted && more == has_more && kvs.len() == rows.len() && kvs.iter().zip(rows).all(same)
}

#[cfg(test)]
mod tests;

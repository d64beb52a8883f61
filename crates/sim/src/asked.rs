//! What was asked of the member, in order, and what it answered.

use std::collections::BTreeMap;

use proto::etcdserverpb::InternalRaftRequest;
use state::Rejected;

use crate::told::Told;
use crate::verdict::{Checked, Checker, ensure};

/// How a request stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Standing {
    /// Nobody has heard anything: it may have been done, or not.
    Open,
    /// It was done, or refused by what is the same on every member.
    Answered { outcome: Result<Told, Rejected>, revision: i64 },
    /// It never came to the log.
    Dropped,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) request: InternalRaftRequest,
    pub(crate) standing: Standing,
}

/// All requests of a run.
#[derive(Debug, Default)]
pub(crate) struct AskedList {
    list: Vec<Asked>,
    by_id: BTreeMap<u64, usize>,
    /// The first that the log has not told about yet.
    next: usize,
}

impl AskedList {
    pub(crate) fn push(&mut self, id: u64, request: InternalRaftRequest) -> Checked {
        let before = self.by_id.insert(id, self.list.len());
        self.list.push(Asked { request, standing: Standing::Open });
        ensure(before.is_none(), Checker::Log, || format!("the id {id:x} was given twice"))
    }

    pub(crate) fn answered(&mut self, id: u64, standing: Standing) {
        if let Some(at) = self.by_id.get(&id) {
            self.list[*at].standing = standing;
        }
    }

    /// The requests since the last recovery.
    pub(crate) fn recent(&self) -> impl Iterator<Item = &Asked> {
        self.list[self.next..].iter()
    }

    /// The log has this request next: what was asked before it and is not in the log may only be
    /// what was dropped. `None` where nobody asked.
    pub(crate) fn logged(&mut self, id: u64) -> Checked<Option<&Asked>> {
        let Some(&at) = self.by_id.get(&id) else { return Ok(None) };
        ensure(at >= self.next, Checker::Log, || {
            format!("request {at} is in the log after request {}", self.next)
        })?;
        for (skipped, asked) in self.list[self.next..at].iter().enumerate() {
            let skipped = self.next + skipped;
            let dropped = asked.standing == Standing::Dropped;
            ensure(dropped, missing_is(asked), || {
                format!("request {skipped} is missing before request {at}: {asked:?}")
            })?;
        }
        let asked = &self.list[at];
        ensure(asked.standing != Standing::Dropped, Checker::Log, || {
            format!("request {at} was refused and is in the log")
        })?;
        self.next = at + 1;
        Ok(Some(&self.list[at]))
    }

    /// The log has no more: what was acknowledged must have come.
    pub(crate) fn end(&mut self) -> Checked {
        for asked in self.recent() {
            let lost = matches!(asked.standing, Standing::Answered { .. });
            ensure(!lost, Checker::Acknowledged, || format!("not in the log: {asked:?}"))?;
        }
        self.next = self.list.len();
        Ok(())
    }
}

fn missing_is(asked: &Asked) -> Checker {
    match asked.standing {
        Standing::Answered { .. } => Checker::Acknowledged,
        Standing::Open | Standing::Dropped => Checker::Log,
    }
}

//! A state machine that applies the same entries and never crashes.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::SimDisk;
use mvcc::{Backend, Progress};
use proto::Message as _;
use proto::raftpb::{ConfChange, ConfState, Entry, EntryType};
use state::{Effect, EntryId, EntryRequest, State};

use crate::verdict::{Checked, Checker};

pub(crate) struct Reference {
    state: State,
}

impl Reference {
    pub(crate) fn new(min_lease_ttl: i64) -> Checked<Self> {
        let disk = Arc::new(SimDisk::new(0));
        let backend = Backend::open(disk, Path::new("/db"), bolt::Options::default());
        let backend = backend.map_err(odd)?;
        let options = state::Options {
            min_lease_ttl,
            quota: state::QuotaBytes::from_flag(-1),
            ..state::Options::default()
        };
        Ok(Self { state: State::open(backend, options).map_err(odd)? })
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn apply(&mut self, entry: &Entry) -> Checked {
        let at = EntryId { index: entry.index(), term: entry.term() };
        let data = Bytes::copy_from_slice(entry.data());
        if entry.r#type() == EntryType::EntryConfChange {
            let change = ConfChange::decode(data).map_err(odd)?;
            self.state.apply_conf_change(at, &change).map_err(odd)?;
            let voters = vec![change.node_id()];
            self.state.set_conf_state(ConfState { voters, ..ConfState::default() });
            return Ok(());
        }
        match EntryRequest::read(&data).map_err(odd)? {
            EntryRequest::Request(request) => {
                let applied = self.state.apply(at, &request, false).map_err(odd)?;
                if let Effect::Compaction(mut job) = applied.effect {
                    while job.step(1000).map_err(odd)? != Progress::Done {}
                }
            }
            EntryRequest::Empty | EntryRequest::Ignored { .. } => self.state.apply_empty(at),
        }
        Ok(())
    }

    /// Brings everything to the db file.
    pub(crate) fn flush(&mut self) -> Checked {
        while self.state.seal() {
            self.state.views().backend.commit_sealed().map_err(odd)?;
        }
        Ok(())
    }
}

fn odd(error: impl std::fmt::Display) -> (Checker, String) {
    (Checker::Hash, format!("the reference cannot follow the log: {error}"))
}

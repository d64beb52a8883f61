//! A driver in memory: everything that is asked for is done at once, in order.

use raft::{
    ConfState, Config, Entry, EntryBody, HardState, LogIndex, MemStorage, Message, NodeId, RawNode,
    ReadState, Ready, SoftState, StorageAppend, StorageApply,
};

pub(crate) type Payload = Vec<u8>;

pub(crate) fn id(id: u64) -> NodeId {
    NodeId::new(id).expect("ids in tests are not zero")
}

pub(crate) fn ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(id).collect()
}

pub(crate) fn voters(voters: &[u64]) -> ConfState {
    ConfState { voters: ids(voters), ..ConfState::default() }
}

/// A log without entries whose members are given.
pub(crate) fn storage(members: ConfState) -> MemStorage<Payload> {
    let mut storage = MemStorage::new();
    storage.set_conf_state(members);
    storage
}

/// One node, its disk and its state machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) node: RawNode<Payload, MemStorage<Payload>>,
    /// All that was applied, in order.
    pub(crate) applied: Vec<Entry<Payload>>,
    pub(crate) soft_states: Vec<SoftState>,
    pub(crate) read_states: Vec<ReadState<Payload>>,
    pub(crate) outbox: Vec<Message<Payload>>,
    pub(crate) syncs: usize,
    pub(crate) appends: usize,
}

impl Member {
    pub(crate) fn new(config: Config, storage: MemStorage<Payload>) -> Self {
        Self::of(RawNode::new(config, storage).expect("test configuration is valid"))
    }

    pub(crate) fn of(node: RawNode<Payload, MemStorage<Payload>>) -> Self {
        Self {
            node,
            applied: Vec::new(),
            soft_states: Vec::new(),
            read_states: Vec::new(),
            outbox: Vec::new(),
            syncs: 0,
            appends: 0,
        }
    }

    /// Takes out what the node wants done, without doing the storage parts.
    pub(crate) fn ready(
        &mut self,
    ) -> (Option<StorageAppend<Payload>>, Option<StorageApply<Payload>>) {
        let mut ready = Ready::default();
        self.node.ready(&mut ready).expect("the node has not failed");
        self.soft_states.extend(ready.soft_state);
        self.read_states.append(&mut ready.read_states);
        self.outbox.append(&mut ready.messages);
        (ready.append, ready.apply)
    }

    /// Writes an append and reports it done.
    pub(crate) fn append(&mut self, append: StorageAppend<Payload>) {
        self.appends += 1;
        self.syncs += usize::from(append.must_sync);
        let storage = self.node.storage_mut();
        if let Some(hard_state) = append.hard_state {
            storage.set_hard_state(hard_state);
        }
        if let Some(snapshot) = append.snapshot {
            storage.apply_snapshot(snapshot).expect("a newer snapshot");
        }
        storage.append(append.entries).expect("no holes");
        self.node.on_append_done(append.ticket, &mut self.outbox).expect("in order");
    }

    /// Applies what is committed and reports it done.
    pub(crate) fn apply(&mut self, apply: StorageApply<Payload>) {
        for entry in &apply.entries {
            if let EntryBody::ConfChange(change) = &entry.body {
                let conf_state =
                    self.node.apply_conf_change(entry.id.index, change).expect("a possible change");
                self.node.storage_mut().set_conf_state(conf_state);
            }
        }
        self.applied.extend(apply.entries);
        self.node.on_apply_done(apply.ticket).expect("in order");
    }

    /// Does everything until there is nothing to do.
    pub(crate) fn settle(&mut self) {
        while self.node.has_ready() {
            let (append, apply) = self.ready();
            if let Some(append) = append {
                self.append(append);
            }
            if let Some(apply) = apply {
                self.apply(apply);
            }
        }
    }

    /// Does everything but apply; gives what is to be applied.
    pub(crate) fn settle_without_applying(&mut self) -> Vec<StorageApply<Payload>> {
        let mut waiting = Vec::new();
        while self.node.has_ready() {
            let (append, apply) = self.ready();
            if let Some(append) = append {
                self.append(append);
            }
            waiting.extend(apply);
        }
        waiting
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.node.status().hard_state
    }

    pub(crate) fn commit(&self) -> u64 {
        self.hard_state().commit.0
    }

    pub(crate) fn term(&self) -> u64 {
        self.hard_state().term.0
    }

    /// The application's payloads among what was applied.
    pub(crate) fn payloads(&self) -> Vec<&[u8]> {
        fn payload(entry: &Entry<Payload>) -> Option<&[u8]> {
            match &entry.body {
                EntryBody::Normal(payload) => Some(payload),
                _ => None,
            }
        }
        self.applied.iter().filter_map(payload).collect()
    }

    pub(crate) fn applied_index(&self) -> LogIndex {
        self.node.status().applied
    }
}

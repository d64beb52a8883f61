//! A state that a leader sends: to disk first, opened beside the drive, then taken all at once.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use env::{Access, File};
use prometheus::HistogramTimer;
use proto::raftpb;
use raft::{Body, Message};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::drive::Prepared;
use crate::node::blocking;
use crate::opening::Opening;
use crate::queue::Order;
use crate::wire::{self, Payload};
use crate::{Error, Node, metrics};

/// A snapshot whose db file is arriving. Dropped before its end, it leaves nothing.
pub struct IncomingSnapshot {
    node: Node,
    message: Message<Payload>,
    file: ReceivedFile,
    _turn: OwnedSemaphorePermit,
}

/// The db file of a snapshot on its way to disk.
pub(crate) struct ReceivedFile {
    opening: Opening,
    index: u64,
    /// It gets its name when it is whole; what begins with "tmp" is removed at the next start.
    path: PathBuf,
    file: Arc<dyn File>,
    len: u64,
    kept: bool,
    /// Of all that it takes to have the file here; what came to nothing does not count.
    timer: Option<HistogramTimer>,
}

impl Node {
    /// Begins to receive the state that a `MsgSnap` is about; one at a time.
    pub async fn begin_snapshot(
        &self,
        message: raftpb::Message,
    ) -> Result<IncomingSnapshot, Error> {
        let turn = Arc::clone(&self.shared.receiving).try_acquire_owned();
        let turn = turn.map_err(|_| Error::TooManyRequests)?;
        let message = snapshot_message(message)?;
        let index = index_of(&message);
        let (opening, dir) = (self.shared.opening.clone(), self.shared.snap_dir());
        let file = blocking(move || ReceivedFile::create(opening, dir, index)).await?;
        Ok(IncomingSnapshot { node: self.clone(), message, file, _turn: turn })
    }
}

impl IncomingSnapshot {
    /// Takes the next bytes of the db file.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let (file, at) = (Arc::clone(&self.file.file), self.file.len);
        self.file.len += bytes.len() as u64;
        blocking(move || file.write_all_at(&bytes, at).map_err(|error| failed("write", &error)))
            .await
    }

    /// The db file is whole: checks it, and takes the state over where it is newer. Returns when
    /// that is done.
    pub async fn finish(self) -> Result<(), Error> {
        let Self { node, message, file, _turn } = self;
        let prepared = blocking(move || file.prepare(message)).await;
        let (prepared, done) = prepared?;
        node.shared.queue.order(Order::Install(Box::new(prepared)));
        node.shared.wake();
        done.await.map_err(|_| Error::Stopped)
    }
}

/// Reads a `MsgSnap`.
pub(crate) fn snapshot_message(message: raftpb::Message) -> Result<Message<Payload>, Error> {
    let malformed = |reason: &str| Error::Malformed(reason.to_owned());
    let message = wire::message(message).map_err(Error::Malformed)?;
    let message = message.ok_or_else(|| malformed("no snapshot"))?;
    match &message.body {
        Body::Snapshot { snapshot } if snapshot.meta.id.index.0 > 0 => Ok(message),
        _ => Err(malformed("no snapshot")),
    }
}

pub(crate) fn index_of(message: &Message<Payload>) -> u64 {
    match &message.body {
        Body::Snapshot { snapshot } => snapshot.meta.id.index.0,
        _ => 0,
    }
}

impl ReceivedFile {
    pub(crate) fn create(opening: Opening, dir: PathBuf, index: u64) -> Result<Self, Error> {
        let path = dir.join(format!("tmp-{index:016x}.snap.db"));
        // What a broken transfer has left there is of no use.
        let _ = opening.disk.remove_file(&path);
        let file = opening.disk.open(&path, Access::Create);
        let file = file.map_err(|error| failed("create", &error))?;
        let timer = Some(metrics::SNAP_DB_SAVE.start_timer());
        Ok(Self { opening, index, path, file, len: 0, kept: false, timer })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all_at(bytes, self.len);
        self.len += bytes.len() as u64;
        written.map_err(|error| failed("write", &error))
    }

    /// Makes the file durable under its name, and opens it.
    pub(crate) fn prepare(
        mut self,
        message: Message<Payload>,
    ) -> Result<(Prepared, oneshot::Receiver<()>), Error> {
        let timer = metrics::SNAP_DB_FSYNC.start_timer();
        self.file.sync_data().map_err(|error| failed("sync", &error))?;
        timer.observe_duration();
        let mut state = self.opening.open(&self.path);
        if let Ok(opened) = &state
            && opened.applied().index != self.index
        {
            state = Err(crate::Fatal::Bootstrap(format!(
                "it holds the state at index {}, not at {}",
                opened.applied().index,
                self.index
            )));
        }
        let state = state.map_err(|error| {
            Error::Storage(format!("the db file of the snapshot cannot be used: {error}"))
        })?;
        let name = wal::snap::db_file_name(self.index);
        let path = self.path.with_file_name(name);
        let disk = &self.opening.disk;
        disk.rename(&self.path, &path).map_err(|error| failed("rename", &error))?;
        let dir = path.parent().expect("it lies in the snap directory");
        disk.sync_dir(dir).map_err(|error| failed("sync the directory of", &error))?;
        self.kept = true;
        if let Some(timer) = self.timer.take() {
            timer.observe_duration();
        }
        let (answer, done) = oneshot::channel();
        Ok((Prepared { message, index: self.index, state, path, answer }, done))
    }
}

impl Drop for ReceivedFile {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.stop_and_discard();
        }
        if !self.kept {
            // It only takes room.
            let _ = self.opening.disk.remove_file(&self.path);
        }
    }
}

fn failed(what: &str, error: &std::io::Error) -> Error {
    Error::Storage(format!("{what} a received snapshot: {error}"))
}

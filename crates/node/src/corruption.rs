//! Whether what is on disk is still what was written.
//!
//! Members compare their hashes of all keys; one that is alone compares two of its own, which
//! differ where its disk, or its memory, does not give back what it was given.

use std::time::Duration;

use mvcc::HashKv;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmRequest, AlarmType, InternalRaftRequest};

use crate::{Error, Node};

impl Node {
    /// Compares two hashes, and raises the CORRUPT alarm where they should be the same and are
    /// not: no key is read or written any more then, until an operator has looked.
    pub(crate) async fn check_corruption(&self) -> Result<(), Error> {
        let first = self.hash_kv(0).await?;
        self.read_barrier().await?;
        let second = self.hash_kv(0).await?;
        if !contradict(&first, &second) {
            return Ok(());
        }
        tracing::warn!(
            "revision-1" = first.revision,
            "compact-revision-1" = first.compact_revision,
            "hash-1" = first.hash,
            "revision-2" = second.revision,
            "compact-revision-2" = second.compact_revision,
            "hash-2" = second.hash,
            "found hash mismatch"
        );
        let alarm = AlarmRequest {
            action: AlarmAction::Activate as i32,
            member_id: self.shared.member_id,
            alarm: AlarmType::Corrupt as i32,
        };
        let request = InternalRaftRequest { alarm: Some(alarm), ..Default::default() };
        self.propose(request).await.map(drop)
    }

    /// Checks again and again. Never returns; never begins where there is no interval.
    pub(crate) async fn watch_corruption(&self, interval: Option<Duration>) {
        let Some(interval) = interval else { return std::future::pending().await };
        let me = format!("{:x}", self.shared.member_id);
        tracing::info!(
            "local-member-id" = me,
            interval = ?interval,
            "enabled corruption checking"
        );
        loop {
            tokio::time::sleep(interval).await;
            if let Err(failure) = self.check_corruption().await {
                tracing::warn!(error = failure.to_string(), "failed to check hash KV");
            }
        }
    }
}

/// Two hashes of the same history that are not the same.
fn contradict(first: &HashKv, second: &HashKv) -> bool {
    let same_history =
        first.revision == second.revision && first.compact_revision == second.compact_revision;
    same_history && first.hash != second.hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashes_of_one_history_contradict_each_other() {
        let hash = |hash, compact_revision, revision| HashKv { hash, compact_revision, revision };
        assert!(contradict(&hash(1, 2, 9), &hash(3, 2, 9)));
        assert!(!contradict(&hash(1, 2, 9), &hash(1, 2, 9)));
        assert!(!contradict(&hash(1, 2, 9), &hash(3, 2, 10)), "there was a write between");
        assert!(!contradict(&hash(1, 2, 9), &hash(3, 4, 9)), "there was a compaction between");
    }
}

//! Making the db file smaller because somebody asks for it.

use crate::{Error, Node, humane_bytes, metrics};

impl Node {
    /// Makes the db file as small as it can be. Nothing else waits for it.
    pub async fn defragment(&self) -> Result<(), Error> {
        let views = self.shared.views();
        let db = views.backend.db();
        let (size, in_use) = (db.size(), db.size_in_use());
        let path = self.shared.db_path.display().to_string();
        tracing::info!(
            path,
            "current-db-size-bytes" = size,
            "current-db-size" = humane_bytes(size),
            "current-db-size-in-use-bytes" = in_use,
            "current-db-size-in-use" = humane_bytes(in_use),
            "defragmenting"
        );
        let begun = self.now();
        metrics::DEFRAG_INFLIGHT.set(1);
        let flushed = self.flush().await;
        let done = self.shared.committer.vacuum().await;
        metrics::DEFRAG_INFLIGHT.set(0);
        let took = self.now().saturating_sub(begun);
        metrics::BACKEND_DEFRAG.observe(took.as_secs_f64());
        flushed?;
        done.map_err(|_| Error::Stopped)?.map_err(Error::Storage)?;
        let (size_now, in_use_now) = (db.size(), db.size_in_use());
        tracing::info!(
            path,
            "current-db-size-bytes-diff" = difference(size_now, size),
            "current-db-size-bytes" = size_now,
            "current-db-size" = humane_bytes(size_now),
            "current-db-size-in-use-bytes-diff" = difference(in_use_now, in_use),
            "current-db-size-in-use-bytes" = in_use_now,
            "current-db-size-in-use" = humane_bytes(in_use_now),
            took = ?took,
            "finished defragmenting directory"
        );
        Ok(())
    }

    /// Does so at the start, as etcd does where that is worth the threshold. Zero is no wish.
    pub async fn defragment_at_start(&self, threshold_megabytes: u64) -> Result<(), Error> {
        if threshold_megabytes == 0 {
            return Ok(());
        }
        let views = self.shared.views();
        let db = views.backend.db();
        let free = db.size().saturating_sub(db.size_in_use());
        let threshold = threshold_megabytes.saturating_mul(1 << 20);
        if free < threshold {
            tracing::info!(
                "current-db-size-bytes" = db.size(),
                "current-db-size" = humane_bytes(db.size()),
                "current-db-size-in-use-bytes" = db.size_in_use(),
                "current-db-size-in-use" = humane_bytes(db.size_in_use()),
                "bootstrap-defrag-threshold-bytes" = threshold,
                "bootstrap-defrag-threshold" = humane_bytes(threshold),
                "Skipping defragmentation"
            );
            return Ok(());
        }
        self.defragment().await
    }
}

fn difference(now: u64, before: u64) -> i64 {
    now.cast_signed().wrapping_sub(before.cast_signed())
}

//! How db files are opened: the member's own, and those that it receives.

use std::path::Path;
use std::sync::Arc;

use env::Disk;
use mvcc::{Backend, WatchOptions};
use state::{QuotaBytes, State};

use crate::{Fatal, Options, World};

/// What a db file is opened with.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) disk: Arc<dyn Disk>,
    db: bolt::Options,
    state: state::Options,
}

impl Opening {
    pub(crate) fn new(world: &World, options: &Options) -> Self {
        let tick_ms = u64::try_from(options.tick.as_millis()).unwrap_or(u64::MAX);
        Self {
            disk: Arc::clone(&world.disk),
            db: bolt::Options {
                cache_bytes: options.page_cache_bytes,
                no_sync: options.no_fsync,
                ..bolt::Options::default()
            },
            state: state::Options {
                min_lease_ttl: state::min_lease_ttl(options.election_ticks, tick_ms),
                max_learners: options.max_learners,
                persist_checkpoints: options.has("LeaseCheckpointPersist"),
                quota: QuotaBytes::from_flag(options.quota_bytes),
                watch: WatchOptions {
                    ring_bytes: options.recent_events_bytes,
                    ..WatchOptions::default()
                },
                store: mvcc::Options { value_budget_bytes: options.value_budget_bytes },
            },
        }
    }

    /// Reads the state from a file.
    pub(crate) fn open(&self, path: &Path) -> Result<State, Fatal> {
        let backend = Backend::open(Arc::clone(&self.disk), path, self.db)?;
        Ok(State::open(backend, self.state)?)
    }
}

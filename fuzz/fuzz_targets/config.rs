//! A config file of any text: read, judged, and taken apart into what a member is told.
#![no_main]
#![allow(dead_code, reason = "the program's files are here for its config file alone")]

use config::check::check;
use config::{Config, data_dir, initial_cluster};
use libfuzzer_sys::fuzz_target;
use options::{TABLE, file};

#[path = "../../crates/pintle/src/config/mod.rs"]
mod config;
#[path = "../../crates/pintle/src/logging/mod.rs"]
mod logging;
#[path = "../../crates/pintle/src/options/mod.rs"]
mod options;
#[path = "../../crates/pintle/src/version.rs"]
mod version;

/// What the line of the start is about; nobody looks for members here.
mod bootstrap {
    pub(crate) struct First {
        pub(crate) members: net::InitialCluster,
        pub(crate) token: String,
    }
}

fuzz_target!(|text: &str| {
    let Ok(settings) = file::parse(text) else { return };
    for row in TABLE {
        let _ = (settings.value(row.name), settings.source(row.name));
    }
    let refused = !check(&settings).problems.is_empty();
    let _ = logging::LogConfig::read(&settings);
    let _ = (data_dir(&settings), initial_cluster(&settings));
    if refused {
        return;
    }
    if let Ok(config) = Config::new(&settings, None) {
        let _ = (config.bootstrap.members(), config.wal_path(), config.raft.election_ticks());
    }
});

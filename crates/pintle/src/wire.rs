//! Puts the parts of a member together.

use crate::config::Config;
use crate::logging::Logger;
use crate::run::Ended;

/// Runs a member until it ends.
pub(crate) fn run_member(config: &Config, logger: &Logger) -> Result<Ended, anyhow::Error> {
    let _ = (config, logger);
    anyhow::bail!("a member is not wired up yet")
}

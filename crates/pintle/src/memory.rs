//! Keeps what the member has in memory from being swapped out, where that is wished.

use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::logging::Logger;

/// Locks the process's memory, that which it has and that which is to come.
///
/// etcd locks the db file, which it has mapped. Here nothing is mapped: what etcd would read there
/// is in memory of the process.
pub(crate) fn lock(logger: &Logger) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Memlock);
    // What nobody has to be asked for. Where it fails, the lock says why.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: limit.maximum, ..limit });
    // Pages as they are touched: stacks and reserved memory are mostly empty.
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all).map_err(|error| anyhow::anyhow!("mlock error: {}", reason(error)))?;
    logger.info("locked the memory of this process").send();
    Ok(())
}

/// In Go's words for the system's reasons, and what to do.
fn reason(error: Errno) -> String {
    const DO: &str = "--memory-mlock needs CAP_IPC_LOCK or a higher limit of locked memory";
    match error {
        // More than the limit, and no limit at all.
        Errno::NOMEM | Errno::AGAIN => format!("cannot allocate memory ({DO})"),
        Errno::PERM => format!("operation not permitted ({DO})"),
        error => error.to_string(),
    }
}

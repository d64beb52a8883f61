//! Tells the init daemon that the member serves, by systemd's protocol.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::logging::{Level, Logger};

/// The variable in which the init daemon says where it listens.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Says that the member is ready, when somebody wants to know.
pub(crate) fn ready(logger: &Logger) {
    logger.info("notifying init daemon").send();
    // An empty one is none.
    let told = match std::env::var_os(VARIABLE).filter(|socket| !socket.is_empty()) {
        Some(socket) => tell(&socket),
        // Not started by systemd, or not to be watched.
        None => Ok(()),
    };
    match told {
        Ok(()) => logger.info("successfully notified init daemon").send(),
        Err(error) => {
            let message = "failed to notify systemd for readiness";
            logger.line(Level::Error, message).error(error).send();
        }
    }
}

fn tell(socket: &OsStr) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    let address = match socket.as_bytes() {
        // A name that is no file.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(|_| ())
}

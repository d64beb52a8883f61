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
    let told = match std::env::var_os(VARIABLE) {
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn the_daemon_hears_of_readiness() {
        let path = std::env::temp_dir().join(format!("pintle-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let daemon = UnixDatagram::bind(&path).expect("binds");
        super::tell(path.as_os_str()).expect("is heard");
        let mut heard = [0; 16];
        let length = daemon.recv(&mut heard).expect("hears");
        assert_eq!(&heard[..length], b"READY=1");
        std::fs::remove_file(&path).expect("can be removed");
        assert!(super::tell(path.as_os_str()).is_err());
    }
}

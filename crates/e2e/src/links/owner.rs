//! Which process has a socket, as the kernel tells in /proc.

use std::net::{Ipv4Addr, SocketAddr};

/// The socket of a connection on this machine, by its own address and the other end's.
pub(super) fn socket_inode(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").ok()?;
    let ends = format!("{} {}", hex(local)?, hex(remote)?);
    let line = table.lines().find(|line| line.contains(&ends))?;
    line.split_whitespace().nth(9)?.parse().ok()
}

/// Addresses are written as the machine's own words of the network's order.
fn hex(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let ip = Ipv4Addr::from(address.ip().octets());
    #[expect(clippy::host_endian_bytes, reason = "the kernel prints it so")]
    let word = u32::from_ne_bytes(ip.octets());
    Some(format!("{word:08X}:{:04X}", address.port()))
}

/// Whether a process has this socket open.
pub(super) fn has_socket(pid: u32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| {
        std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == &wanted[..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_is_found_in_the_process_that_dialled() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let inode = socket_inode(local, remote).unwrap();
        assert!(has_socket(std::process::id(), inode));
        drop(client);
        assert!(!has_socket(std::process::id(), inode));
    }
}

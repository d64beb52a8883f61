//! The machine's own address, for members that were told to listen on all addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The address from which this machine talks to the rest of the world: that of the default route,
/// IPv4 before IPv6. Asks the routing table only; nothing is sent.
pub fn default_host() -> io::Result<IpAddr> {
    // Addresses reserved for documentation: always beyond the default route.
    let far = [
        (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv4Addr::new(192, 0, 2, 1))),
        (
            IpAddr::from(Ipv6Addr::UNSPECIFIED),
            IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        ),
    ];
    let mut error = io::Error::other("no default route");
    for (any, there) in far {
        match source_towards(any, there) {
            Ok(address) if !address.is_unspecified() => return Ok(address),
            Ok(_) => {}
            Err(found) => error = found,
        }
    }
    Err(error)
}

fn source_towards(any: IpAddr, there: IpAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((there, 9))?;
    Ok(socket.local_addr()?.ip())
}

//! Listeners, TLS, URLs, connection limits, and what the DNS says of services.
//!
//! An operator names every door as a URL. This crate reads such URLs by the rules (and with the
//! error texts) that etcd's users know, and turns the ones to listen on into sockets.
//!
//! ```text
//!  "http://127.0.0.1:2379,unix://sock" --parse_urls--> [Url] --BoundSocket::bind, listen--> accept()
//!                                                                  |              |
//!                                          SocketOptions ----------'   Connection { stream, peer }
//!                                          ConnectionLimit: a permit inside each connection
//! ```
//!
//! Invariants: a list of URLs is sorted by its text; a `Url` in hand has a known scheme and, for
//! http and https, a `host:port` and no path; a connection holds its permit until it is dropped;
//! a unix socket's file goes when its listener goes.
//!
//! What it never knows: HTTP, gRPC, members, options by name.
//!
//! Files in reading order: `url`, `escape`, `check`, `cluster`, `limit`, `listener`, `stream`,
//! `tls/`, `machine`, `dns/`.

mod check;
mod cluster;
mod dns;
mod escape;
mod limit;
mod listener;
mod machine;
mod stream;
mod tls;
mod url;

pub use check::{BadAddress, check_advertised, check_bindable};
pub use cluster::InitialCluster;
pub use dns::{DnsError, SrvRecord, SrvResolver};
pub use limit::{ConnectionLimit, DescriptorsTooFew, RESERVED_DESCRIPTORS, descriptor_limit};
pub use listener::{BindError, BoundSocket, Connection, Listener, LocalAddress, SocketOptions};
pub use machine::default_host;
pub use stream::Stream;
pub use tls::{
    ClientTls, Endpoint, Secured, Security, SelfSigned, ServerTls, TlsError, TlsInfo,
    check_cipher_suites, self_signed,
};
pub use url::{BadUrl, Scheme, Url, parse_urls};

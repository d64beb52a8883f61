//! Serves the v3 API by asking members for it: `grpc-proxy`.
//!
//! ```text
//!   clients -> api::Server -> rpc table --kv-----> cache, namespace ---.
//!                                       --watch--> one watch for many --+-> client -> members
//!                                       --lease--> streams that outlive a member
//!                                       --the rest, as bytes ----------'
//! ```
//!
//! Invariants: what the proxy has nothing to do with goes through as the bytes that came; a write
//! that may have reached a member is not made again; a watcher sees what concerns it in order and
//! once, also when its member dies or its client is slow; every queue and the cache have a bound.
//!
//! What it never knows: raft, the log, the db file, members from within.
//!
//! Files in reading order: `proxy`, `status`, `forward`, `namespace`, `cache`, `order`, `kv`,
//! `watch/`, `lease`, `leader`, `cluster`, `health`, `scrape`, `metrics`.

mod cache;
mod cluster;
mod forward;
mod health;
mod kv;
mod leader;
mod lease;
mod metrics;
mod namespace;
mod order;
mod proxy;
mod scrape;
mod status;
mod watch;

pub use cluster::Registration;
pub use proxy::{Options, Proxy};

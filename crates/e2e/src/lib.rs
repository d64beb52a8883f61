//! What the end-to-end tests stand on: real binaries as processes, and clients that hide nothing.
//!
//! ```text
//!   test ---> Scratch: a folder --- Member: a process of pintle or etcd on it
//!     |                                ^            ^
//!     |-- Running: etcdctl, ... -------'            |
//!     |-- Grpc: raw calls --------------------------'
//!     '-- Cluster: several of them ----> links: a proxy before each, which cuts and delays
//!                                        hosts: or a network namespace for each
//!                                        names: where they look for each other
//! ```
//!
//! What holds here:
//!
//! * Everything listens on loopback only, on ports of its own, and in a folder of its own.
//! * A process ends with the value that started it, by its id.
//! * A program that is not here makes a test say `skipped: ..` and pass.
//! * All members that are alone have the same name and the same advertised peer URL, so two servers
//!   that got the same requests have the same ids and can be compared with them.
//!
//! It never knows what is right: that is etcd's to show, and the suites' to compare.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `PINTLE_BIN` | the server under test; etcd itself proves the suites | built by cargo |
//! | `PINTLE_PEERS` | folder of etcd 3.7.1, etcdctl, etcdutl and bbolt | `target/peers/bin-3.7.1` |
//! | `PINTLE_PEER_3_6` | etcd 3.6 | `target/peers/bin-3.6.16/etcd` |
//! | `PINTLE_PEER_3_5` | etcd 3.5 | `target/peers/bin-3.5.35/etcd` |
//! | `PINTLE_KUBERNETES` | folder of kube-apiserver and its client | `target/peers/kubernetes-1.37.2` |
//! | `PINTLE_CLIENTS` | folder of the clients of other languages | `target/clients` |
//! | `PINTLE_SEED` | where all chance comes from | 1 |
//! | `PINTLE_ROUND_SEED` | one round only, of a suite that prints such seeds | |
//! | `PINTLE_ROUNDS` | how often the suites repeat that do | a few; see each suite |
//!
//! The long form of everything: `PINTLE_ROUNDS=500 cargo test --release -p e2e -- --nocapture`.
//!
//! Files in reading order: `programs`, `member`, `scratch`, `ports`, `command`, `grpc`, `rpc`,
//! `requests`, `certificates`, `cluster`, `links`, `hosts`, `names`, `collector`, `proxy`, `wait`,
//! `knobs`.

mod certificates;
mod cluster;
mod collector;
mod command;
mod grpc;
mod hosts;
mod knobs;
mod links;
mod member;
mod names;
mod ports;
mod programs;
mod proxy;
mod requests;
mod rpc;
mod scratch;
mod wait;

pub use certificates::Authority;
pub use cluster::Cluster;
pub use collector::Collector;
pub use command::{Outcome, Running, run};
pub use grpc::{Call, Grpc, Status};
pub use hosts::{Hosts, on_hosts};
pub use knobs::{round_seeds, rounds, seed};
pub use member::{Member, member_flags};
pub use names::{Asked, Names};
pub use ports::free as free_port;
pub use programs::{Server, in_path, kubernetes, peer, root};
pub use proxy::Proxy;
pub use requests::{Answer, Generator, Mix, Request};
pub use rpc::{Client, Rpc, everything, streams};
pub use scratch::Scratch;
pub use wait::{now, pause, until};

//! The db file from outside: against a model, against bbolt, on a disk that crashes.
//!
//! BOLT_SEEDS=100 runs a hundred times as many seeds; PINTLE_PEERS and PINTLE_FIXTURES say where
//! etcd's binaries and files are, without which some tests have nothing to do.

mod corrupt;
mod crash;
mod image;
mod kit;
mod model;
mod peers;
mod threads;
mod vacuum;

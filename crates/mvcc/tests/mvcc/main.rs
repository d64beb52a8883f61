//! The store against a plain history, against damage, and against what etcd wrote and reads.

mod concurrent;
mod kit;
mod model;
mod peers;
mod random_walk;
mod stories;

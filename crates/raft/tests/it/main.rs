//! The crate from outside, as a driver sees it.

mod arbitrary;
mod cluster;
mod failover;
mod flapping;
mod harness;
mod history;
mod holes;
mod random;
mod scripts;
mod sections;
mod single_voter;
mod trace;

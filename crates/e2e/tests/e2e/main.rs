//! End-to-end suites against real binaries; see the crate's own words for the variables.

mod bad;
mod both;
mod clients;
mod cluster;
mod differential;
mod downgrade;
mod edges;
mod gateway;
mod handover;
mod headers;
mod http;
mod kill;
mod lease;
mod log;
mod luck;
mod metrics;
mod options;
mod proxies;
mod replay;
mod snapshot;
mod tools;
mod transcripts;
mod watch;
mod writers;

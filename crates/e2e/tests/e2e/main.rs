//! End-to-end suites against real binaries; see the crate's own words for the variables.

mod audit;
mod bad;
mod both;
mod clients;
mod cluster;
mod differential;
mod downgrade;
mod edges;
mod election;
mod handover;
mod headers;
mod http;
mod kill;
mod lease;
mod lock;
mod log;
mod luck;
mod metrics;
mod options;
mod quota;
mod replay;
mod snapshot;
mod tools;
mod transcripts;
mod watch;
mod writers;

//! End-to-end suites against real binaries; see the crate's own words for the variables.

mod kill;
mod transcripts;
mod writers;

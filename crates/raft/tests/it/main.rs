//! The crate from outside, as a driver sees it.

mod harness;
mod single_voter;

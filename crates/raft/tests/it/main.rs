//! The crate from outside, as a driver sees it.

mod harness;
mod scripts;
mod single_voter;

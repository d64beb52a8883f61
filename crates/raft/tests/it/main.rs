//! The crate from outside, as a driver sees it.

mod harness;
mod random;
mod scripts;
mod single_voter;

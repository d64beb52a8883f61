//! The paper and the thesis, section by section: a test per sentence that can be tested.
//!
//! "Paper" is "In Search of an Understandable Consensus Algorithm (Extended Version)", "thesis" is
//! "Consensus: Bridging Theory and Practice".

mod elections;
mod membership;
mod reads;
mod replication;
mod transfer;

//! Our raft beside a published one, raft-rs: two groups, one by each, are given the same inputs
//! from a seed, and whenever all is quiet they must be in the same state.
//!
//! There is nothing here but the test, `tests/it`: raft-rs was written by others from the same
//! origin, so what both do is likely what is meant, and where they differ one of them is wrong, or
//! the difference is meant and is on the list in `tests/it/main.rs`.
//!
//! There are two packages by the name of raft then; where cargo asks which, ours is `raft@0.1.0`.

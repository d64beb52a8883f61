//! Whole members in one thread from a seed: faults, workloads, checkers.

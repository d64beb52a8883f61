//! The db file, in bbolt's format.

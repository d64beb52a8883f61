//! The db file from outside: against a model, against bbolt, on a disk that crashes.

mod kit;
mod model;

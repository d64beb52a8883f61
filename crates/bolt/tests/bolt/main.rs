//! The db file from outside: against a model, against bbolt, on a disk that crashes.

mod corrupt;
mod crash;
mod kit;
mod model;
mod peers;
mod threads;
mod vacuum;

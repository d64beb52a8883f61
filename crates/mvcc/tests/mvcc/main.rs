//! The store against a plain history.

mod kit;
mod model;
mod random_walk;

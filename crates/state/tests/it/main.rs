//! The state machine as a whole, on a real db file.

mod apply;
mod auth;
mod crash;
mod fixture;
mod kit;
mod model;
mod replay;
mod replies;
mod restart;
mod txn;

//! Members with their threads, on real directories, that speak to each other over loopback, and
//! one that is spoken to in plain bytes.

mod answers;
mod cluster;
mod fake;
mod member;
mod streams;

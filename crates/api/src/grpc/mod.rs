//! gRPC on our own HTTP/2 loop: one task per connection.
//!
//! ```text
//!   socket -> connection (the loop) -> http2::Connection -> call -> handlers of the rpc table
//!                  ^                                         |
//!                  '------------- calls (who is to be polled) '
//! ```
//!
//! A handler is polled by the task of its connection; there is no task per call. Whatever is ready
//! in one turn leaves in one write.
//!
//! Files in reading order: `connection`, `calls`, `call`, `stream`, `message`, `metadata`,
//! `keepalive`, `plain`.

mod call;
mod calls;
mod connection;
mod keepalive;
mod message;
mod metadata;
mod plain;
mod sending;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use connection::{Opening, serve};
pub(crate) use metadata::Metadata;
#[cfg(test)]
pub(crate) use tests::options as test_options;

//! Doors for clients: the rpc table, gRPC, the JSON gateway, and the operator's HTTP.
//!
//! ```text
//!   socket -> [ door ] --HTTP/2, gRPC--> [ grpc ] -----> [ rpc table ] --> [ service/* ] --> node
//!                 `------ other HTTP ---> [ ops ] --/v3/--> [ gateway ] --> [ rpc table ]
//!                                            `--> node
//! ```
//!
//! Behind sockets and gRPC stands a [`Host`]: here the services of a member, and elsewhere whoever
//! else serves the API. A handler takes an encoded request and who calls, and gives an encoded
//! reply or a status; it names no type of the transport. Values that the store has encoded are
//! copied into replies as they are. This crate holds no state but sessions and streams, and never
//! knows raft, the log or the db file.
//!
//! Files in reading order: `host`, `rpc`, `auth/`, `service/`, `stats`, `audit`, `trace`, `reply`,
//! `encode`, `error`, `status`; then `server`, `door`, `grpc/`, `answer`, `gateway/`, `ops/`,
//! `metrics`.

mod answer;
mod audit;
mod auth;
mod door;
mod encode;
mod error;
mod gateway;
mod grpc;
mod host;
mod metrics;
mod ops;
mod reply;
mod rpc;
mod server;
mod service;
mod stats;
mod status;
mod trace;

pub use answer::{Answer, Request};
pub use audit::{Audit, AuditFilter, AuditLine};
pub use auth::{Auth, AuthError, JwtOptions, TokenOptions};
pub use door::Offer;
pub use host::Host;
pub use ops::{Access, error as plain_error, metrics_page, pprof_page, typed as plain_answer};
pub use rpc::{
    BoxFuture, Caller, Credentials, Kind, Replies, Requests, Rpc, Streaming, Table, Unary, next,
    send,
};
pub use server::{ListenError, Server};
pub use service::{Keepalive, Limits, Services};
pub use status::{Code, Status};
pub use trace::Tracer;

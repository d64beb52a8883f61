//! TLS: who is believed, what is shown, and connections that speak it.
//!
//! ```text
//!   TlsInfo --ServerTls::new--> [ServerTls] --accept(stream)--> Secured { stream, common_name }
//!      |                            |
//!      |                            '-- Watched: certificate, authorities, revoked certificates,
//!      |                                looked at with every handshake
//!      '------ClientTls::new--> [ClientTls] --connect(url)--> Stream
//! ```
//!
//! Files that change are read anew without a restart. What cannot be read, or is half there, is
//! told once, and what was read before goes on to hold.
//!
//! Whoever shows a ticket of an earlier connection is not asked for its certificate again; so
//! what can change meanwhile (revoked, expired, not allowed) is judged after every handshake, and
//! tickets end with the authorities that they were given under.
//!
//! The provider of cryptography is named in `settings` and nowhere else.
//!
//! Files in reading order: `settings`, `watched`, `files`, `facts`, `anchored`, `judge`, `refusal`,
//! `server`, `crowd`, `client`, `self_signed`.

mod anchored;
mod client;
mod crowd;
mod facts;
mod files;
mod judge;
mod refusal;
mod self_signed;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod watched;

pub use client::ClientTls;
pub(crate) use refusal::in_words;
pub use self_signed::{SelfSigned, self_signed};
pub use server::{Endpoint, Secured, Security, ServerTls};
pub use settings::{TlsError, TlsInfo, check_cipher_suites};

/// Certificates hold from one date to another.
#[expect(clippy::disallowed_methods, reason = "dates are the machine's, as for rustls itself")]
fn today() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

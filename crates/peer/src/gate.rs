//! Who may ask for more than members tell each other.

use std::pin::Pin;

use bytes::Bytes;

/// An answer that is there later.
pub type Judged = Pin<Box<dyn Future<Output = Result<(), node::Error>> + Send>>;

/// Judges what comes by a peer URL in a user's name. Tokens are of no concern to this crate.
pub trait Gate: Send + Sync + 'static {
    /// Refuses who may not change the members, by the token that was sent along.
    fn admin(&self, token: Option<Bytes>) -> Judged;
}

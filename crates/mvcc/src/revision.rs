use std::fmt;

/// When a change happened: `main` counts changing transactions, `sub` the changes inside one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision {
    /// The transaction. A store starts at 1, its first write is 2.
    pub main: i64,
    /// The change within the transaction, from 0.
    pub sub: i64,
}

impl Revision {
    /// The revision `main` with `sub`.
    pub const fn new(main: i64, sub: i64) -> Self {
        Self { main, sub }
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.main, self.sub)
    }
}

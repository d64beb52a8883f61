//! Simple tokens: who was given which, and until when it holds. Every member hears of them by way
//! of the log and keeps them in memory; each renews and forgets them by its own clock, as in etcd.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use state::AuthInfo;

use crate::Node;

/// More tokens than this are not kept: the one that ends first goes.
const LIMIT: usize = 1 << 20;
/// How often tokens that have ended are forgotten.
const SWEEP: Duration = Duration::from_secs(1);
/// Between two looks whether the entry that gave out a token has come.
const POLL: Duration = Duration::from_millis(10);

/// The tokens of one member.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// `None` where tokens are of another kind, and none are kept.
    ttl: Option<Duration>,
    limit: usize,
    held: RwLock<HashMap<String, Held>>,
}

#[derive(Debug)]
struct Held {
    username: Arc<str>,
    /// In nanoseconds of the member's clock; each use moves it.
    ends: AtomicU64,
}

impl Tokens {
    pub(crate) fn new(ttl: Option<Duration>) -> Self {
        Self { ttl, limit: LIMIT, held: RwLock::default() }
    }

    pub(crate) fn assign(&self, now: Duration, username: &str, token: String) {
        let Some(ttl) = self.ttl else { return };
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= self.limit {
            let first = held.iter().min_by_key(|(_, held)| held.ends.load(Ordering::Relaxed));
            let first = first.map(|(token, _)| token.clone());
            first.and_then(|token| held.remove(&token));
        }
        let ends = AtomicU64::new(nanos(now + ttl));
        held.insert(token, Held { username: username.into(), ends });
    }

    /// Whose token this is; it holds anew from now on.
    pub(crate) fn find(&self, now: Duration, token: &str) -> Option<Arc<str>> {
        let ttl = self.ttl?;
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let found = held.get(token)?;
        if found.ends.load(Ordering::Relaxed) < nanos(now) {
            return None;
        }
        found.ends.store(nanos(now + ttl), Ordering::Relaxed);
        Some(Arc::clone(&found.username))
    }

    /// Voids all tokens of a user.
    pub(crate) fn invalidate(&self, username: &str) {
        self.retain(|held| &*held.username != username);
    }

    /// Voids all tokens.
    pub(crate) fn clear(&self) {
        self.retain(|_| false);
    }

    fn forget_ended(&self, now: Duration) {
        let now = nanos(now);
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let any = held.values().any(|held| held.ends.load(Ordering::Relaxed) < now);
        drop(held);
        if any {
            self.retain(|held| held.ends.load(Ordering::Relaxed) >= now);
        }
    }

    fn retain(&self, keep: impl Fn(&Held) -> bool) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, held| keep(held));
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Node {
    /// Whom a simple token was given to, if it still holds. One that this member may not have
    /// heard of yet is waited for.
    pub async fn user_of_token(&self, token: &str) -> Option<AuthInfo> {
        let shared = &*self.shared;
        let found = match shared.tokens.find(self.now(), token) {
            Some(found) => found,
            None => {
                self.wait_for_token(token).await?;
                shared.tokens.find(self.now(), token)?
            }
        };
        Some(AuthInfo { username: found, revision: shared.views().auth.revision() })
    }

    /// Returns when the entry is applied that gave out the token, `None` where there is none.
    async fn wait_for_token(&self, token: &str) -> Option<()> {
        // It carries the index before that of its entry.
        let (letters, index) = token.split_once('.')?;
        let index = index.parse::<u64>().ok().filter(|_| !letters.is_empty())?;
        let standing = &self.shared.standing;
        let applied = async {
            while standing.applied.read() <= index && !standing.stopped.is_up() {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(self.shared.limits.request_timeout, applied).await.ok()
    }

    /// Forgets tokens when they have ended. Never returns.
    pub(crate) async fn watch_tokens(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.shared.tokens.forget_ended(self.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn found(tokens: &Tokens, now: Duration, token: &str) -> Option<String> {
        tokens.find(now, token).map(|name| name.to_string())
    }

    #[test]
    fn each_use_renews_a_token_and_silence_ends_it() {
        let tokens = Tokens::new(Some(SECOND * 3));
        tokens.assign(Duration::ZERO, "u", "a.1".to_owned());
        assert_eq!(found(&tokens, SECOND * 2, "a.1"), Some("u".to_owned()));
        assert_eq!(found(&tokens, SECOND * 5, "a.1"), Some("u".to_owned()));
        assert_eq!(found(&tokens, SECOND * 9, "a.1"), None);
        assert_eq!(found(&tokens, SECOND * 5, "b.1"), None);
    }

    #[test]
    fn ended_tokens_take_no_memory() {
        let tokens = Tokens::new(Some(SECOND));
        tokens.assign(Duration::ZERO, "u", "a.1".to_owned());
        tokens.assign(SECOND, "u", "b.2".to_owned());
        tokens.forget_ended(SECOND * 2);
        assert_eq!(tokens.held.read().expect("not poisoned").len(), 1);
    }

    #[test]
    fn a_user_loses_its_tokens_and_others_keep_theirs() {
        let tokens = Tokens::new(Some(SECOND));
        tokens.assign(Duration::ZERO, "u", "a.1".to_owned());
        tokens.assign(Duration::ZERO, "v", "b.2".to_owned());
        tokens.invalidate("u");
        assert_eq!(found(&tokens, SECOND, "a.1"), None);
        assert_eq!(found(&tokens, SECOND, "b.2"), Some("v".to_owned()));
        tokens.clear();
        assert_eq!(found(&tokens, SECOND, "b.2"), None);
    }

    #[test]
    fn the_token_that_ends_first_makes_room() {
        let mut tokens = Tokens::new(Some(SECOND * 9));
        tokens.limit = 2;
        for (second, token) in [(2, "a.1"), (1, "b.2"), (3, "c.3")] {
            tokens.assign(SECOND * second, "u", token.to_owned());
        }
        assert_eq!(found(&tokens, SECOND * 4, "b.2"), None);
        assert!(tokens.find(SECOND * 4, "a.1").is_some());
        assert!(tokens.find(SECOND * 4, "c.3").is_some());
    }

    #[test]
    fn without_simple_tokens_none_are_kept() {
        let tokens = Tokens::new(None);
        tokens.assign(Duration::ZERO, "u", "a.1".to_owned());
        assert_eq!(found(&tokens, Duration::ZERO, "a.1"), None);
    }
}

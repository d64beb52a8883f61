//! Passwords: hashed and checked by bcrypt, on threads that may take their time and a few at a
//! time, since each check costs a core some fifty milliseconds.
//!
//! A password that was found right is not checked from scratch again for a minute. What is kept of
//! it is a tag: HMAC-SHA-256, under a key that is drawn at the start and never leaves this process,
//! of user, stored hash, auth revision and password. So
//!
//! * with another password, another hash (the password was changed, the user was made anew) or any
//!   change of users and roles the tag is another one, and bcrypt decides;
//! * a wrong password is never remembered, so guessing costs what it did;
//! * neither the tag alone nor a core file without the key tells anything of the password;
//! * there are at most 4096 tags, and each goes after a minute however often it is used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bcrypt::Version;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use proto::json::encode_base64;
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::error;
use crate::status::{Code, Status};

/// How long a password that was right is known as such.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many are known at most.
const REMEMBERED_LIMIT: usize = 4096;
/// How many may wait for their turn; more are refused.
const WAITING_LIMIT: usize = 1000;
/// The longest password that bcrypt takes in whole.
const PASSWORD_LIMIT_BYTES: usize = 72;
/// bcrypt's own bounds, and what is taken in place of what lies outside.
const COSTS: std::ops::RangeInclusive<u64> = 4..=31;
const DEFAULT_COST: u32 = 10;

/// The letters of simple tokens.
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const TOKEN_LETTERS: usize = 16;

type Tag = [u8; 32];

/// Hashes and checks.
#[derive(Debug)]
pub(crate) struct Passwords {
    cost: u32,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    key: [u8; 32],
    known: Mutex<HashMap<Tag, Instant>>,
}

impl Passwords {
    /// Hashes at this cost.
    pub(crate) fn new(cost: u64) -> Self {
        let valid = u32::try_from(cost).ok().filter(|_| COSTS.contains(&cost));
        if valid.is_none() {
            tracing::warn!(
                "min-cost" = COSTS.start(),
                "max-cost" = COSTS.end(),
                "default-cost" = DEFAULT_COST,
                "given-cost" = cost,
                "use default bcrypt cost instead of the invalid given cost"
            );
        }
        // The other half of the cores goes on serving.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cost: valid.unwrap_or(DEFAULT_COST),
            turns: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: AtomicUsize::new(0),
            key: secret(),
            known: Mutex::default(),
        }
    }

    /// The hash of a new password, as it goes into the log.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Status> {
        if password.len() > PASSWORD_LIMIT_BYTES {
            return Err(error::PASSWORD_TOO_LONG);
        }
        let cost = self.cost;
        let hashed = self.in_turn(move || bcrypt::hash_with_result(password, cost)).await?;
        let hashed = hashed.map_err(|failure| {
            Status::new(Code::Unknown, format!("bcrypt: failed to hash a password: {failure}"))
        })?;
        // The version that Go writes.
        let mut text = Vec::new();
        encode_base64(hashed.format_for_version(Version::TwoA).as_bytes(), &mut text);
        Ok(String::from_utf8(text).expect("base64 is ASCII"))
    }

    /// Whether this is the password that has the hash.
    pub(crate) async fn is_right(
        &self,
        username: &str,
        hash: Bytes,
        revision: u64,
        password: &str,
    ) -> Result<bool, Status> {
        let tag = self.tag(username, &hash, revision, password);
        if self.is_known(&tag) {
            return Ok(true);
        }
        let password = password.to_owned();
        let check = move || {
            let hash = std::str::from_utf8(&hash).unwrap_or_default();
            // A hash that is none fits no password.
            bcrypt::verify(password, hash).unwrap_or(false)
        };
        let right = self.in_turn(check).await?;
        if right {
            self.remember(tag);
        }
        Ok(right)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let waiting = Waiting::join(&self.waiting).ok_or(error::TOO_MANY_REQUESTS)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| error::STOPPED)?;
        drop(waiting);
        let work = move || {
            // Also where nobody waits for the outcome any more, the turn lasts until it is done.
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| error::STOPPED)
    }

    fn tag(&self, username: &str, hash: &[u8], revision: u64, password: &str) -> Tag {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any key will do");
        mac.update(&revision.to_be_bytes());
        for part in [username.as_bytes(), hash, password.as_bytes()] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn is_known(&self, tag: &Tag) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(tag).is_some_and(|ends| Instant::now() < *ends)
    }

    fn remember(&self, tag: Tag) {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_LIMIT {
            known.retain(|_, ends| now < *ends);
        }
        if known.len() >= REMEMBERED_LIMIT {
            let first = known.iter().min_by_key(|(_, ends)| **ends).map(|(tag, _)| *tag);
            first.and_then(|tag| known.remove(&tag));
        }
        known.insert(tag, now + REMEMBERED);
    }
}

/// A place among those who wait for their turn.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicUsize) -> Option<Self> {
        let place = Self(count);
        let before = count.fetch_add(1, Ordering::Relaxed);
        (before < WAITING_LIMIT).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn secret<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has chance to give");
    bytes
}

/// What nobody can guess, in letters.
pub(super) fn letters() -> String {
    let mut letters = String::with_capacity(TOKEN_LETTERS);
    while letters.len() < TOKEN_LETTERS {
        let drawn = secret::<32>();
        // Only as many values as share out evenly among the letters.
        let even = drawn.iter().filter(|byte| **byte < 4 * 52);
        letters.extend(even.map(|byte| char::from(LETTERS[usize::from(*byte % 52)])));
        letters.truncate(TOKEN_LETTERS);
    }
    letters
}

#[cfg(test)]
mod tests {
    use proto::json::{Alphabet, decode_base64};

    use super::*;

    const SECRET: &str = "secret";

    fn passwords() -> Passwords {
        Passwords::new(4)
    }

    async fn hash_of(passwords: &Passwords, password: &str) -> Bytes {
        let hashed = passwords.hash(password.to_owned()).await.expect("short enough");
        let mut hash = Vec::new();
        let decoded = decode_base64(hashed.as_bytes(), Alphabet::Standard, true, &mut hash);
        decoded.expect("it is base64");
        hash.into()
    }

    #[tokio::test]
    async fn hashes_are_what_go_writes_and_reads() {
        let passwords = passwords();
        let hash = hash_of(&passwords, SECRET).await;
        assert!(hash.starts_with(b"$2a$04$") && hash.len() == 60, "{hash:?}");
        // From golang.org/x/crypto/bcrypt, cost 4.
        let go = "$2a$04$GP.FPHuCGIUW29NajfXMRO7s.B9IxUVHwnVqiiER0j7VX94J2tusO";
        let go = Bytes::from_static(go.as_bytes());
        assert_eq!(passwords.is_right("u", go.clone(), 1, SECRET).await, Ok(true));
        assert_eq!(passwords.is_right("u", go, 1, "Secret").await, Ok(false));
        assert_eq!(passwords.is_right("u", hash, 1, SECRET).await, Ok(true));
        for none in ["", "x", "$2a$04$", "$2a$99$0123456789012345678901234567890123456789012345678"]
        {
            assert_eq!(passwords.is_right("u", none.into(), 1, SECRET).await, Ok(false));
        }
    }

    #[tokio::test]
    async fn what_bcrypt_would_cut_off_is_refused() {
        let passwords = passwords();
        assert!(passwords.hash("x".repeat(72)).await.is_ok());
        assert_eq!(passwords.hash("x".repeat(73)).await, Err(error::PASSWORD_TOO_LONG));
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_password_is_known_for_a_minute_and_a_wrong_one_never() {
        let passwords = passwords();
        let hash = hash_of(&passwords, SECRET).await;
        let known = |password| passwords.is_known(&passwords.tag("u", &hash, 1, password));
        assert_eq!(passwords.is_right("u", hash.clone(), 1, "wrong").await, Ok(false));
        assert_eq!(passwords.is_right("u", hash.clone(), 1, SECRET).await, Ok(true));
        assert!(known(SECRET) && !known("wrong"));
        tokio::time::advance(REMEMBERED).await;
        assert!(!known(SECRET));
    }

    #[test]
    fn a_tag_is_bound_to_all_that_it_is_of() {
        let passwords = passwords();
        let tag = passwords.tag("u", b"hash", 1, SECRET);
        let others = [
            passwords.tag("v", b"hash", 1, SECRET),
            passwords.tag("u", b"Hash", 1, SECRET),
            passwords.tag("u", b"hash", 2, SECRET),
            passwords.tag("u", b"hash", 1, "Secret"),
            passwords.tag("uh", b"ash", 1, SECRET),
            self::passwords().tag("u", b"hash", 1, SECRET),
        ];
        passwords.remember(tag);
        assert!(passwords.is_known(&tag));
        assert!(others.iter().all(|other| !passwords.is_known(other)));
    }

    #[test]
    fn only_so_many_are_known() {
        let passwords = passwords();
        for number in 0..REMEMBERED_LIMIT as u64 + 10 {
            passwords.remember(passwords.tag("u", b"hash", number, SECRET));
        }
        let known = passwords.known.lock().expect("not poisoned").len();
        assert_eq!(known, REMEMBERED_LIMIT);
    }

    #[test]
    fn only_so_many_may_wait() {
        let count = AtomicUsize::new(0);
        let places: Vec<_> = (0..WAITING_LIMIT).map(|_| Waiting::join(&count)).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(Waiting::join(&count).is_none());
        drop(places);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn costs_outside_of_bcrypts_bounds_are_the_default() {
        assert_eq!(Passwords::new(3).cost, 10);
        assert_eq!(Passwords::new(32).cost, 10);
        assert_eq!(Passwords::new(1 << 40).cost, 10);
        assert_eq!(Passwords::new(31).cost, 31);
    }

    #[test]
    fn letters_are_sixteen_and_new_each_time() {
        let (one, other) = (letters(), letters());
        assert_eq!(one.len(), 16);
        assert!(one.bytes().all(|letter| letter.is_ascii_alphabetic()));
        assert_ne!(one, other);
    }
}

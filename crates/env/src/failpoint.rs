//! Named places where a test can stop or delay the process from outside, as etcd has them.
//!
//! They cost nothing unless the feature `failpoints` is on, which no release turns on.

/// A place that the feature `failpoints` can arm. The names are etcd's.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn failpoint(_name: &'static str) {}

#[cfg(feature = "failpoints")]
pub use armed::{configure_failpoint, failpoint, failpoints};

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    static ARMED: Mutex<BTreeMap<String, Armed>> = Mutex::new(BTreeMap::new());

    #[derive(Debug, Clone)]
    struct Armed {
        terms: String,
        action: Action,
        /// How many times it still acts; `None` is without end.
        left: Option<u64>,
    }

    #[derive(Debug, Clone, PartialEq)]
    enum Action {
        Panic,
        Sleep(Duration),
    }

    fn armed() -> MutexGuard<'static, BTreeMap<String, Armed>> {
        ARMED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place that [`configure_failpoint`] can arm. The names are etcd's.
    pub fn failpoint(name: &'static str) {
        let action = {
            let mut armed = armed();
            let Some(point) = armed.get_mut(name) else { return };
            match &mut point.left {
                Some(0) => return,
                Some(left) => *left -= 1,
                None => {}
            }
            point.action.clone()
        };
        match action {
            Action::Panic => panic!("failpoint {name}"),
            Action::Sleep(time) => sleep(time),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a delay is what was asked for")]
    fn sleep(time: Duration) {
        std::thread::sleep(time);
    }

    /// Arms a place: `panic`, `sleep(MILLISECONDS)`, either with `COUNT*` in front; `off` disarms.
    pub fn configure_failpoint(name: &str, terms: &str) -> Result<(), String> {
        if terms == "off" {
            armed().remove(name);
            return Ok(());
        }
        let (left, action) = match terms.split_once('*') {
            Some((count, action)) => (Some(number(count)?), action),
            None => (None, terms),
        };
        let inside = |name: &str| {
            action.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')').map(str::trim)
        };
        let action = match (action, inside("sleep")) {
            (_, Some(time)) => Action::Sleep(Duration::from_millis(number(time)?)),
            ("panic", _) => Action::Panic,
            _ if inside("panic").is_some() => Action::Panic,
            _ => return Err(format!("failpoint: cannot read the terms {terms:?}")),
        };
        armed().insert(name.to_owned(), Armed { terms: terms.to_owned(), action, left });
        Ok(())
    }

    fn number(text: &str) -> Result<u64, String> {
        text.trim().parse().map_err(|_| format!("failpoint: {text:?} is no number"))
    }

    /// What is armed, and how.
    pub fn failpoints() -> Vec<(String, String)> {
        armed().iter().map(|(name, point)| (name.clone(), point.terms.clone())).collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_armed_place_acts_as_often_as_it_was_told() {
            configure_failpoint("once", "1*panic").unwrap();
            assert!(std::panic::catch_unwind(|| failpoint("once")).is_err());
            failpoint("once");
            configure_failpoint("slow", "sleep(1)").unwrap();
            failpoint("slow");
            assert!(failpoints().contains(&("slow".to_owned(), "sleep(1)".to_owned())));
            configure_failpoint("slow", "off").unwrap();
            assert!(!failpoints().iter().any(|(name, _)| name == "slow"));
            for wrong in ["", "x*panic", "sleep(x)", "return(1)"] {
                assert!(configure_failpoint("wrong", wrong).is_err(), "{wrong}");
            }
        }
    }
}

//! What a run may be told by variables of the environment.

/// The seed of all chance in a suite, which it prints, so that a failure can be had again.
pub fn seed(suite: &str) -> u64 {
    let seed = number("PINTLE_SEED").unwrap_or(1);
    eprintln!("{suite}: PINTLE_SEED={seed}");
    seed
}

/// How often to repeat: `few` in the daily run.
pub fn rounds(few: u64) -> u64 {
    number("PINTLE_ROUNDS").unwrap_or(few)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

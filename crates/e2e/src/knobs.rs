//! What a run may be told by variables of the environment.

use env::Random;

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

/// A seed for each round of a suite, which is printed; `PINTLE_ROUND_SEED` asks for one round only,
/// one that has failed.
pub fn round_seeds(suite: &'static str, few: u64) -> impl Iterator<Item = u64> {
    let one = number("PINTLE_ROUND_SEED");
    let mut seeds = Random::new(seed(suite));
    let count = if one.is_some() { 1 } else { rounds(few) };
    (0..count).map(move |round| {
        let seed = one.unwrap_or_else(|| seeds.next_u64());
        eprintln!("{suite}: round {round}, PINTLE_ROUND_SEED={seed}");
        seed
    })
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

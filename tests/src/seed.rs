//! Randomness that can be had again: from a seed, told when a test fails.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// The variable that gives the seed of a run to be replayed.
pub const USHER_TEST_SEED: &str = "USHER_TEST_SEED";

/// A generator from the given seed or a new one. The seed is printed: a failing test shows it.
pub fn random() -> StdRng {
    let given = std::env::var(USHER_TEST_SEED).ok().map(|seed| seed.parse().expect("a seed is a number"));
    let seed: u64 = given.unwrap_or_else(|| rand::rng().random());
    eprintln!("{USHER_TEST_SEED}={seed}");
    StdRng::seed_from_u64(seed)
}

//! Waiting for what is to become true: look again and again until a deadline, never sleep a fixed time and hope.
//!
//! Knows nothing of agents. [`PATIENCE`] is how long a healthy but starved machine may take; a passing test never
//! waits so long.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a condition may take to become true on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `look` gives a value, or panics with the last reason it gave for having none.
pub fn eventually<T, E: Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    within(PATIENCE, &mut look).unwrap_or_else(|reason| panic!("{what}: not within {PATIENCE:?}: {reason:?}"))
}

/// Looks until `look` gives a value or the time is over; then its last reason.
pub fn within<T, E>(limit: Duration, mut look: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let end = Instant::now() + limit;
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= end => return Err(reason),
            Err(_) => sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_until_it_is_true_and_gives_the_last_reason_otherwise() {
        let mut looks = 0;
        let found = within(PATIENCE, || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(()) }
        });
        assert_eq!(found, Ok(3));
        assert_eq!(within(Duration::ZERO, || Err::<(), _>("never")), Err("never"));
    }
}

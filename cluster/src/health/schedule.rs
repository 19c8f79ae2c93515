//! When a check is run. Pure.
//!
//! ```text
//!   first run: at once, or spread where many begin together ─► then each interval after the start before
//! ```
//!
//! What could not start in time is not made up for: the next run is at the next time of the same grid.

use std::time::Duration;

use tokio::time::Instant;

/// An interval shorter than this is taken as this: a check is a look now and then.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Checks that begin together are spread over so much time each, at most over their interval: one that was just registered
/// is known at once, and thousands that a start brings do not run all at the same moment, then or later.
const SPREAD: Duration = Duration::from_millis(5);
/// A run that starts later than it was due by more than this is counted as late.
pub(super) const LATE: Duration = Duration::from_millis(250);

/// A check's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    interval: Duration,
    next: Instant,
}

impl Grid {
    /// Of a check that is new at `now` beside `others`: `random` in 0..1 spreads them.
    pub(super) fn new(interval: Duration, now: Instant, others: usize, random: f64) -> Self {
        let interval = interval.max(INTERVAL_MIN);
        let spread = SPREAD.saturating_mul(u32::try_from(others).unwrap_or(u32::MAX)).min(interval);
        Self { interval, next: now + spread.mul_f64(random.clamp(0.0, 1.0)) }
    }

    /// When it is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Goes on to the first time after `now`; says how many were left out.
    pub(super) fn advance(&mut self, now: Instant) -> u64 {
        let behind = now.saturating_duration_since(self.next).as_nanos() / self.interval.as_nanos().max(1);
        // So many intervals make at most the time that has passed, which fits.
        let behind = u32::try_from(behind).unwrap_or(u32::MAX);
        self.next += self.interval.saturating_mul(behind) + self.interval;
        u64::from(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stay_on_their_grid() {
        let (start, five) = (Instant::now(), Duration::from_secs(5));
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut grid = Grid::new(five, start, 1_000_000, 0.5);
        assert_eq!(grid.next(), at(2.5));
        assert_eq!((grid.advance(at(2.5)), grid.next()), (0, at(7.5)));
        assert_eq!((grid.advance(at(12.0)), grid.next()), (0, at(12.5)));
        assert_eq!((grid.advance(at(30.0)), grid.next()), (3, at(32.5)));
        assert_eq!((grid.advance(at(20.0)), grid.next()), (0, at(37.5)));
    }

    #[test]
    fn the_first_times_are_spread_where_many_begin() {
        let (start, five) = (Instant::now(), Duration::from_secs(5));
        assert_eq!(Grid::new(five, start, 0, 0.9).next(), start, "one alone runs at once");
        assert_eq!(Grid::new(five, start, 100, 0.5).next(), start + SPREAD * 50);
        assert_eq!(Grid::new(five, start, 2_000, 7.0).next(), start + five, "at most over the interval");
        assert_eq!(Grid::new(Duration::ZERO, start, usize::MAX, 1.0).next(), start + INTERVAL_MIN);
    }
}

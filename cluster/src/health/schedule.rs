//! When a check is run. Pure.
//!
//! ```text
//!   first run: somewhere within the interval ─► then each interval after the start before, whatever a run takes
//! ```
//!
//! What could not start in time is not made up for: the next run is at the next time of the same grid.

use std::time::Duration;

use tokio::time::Instant;

/// An interval shorter than this is taken as this: a check is a look now and then.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// A run that starts later than it was due by more than this is counted as late.
pub(super) const LATE: Duration = Duration::from_millis(250);

/// A check's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    interval: Duration,
    next: Instant,
}

impl Grid {
    /// Of a check that is new at `now`: `random` in 0..1 spreads those that come together.
    pub(super) fn new(interval: Duration, now: Instant, random: f64) -> Self {
        let interval = interval.max(INTERVAL_MIN);
        Self { interval, next: now + interval.mul_f64(random.clamp(0.0, 1.0)) }
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
        let mut grid = Grid::new(five, start, 0.5);
        assert_eq!(grid.next(), at(2.5));
        assert_eq!((grid.advance(at(2.5)), grid.next()), (0, at(7.5)));
        assert_eq!((grid.advance(at(12.0)), grid.next()), (0, at(12.5)));
        assert_eq!((grid.advance(at(30.0)), grid.next()), (3, at(32.5)));
        assert_eq!((grid.advance(at(20.0)), grid.next()), (0, at(37.5)));
    }

    #[test]
    fn the_first_times_are_spread_over_the_interval() {
        let (start, five) = (Instant::now(), Duration::from_secs(5));
        assert_eq!(Grid::new(five, start, 0.0).next(), start);
        assert_eq!(Grid::new(five, start, 7.0).next(), start + five);
        assert_eq!(Grid::new(Duration::ZERO, start, 1.0).next(), start + INTERVAL_MIN);
    }
}

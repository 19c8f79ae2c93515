//! When a check is run. Pure.
//!
//! ```text
//!   first run: at once, or spread a little where many begin together
//!       └─► second: anywhere within an interval after it ─► then each interval after the start before
//! ```
//!
//! So who is new is known soon, and those that came together are spread evenly over their interval from then on. What
//! could not start in time is not made up for: the next run is at the next time of the same grid. From the second run on
//! all begin at common ticks: of what thousands of runs cost, most is waking up for each of them.

use std::time::Duration;

use tokio::time::Instant;

/// An interval shorter than this is taken as this: a check is a look now and then.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Checks that begin together are spread over so much time each, at most over their interval: one that was just registered
/// is known at once, and thousands that a start brings do not run all at the same moment, then or later.
const SPREAD: Duration = Duration::from_millis(5);
/// The common ticks.
const TICK: Duration = Duration::from_millis(50);
/// A run that starts later than it was due by more than this is counted as late.
pub(super) const LATE: Duration = Duration::from_millis(250);

/// A check's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    interval: Duration,
    /// From the first run to the second.
    phase: Duration,
    /// The next time of the grid; the run is due at the tick after it.
    next: Instant,
    /// The first tick of all.
    origin: Instant,
    is_first: bool,
}

impl Grid {
    /// Of a check that is new at `now` beside `others`: `random`, both in 0..1, spreads the first runs and those that
    /// follow. `origin` is one tick of all.
    pub(super) fn new(interval: Duration, origin: Instant, now: Instant, others: usize, random: [f64; 2]) -> Self {
        let [first, following] = random.map(|it| it.clamp(0.0, 1.0));
        let interval = interval.max(INTERVAL_MIN);
        let spread = SPREAD.saturating_mul(u32::try_from(others).unwrap_or(u32::MAX)).min(interval);
        let phase = interval.mul_f64(following).max(INTERVAL_MIN);
        Self { interval, phase, next: now + spread.mul_f64(first), origin, is_first: true }
    }

    /// When it is due.
    pub(super) fn next(&self) -> Instant {
        if self.is_first {
            return self.next;
        }
        let ticks = self.next.saturating_duration_since(self.origin).as_nanos().div_ceil(TICK.as_nanos());
        // 32 bits of ticks are six years; then they are no longer common, which costs a little.
        let Ok(ticks) = u32::try_from(ticks) else { return self.next };
        self.origin + TICK.saturating_mul(ticks)
    }

    /// Goes on to the first time after `now`; says how many were left out.
    pub(super) fn advance(&mut self, now: Instant) -> u64 {
        if self.is_first {
            self.is_first = false;
            self.next = now.max(self.next) + self.phase;
            return 0;
        }
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
        let mut grid = Grid::new(five, start, start, 1_000_000, [0.5, 1.0]);
        assert_eq!(grid.next(), at(2.5));
        assert_eq!((grid.advance(at(2.5)), grid.next()), (0, at(7.5)));
        assert_eq!((grid.advance(at(12.0)), grid.next()), (0, at(12.5)));
        assert_eq!((grid.advance(at(30.0)), grid.next()), (3, at(32.5)));
        assert_eq!((grid.advance(at(20.0)), grid.next()), (0, at(37.5)));
    }

    #[test]
    fn runs_begin_at_common_ticks_from_the_second_on() {
        let (start, five) = (Instant::now(), Duration::from_secs(5));
        let mut grid = Grid::new(five, start, start, 100, [0.254, 0.6]);
        assert_eq!(grid.next(), start + Duration::from_millis(127));
        for run in 0..1000 {
            grid.advance(grid.next());
            assert_eq!(grid.next(), start + five * run + Duration::from_millis(3150), "never earlier, and no drift");
        }
    }

    #[test]
    fn the_first_times_are_spread_where_many_begin() {
        let (start, five) = (Instant::now(), Duration::from_secs(5));
        let first = |interval, others, random| Grid::new(interval, start, start, others, [random, 0.0]).next();
        assert_eq!(first(five, 0, 0.9), start, "one alone runs at once");
        assert_eq!(first(five, 100, 0.5), start + SPREAD * 50);
        assert_eq!(first(five, 2_000, 7.0), start + five, "at most over the interval");
        assert_eq!(first(Duration::ZERO, usize::MAX, 1.0), start + INTERVAL_MIN);
    }

    #[test]
    fn those_that_began_together_are_spread_over_their_interval() {
        let (start, ten) = (Instant::now(), Duration::from_secs(10));
        let mut runs = [0; 10];
        for check in 0..1000_u32 {
            let mut grid = Grid::new(ten, start, start, 10, [0.5, f64::from(check) / 1000.0]);
            grid.advance(grid.next());
            grid.advance(grid.next());
            let second = (grid.next() - start).as_secs() % 10;
            runs[usize::try_from(second).unwrap()] += 1;
        }
        assert!(runs.iter().all(|runs| (90..=110).contains(runs)), "{runs:?}");
    }

    #[test]
    fn a_first_run_that_began_late_moves_the_second() {
        let (start, five) = (Instant::now(), Duration::from_secs(5));
        let mut grid = Grid::new(five, start, start, 0, [0.0, 0.2]);
        let late = start + Duration::from_secs(60);
        assert_eq!((grid.advance(late), grid.next()), (0, late + Duration::from_secs(1)));
    }
}

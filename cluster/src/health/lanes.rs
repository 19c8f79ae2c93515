//! How many runs there may be at once, and who waits for one to end. Pure.
//!
//! ```text
//!   due ─┬─► quick: checks whose last run was quick, or that have not run yet ─┬─► running ─► ended
//!        └─► slow: the others ────────────────────────────────────────────────┘     │
//!              ▲ places of its own                       takes too long: is slow ◄───┘
//! ```
//!
//! Who asks what hangs holds a place until its timeout. Were there one kind of place, many of those would keep the others
//! from being looked at in time, and a check would be wrong because the checker was busy. So the slow ones have their own
//! places, and a run that turns out to be slow is counted there while it is still under way.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// A run that takes longer than this is slow.
pub(super) const SLOW: Duration = Duration::from_millis(250);

/// Whom a check waits with, and where its run counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Quick,
    Slow,
}

impl Pace {
    /// Of a check whose last run took so long.
    pub(super) fn of(time: Duration) -> Self {
        if time < SLOW { Self::Quick } else { Self::Slow }
    }
}

/// The runs of one kind; `Id` tells them apart.
pub(super) struct Lanes<Id> {
    quick: Lane,
    slow: Lane,
    /// Slow ones there may be in all, with those that were moved here while they ran.
    slow_max: usize,
    /// Quick ones in the order in which they began. Some have ended.
    begun: VecDeque<(Instant, Id)>,
}

#[derive(Debug)]
struct Lane {
    running: usize,
    /// As many are started.
    max: usize,
    /// One entry a check.
    waiting: VecDeque<String>,
}

impl<Id> Lanes<Id> {
    /// Of at most `max` runs at once: a quarter quick, half of them slow when they begin, and a quarter for what turns out
    /// to be slow.
    pub(super) fn new(max: usize) -> Self {
        let quick = (max / 4).max(1);
        let lane = |max| Lane { running: 0, max, waiting: VecDeque::new() };
        Self { quick: lane(quick), slow: lane((max / 2).max(1)), slow_max: max - quick, begun: VecDeque::new() }
    }

    /// Has a check wait for its turn.
    pub(super) fn wait(&mut self, key: String, pace: Pace) {
        self.lane(pace).waiting.push_back(key);
    }

    /// Takes what has waited longest of those there is a place for, and gives it the place.
    pub(super) fn take(&mut self) -> Option<(String, Pace)> {
        [Pace::Quick, Pace::Slow].into_iter().find_map(|pace| Some((self.lane(pace).take()?, pace)))
    }

    /// Notes when a quick run began.
    pub(super) fn began(&mut self, id: Id, now: Instant) {
        self.begun.push_back((now, id));
    }

    /// Moves the next quick run that is slow by now to the slow ones and says which. `is_quick` tells whether one is still
    /// under way.
    pub(super) fn slow_down(&mut self, now: Instant, is_quick: impl Fn(&Id) -> bool) -> Option<Id> {
        while self.slow_down_at().is_some_and(|at| at <= now) {
            let (_, id) = self.begun.pop_front()?;
            if is_quick(&id) {
                self.quick.running -= 1;
                self.slow.running += 1;
                return Some(id);
            }
        }
        None
    }

    /// When a quick run may have to be moved; never while that would not help anybody.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.quick.waiting.is_empty() {
            return None;
        }
        self.slow_down_at()
    }

    fn slow_down_at(&self) -> Option<Instant> {
        let (begun, _) = self.begun.front().filter(|_| self.slow.running < self.slow_max)?;
        Some(*begun + SLOW)
    }

    /// A run has ended.
    pub(super) fn ended(&mut self, pace: Pace) {
        self.lane(pace).running -= 1;
    }

    /// A check does not want its turn any more.
    pub(super) fn forget(&mut self, key: &str) {
        for lane in [&mut self.quick, &mut self.slow] {
            lane.waiting.retain(|waiting| waiting != key);
        }
    }

    fn lane(&mut self, pace: Pace) -> &mut Lane {
        match pace {
            Pace::Quick => &mut self.quick,
            Pace::Slow => &mut self.slow,
        }
    }
}

impl Lane {
    fn take(&mut self) -> Option<String> {
        if self.running >= self.max {
            return None;
        }
        let key = self.waiting.pop_front()?;
        self.running += 1;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts what may start; the position is the run's id.
    fn start(lanes: &mut Lanes<usize>, paces: &mut Vec<Option<Pace>>, now: Instant) -> Vec<String> {
        let mut started = Vec::new();
        while let Some((key, pace)) = lanes.take() {
            if pace == Pace::Quick {
                lanes.began(paces.len(), now);
            }
            paces.push(Some(pace));
            started.push(key);
        }
        started
    }

    fn slow_down(lanes: &mut Lanes<usize>, paces: &mut [Option<Pace>], now: Instant) -> usize {
        let mut moved = 0;
        while let Some(id) = lanes.slow_down(now, |id| paces[*id] == Some(Pace::Quick)) {
            paces[id] = Some(Pace::Slow);
            moved += 1;
        }
        moved
    }

    #[test]
    fn each_kind_has_places_of_its_own_and_order() {
        let (mut lanes, mut paces, now) = (Lanes::new(8), Vec::new(), Instant::now());
        for number in 0..6 {
            lanes.wait(format!("s{number}"), Pace::Slow);
        }
        for number in 0..3 {
            lanes.wait(format!("q{number}"), Pace::Quick);
        }
        assert_eq!(start(&mut lanes, &mut paces, now), ["q0", "q1", "s0", "s1", "s2", "s3"]);
        lanes.forget("s4");
        lanes.ended(Pace::Slow);
        lanes.ended(Pace::Slow);
        lanes.ended(Pace::Quick);
        assert_eq!(start(&mut lanes, &mut paces, now), ["q2", "s5"]);
    }

    #[test]
    fn what_turns_out_to_be_slow_makes_room_as_long_as_there_is_some() {
        let (mut lanes, mut paces, now) = (Lanes::new(8), Vec::new(), Instant::now());
        for number in 0..20 {
            lanes.wait(format!("q{number}"), Pace::Quick);
        }
        let mut time = now;
        let mut started = start(&mut lanes, &mut paces, time).len();
        assert_eq!((started, lanes.next()), (2, Some(now + SLOW)));
        assert_eq!(slow_down(&mut lanes, &mut paces, now + SLOW / 2), 0);
        for _ in 0..9 {
            time += SLOW;
            slow_down(&mut lanes, &mut paces, time);
            started += start(&mut lanes, &mut paces, time).len();
        }
        assert_eq!((started, lanes.next()), (8, None), "never more than there may be, and nothing to wake up for");
        // One that ended is passed over.
        paces[6] = None;
        lanes.ended(Pace::Quick);
        lanes.ended(Pace::Slow);
        assert_eq!(slow_down(&mut lanes, &mut paces, time + SLOW), 1);
        assert_eq!(start(&mut lanes, &mut paces, time).len(), 2);
    }

    #[test]
    fn nobody_waits_nothing_is_to_be_done() {
        let (mut lanes, mut paces, now) = (Lanes::new(8), Vec::new(), Instant::now());
        lanes.wait("q".to_owned(), Pace::Quick);
        start(&mut lanes, &mut paces, now);
        assert_eq!(lanes.next(), None);
        assert_eq!((Pace::of(SLOW / 2), Pace::of(SLOW)), (Pace::Quick, Pace::Slow));
    }
}

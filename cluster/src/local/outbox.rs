//! Which results the catalog is to be told, and when. Pure: time and randomness come from the caller.
//!
//! A change of status goes at once, the first [`CHANGES_AT_ONCE`] of a check; one that changes on is told once per
//! [`CHANGE_INTERVAL`] from then on, so that flapping floods nobody. Words that change without the status wait about as
//! long as the update interval. Whatever is told is what is known then: the newest.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::records::Noted;
use crate::due::Due;

/// Changes of status a check may have in a row before they are held back.
const CHANGES_AT_ONCE: u32 = 10;
/// How long it takes until a check may change once more.
const CHANGE_INTERVAL: Duration = Duration::from_secs(1);
/// Allowances are looked through when they have doubled, and at least at this many.
const ALLOWANCES_MIN: usize = 1024;

/// What waits. It holds at most one entry a check.
pub(super) struct Outbox {
    update_interval: Duration,
    /// When each is due, by folded id.
    due: Due,
    /// Of which of them only the words changed.
    words: HashSet<String>,
    /// What is left of a check's changes; one that has all of them is not here.
    allowances: HashMap<String, Allowance>,
    allowances_looked_at: usize,
}

/// A bucket of tokens: one comes back each [`CHANGE_INTERVAL`].
#[derive(Clone, Copy)]
struct Allowance {
    /// When it will be full.
    full_at: Instant,
}

impl Outbox {
    pub(super) fn new(update_interval: Duration) -> Self {
        Self {
            update_interval,
            due: Due::default(),
            words: HashSet::new(),
            allowances: HashMap::new(),
            allowances_looked_at: ALLOWANCES_MIN,
        }
    }

    /// Notes a change. `random` in 0..1 spreads the words.
    pub(super) fn note(&mut self, noted: Noted, now: Instant, random: f64) {
        let Noted { key, status } = noted;
        let waits = self.due.get(&key);
        if !status {
            if waits.is_none() {
                self.due.set(&key, now + self.deferral(random));
                self.words.insert(key);
            }
            return;
        }
        // What waits already is told as it is then: the change that comes with it costs nothing.
        if waits.is_none() || self.words.remove(&key) {
            let at = self.allow(&key, now);
            self.due.set(&key, waits.map_or(at, |waits| waits.min(at)));
        }
    }

    /// Has what could not be told tried again at `at`.
    pub(super) fn retry(&mut self, keys: Vec<String>, at: Instant) {
        for key in keys {
            self.words.remove(&key);
            let at = self.due.get(&key).map_or(at, |waits| waits.min(at));
            self.due.set(&key, at);
        }
    }

    /// Takes what is due, at most `max`.
    pub(super) fn take(&mut self, now: Instant, max: usize) -> Vec<String> {
        let mut keys = Vec::new();
        while keys.len() < max
            && let Some((_, key)) = self.due.pop(now)
        {
            self.words.remove(&*key);
            keys.push(key.to_string());
        }
        keys
    }

    /// Forgets everything that waits.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.update_interval);
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.next()
    }

    /// Whether only words of this check wait: the catalog may differ in them.
    pub(super) fn words_wait(&self, key: &str) -> bool {
        self.words.contains(key)
    }

    fn deferral(&self, random: f64) -> Duration {
        self.update_interval / 2 + self.update_interval.mul_f64(random.clamp(0.0, 1.0))
    }

    /// When a change may be told: takes one of the check's allowance.
    fn allow(&mut self, key: &str, now: Instant) -> Instant {
        // Full at `now` means all are left; each one taken makes it full an interval later.
        let full_at = self.allowances.get(key).map_or(now, |it| it.full_at.max(now));
        let burst = CHANGE_INTERVAL * (CHANGES_AT_ONCE - 1);
        let at = full_at.checked_sub(burst).map_or(now, |at| at.max(now));
        self.allowances.insert(key.to_owned(), Allowance { full_at: full_at + CHANGE_INTERVAL });
        if self.allowances.len() > self.allowances_looked_at {
            self.allowances.retain(|_, allowance| allowance.full_at > now);
            self.allowances_looked_at = (self.allowances.len() * 2).max(ALLOWANCES_MIN);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(300);

    fn status(key: &str) -> Noted {
        Noted { key: key.to_owned(), status: true }
    }

    fn words(key: &str) -> Noted {
        Noted { key: key.to_owned(), status: false }
    }

    #[test]
    fn a_status_goes_at_once_and_words_later_spread() {
        let (mut outbox, now) = (Outbox::new(INTERVAL), Instant::now());
        outbox.note(words("a"), now, 0.0);
        outbox.note(words("b"), now, 1.0);
        outbox.note(words("a"), now, 1.0);
        assert!(outbox.words_wait("a"));
        assert_eq!(outbox.next(), Some(now + INTERVAL / 2), "further words change nothing of when");
        outbox.note(status("c"), now, 0.5);
        assert_eq!(outbox.take(now, 9), ["c"]);
        outbox.note(status("a"), now, 0.5);
        assert!(!outbox.words_wait("a"));
        assert_eq!(outbox.take(now, 9), ["a"]);
        assert_eq!(outbox.take(now + INTERVAL / 2, 9), Vec::<String>::new());
        assert_eq!(outbox.take(now + INTERVAL / 2 * 3, 9), ["b"]);
        assert_eq!(outbox.next(), None);
    }

    #[test]
    fn without_an_update_interval_words_go_at_once() {
        let (mut outbox, now) = (Outbox::new(Duration::ZERO), Instant::now());
        outbox.note(words("a"), now, 0.7);
        assert_eq!(outbox.take(now, 9), ["a"]);
    }

    #[test]
    fn who_changes_on_and_on_is_told_once_a_second() {
        let (mut outbox, start) = (Outbox::new(INTERVAL), Instant::now());
        let mut told = Vec::new();
        for tick in 0..200_u32 {
            let now = start + Duration::from_millis(100) * tick;
            outbox.note(status("a"), now, 0.0);
            if !outbox.take(now, 9).is_empty() {
                told.push(tick);
            }
        }
        let first: Vec<u32> = (0..10).collect();
        assert_eq!(told.get(..10), Some(first.as_slice()));
        // In twenty seconds twenty have come back, besides the ten there were.
        assert!((28..=31).contains(&told.len()), "{told:?}");
        let later = start + Duration::from_secs(60);
        outbox.take(later, 9);
        outbox.note(status("a"), later, 0.0);
        assert_eq!(outbox.take(later, 9), ["a"], "who was quiet may change again");
    }

    #[test]
    fn no_more_is_taken_than_asked_for_and_what_failed_comes_again() {
        let (mut outbox, now) = (Outbox::new(INTERVAL), Instant::now());
        for key in ["a", "b", "c"] {
            outbox.note(status(key), now, 0.0);
        }
        let taken = outbox.take(now, 2);
        assert_eq!(taken, ["a", "b"]);
        outbox.retry(taken, now + CHANGE_INTERVAL);
        assert_eq!(outbox.take(now, 9), ["c"]);
        assert_eq!(outbox.take(now + CHANGE_INTERVAL, 9), ["a", "b"]);
    }

    #[test]
    fn allowances_of_those_who_are_quiet_are_forgotten() {
        let (mut outbox, now) = (Outbox::new(INTERVAL), Instant::now());
        for n in 0..ALLOWANCES_MIN * 4 {
            let now = now + Duration::from_millis(20) * u32::try_from(n).unwrap();
            outbox.note(status(&format!("c{n}")), now, 0.0);
            outbox.take(now, 9);
        }
        assert!(outbox.allowances.len() <= ALLOWANCES_MIN, "{}", outbox.allowances.len());
    }
}

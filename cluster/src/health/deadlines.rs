//! Checks that their programs report to: until when each must report again. Pure.
//!
//! A report sets a time and nothing else. The queue holds an earlier one until it comes, and is then corrected: so that a
//! check costs the queue one step a TTL, however often it is reported. A time in which this process stood still is given
//! back to all of them, since their programs could not be heard.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{due::Due, local::definition::CheckSpec};

/// The table: as large as there are checks with a TTL.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    entries: HashMap<String, Entry>,
    due: Due,
    /// For how long in all this process stood still.
    stalled: Duration,
}

#[derive(Debug)]
struct Entry {
    spec: Arc<CheckSpec>,
    at: Instant,
    /// What `stalled` was when `at` was set.
    stalled: Duration,
}

impl Deadlines {
    /// Takes in a check, which has its whole TTL from now on; one that is here already goes on.
    pub(super) fn add(&mut self, key: &str, spec: &Arc<CheckSpec>, now: Instant) {
        if self.entries.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.spec, spec)) {
            return;
        }
        self.set(key, spec, now);
    }

    /// Takes a report.
    pub(super) fn report(&mut self, key: &str, spec: &Arc<CheckSpec>, now: Instant) {
        let stalled = self.stalled;
        match self.entries.get_mut(key).filter(|entry| Arc::ptr_eq(&entry.spec, spec)) {
            Some(entry) => {
                (entry.at, entry.stalled) = (now + ttl(spec), stalled);
                if self.due.get(key).is_none() {
                    self.due.set(key, entry.at);
                }
            }
            None => self.set(key, spec, now),
        }
    }

    /// Forgets a check, unless it has been defined anew.
    pub(super) fn remove(&mut self, key: &str, spec: &Arc<CheckSpec>) {
        if self.entries.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.spec, spec)) {
            self.entries.remove(key);
            self.due.remove(key);
        }
    }

    /// This process stood still for `time`.
    pub(super) fn stalled(&mut self, time: Duration) {
        self.stalled += time;
    }

    /// Takes a check that has missed its time. Each is told once until it is reported again.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(String, Arc<CheckSpec>)> {
        while let Some((_, key)) = self.due.pop(now) {
            let Some(entry) = self.entries.get(&*key) else { continue };
            let at = entry.at + self.stalled.saturating_sub(entry.stalled);
            if at <= now {
                return Some((key.to_string(), entry.spec.clone()));
            }
            self.due.set(&key, at);
        }
        None
    }

    /// When to look next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.next()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn set(&mut self, key: &str, spec: &Arc<CheckSpec>, now: Instant) {
        let at = now + ttl(spec);
        self.entries.insert(key.to_owned(), Entry { spec: spec.clone(), at, stalled: self.stalled });
        self.due.set(key, at);
    }
}

fn ttl(spec: &CheckSpec) -> Duration {
    spec.ttl.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(seconds: u64) -> Arc<CheckSpec> {
        Arc::new(CheckSpec { ttl: Some(Duration::from_secs(seconds)), ..CheckSpec::default() })
    }

    fn expired(deadlines: &mut Deadlines, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| deadlines.expire(now)).map(|(key, _)| key).collect()
    }

    #[test]
    fn who_does_not_report_in_time_is_told_once() {
        let (start, ten) = (Instant::now(), spec(10));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::default();
        deadlines.add("a", &ten, start);
        deadlines.add("b", &ten, start);
        deadlines.report("a", &ten, at(6));
        deadlines.report("a", &ten, at(9));
        assert_eq!(expired(&mut deadlines, at(9)), [""; 0]);
        assert_eq!(expired(&mut deadlines, at(10)), ["b"]);
        assert_eq!(expired(&mut deadlines, at(18)), [""; 0]);
        assert_eq!(expired(&mut deadlines, at(19)), ["a"]);
        assert_eq!(expired(&mut deadlines, at(99)), [""; 0]);
        deadlines.report("b", &ten, at(100));
        assert_eq!(deadlines.next(), Some(at(110)));
    }

    #[test]
    fn the_same_definition_goes_on_and_another_begins_anew() {
        let (start, ten, two) = (Instant::now(), spec(10), spec(2));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::default();
        deadlines.add("a", &ten, start);
        deadlines.add("a", &ten, at(5));
        assert_eq!(deadlines.next(), Some(at(10)));
        deadlines.add("a", &two, at(5));
        assert_eq!(deadlines.next(), Some(at(7)));
        deadlines.remove("a", &ten);
        assert_eq!(expired(&mut deadlines, at(7)), ["a"]);
        deadlines.remove("a", &two);
        assert!(deadlines.is_empty());
        // A report may come before whoever runs the checks has heard of the definition.
        deadlines.report("b", &two, at(8));
        deadlines.add("b", &two, at(9));
        assert_eq!(deadlines.next(), Some(at(10)));
    }

    #[test]
    fn time_in_which_nobody_could_be_heard_does_not_count() {
        let (start, ten) = (Instant::now(), spec(10));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::default();
        deadlines.add("a", &ten, start);
        deadlines.stalled(Duration::from_secs(30));
        deadlines.add("b", &ten, at(31));
        assert_eq!(expired(&mut deadlines, at(39)), [""; 0]);
        assert_eq!(expired(&mut deadlines, at(40)), ["a"]);
        assert_eq!(expired(&mut deadlines, at(41)), ["b"]);
    }
}

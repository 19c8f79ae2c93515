//! Which services are to go because a check of theirs has been critical for too long. Pure.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{catalog::model::Status, due::Due, local::definition::CheckSpec};

/// Nothing goes sooner.
const LEAST: Duration = Duration::from_secs(1);

/// Checks that are critical and take their service with them: at most as many as there are checks.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    due: Due,
}

impl Reaper {
    /// Notes the status of a check. Its time runs from when it turned critical.
    pub(super) fn note(&mut self, key: &str, spec: &CheckSpec, status: &Status, least: Duration, now: Instant) {
        let Some(after) = patience(spec, least) else { return };
        if *status != Status::Critical {
            self.due.remove(key);
        } else if self.due.get(key).is_none() {
            self.due.set(key, now + after);
        }
    }

    /// Forgets a check.
    pub(super) fn remove(&mut self, key: &str) {
        self.due.remove(key);
    }

    /// Takes a check whose service is to go.
    pub(super) fn reap(&mut self, now: Instant) -> Option<Arc<str>> {
        self.due.pop(now).map(|(_, key)| key)
    }

    /// Tries once more at `at`.
    pub(super) fn again(&mut self, key: &str, at: Instant) {
        self.due.set(key, at);
    }

    /// This process stood still for `time`, and reports went unheard.
    pub(super) fn stalled(&mut self, time: Duration) {
        self.due.postpone(time);
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.next()
    }
}

/// How long the check may be critical, if that is limited. A check of the node takes nothing with it.
fn patience(spec: &CheckSpec, least: Duration) -> Option<Duration> {
    if spec.service_id.is_empty() {
        return None;
    }
    let after = spec.deregister_critical_service_after.filter(|after| !after.is_zero())?;
    Some(after.max(least).max(LEAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(after: u64) -> CheckSpec {
        let after = Some(Duration::from_secs(after));
        CheckSpec { service_id: "s".to_owned(), deregister_critical_service_after: after, ..CheckSpec::default() }
    }

    #[test]
    fn a_service_goes_when_its_check_was_critical_for_so_long() {
        let (start, least) = (Instant::now(), Duration::from_secs(1));
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut reaper, critical) = (Reaper::default(), Status::Critical);
        reaper.note("a", &spec(10), &critical, least, start);
        reaper.note("b", &spec(10), &critical, least, start);
        reaper.note("never", &spec(0), &critical, least, start);
        reaper.note("node", &CheckSpec { service_id: String::new(), ..spec(10) }, &critical, least, start);
        reaper.note("a", &spec(10), &critical, least, at(5));
        reaper.note("b", &spec(10), &Status::Warning, least, at(5));
        reaper.note("b", &spec(10), &critical, least, at(6));
        assert_eq!(reaper.reap(at(9)), None);
        assert_eq!(reaper.reap(at(10)).as_deref(), Some("a"));
        assert_eq!(reaper.reap(at(15)), None);
        reaper.stalled(Duration::from_secs(2));
        assert_eq!(reaper.next(), Some(at(18)));
        reaper.remove("b");
        assert_eq!(reaper.reap(at(99)), None);
    }

    #[test]
    fn nothing_goes_sooner_than_it_may() {
        let start = Instant::now();
        let mut reaper = Reaper::default();
        let quick = CheckSpec { deregister_critical_service_after: Some(Duration::from_millis(1)), ..spec(0) };
        reaper.note("a", &quick, &Status::Critical, Duration::ZERO, start);
        assert_eq!(reaper.next(), Some(start + LEAST));
        reaper.note("b", &quick, &Status::Critical, Duration::from_secs(60), start);
        reaper.reap(start + LEAST);
        assert_eq!(reaper.next(), Some(start + Duration::from_secs(60)));
    }
}

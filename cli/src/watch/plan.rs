//! Where a watch stands: the index to ask with, what was told last, how often in a row it failed. Pure.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::client::Mark;

/// The wait after the first error; it grows with the square of their number.
const RETRY: Duration = Duration::from_secs(5);
/// The longest wait after an error.
const RETRY_MAX: Duration = Duration::from_secs(180);
/// The wait after an answer that came at once and told nothing new, so that a server that does not wait is not asked
/// without end.
const PAUSE: Duration = Duration::from_millis(500);

/// Where a watch stands.
#[derive(Debug, Default)]
pub struct Plan {
    known: Mark,
    told: Option<[u8; 32]>,
    failures: u32,
}

/// What an answer comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is to be told.
    New,
    /// It is known; the next question may follow after this time.
    Known(Duration),
}

impl Plan {
    /// What to ask with.
    pub fn known(&self) -> &Mark {
        &self.known
    }

    /// An answer came: `json` as of `mark`, which took `elapsed`.
    pub fn answered(&mut self, mark: Mark, json: &str, elapsed: Duration) -> Step {
        self.failures = 0;
        let pause = PAUSE.saturating_sub(elapsed);
        let index = mark.index;
        if index == self.known.index && index > 0 {
            return Step::Known(pause);
        }
        // An index that went back belongs to another history, such as a restored snapshot's: it is asked from the
        // beginning.
        let back = index < self.known.index;
        self.known = if back { Mark::default() } else { mark };
        let digest: [u8; 32] = Sha256::digest(json.as_bytes()).into();
        if self.told == Some(digest) {
            return Step::Known(if back || index == 0 { pause } else { Duration::ZERO });
        }
        self.told = Some(digest);
        Step::New
    }

    /// There was no answer: how long to wait. What is asked next is what is there then.
    pub fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.known = Mark::default();
        RETRY.saturating_mul(self.failures.saturating_mul(self.failures)).min(RETRY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Mark, PAUSE, Plan, Step};

    const LONG: Duration = Duration::from_secs(1);

    fn at(index: u64) -> Mark {
        Mark { index, ..Mark::default() }
    }

    #[test]
    fn only_what_is_new_is_told() {
        let mut plan = Plan::default();
        assert_eq!(plan.known().index, 0);
        assert_eq!(plan.answered(at(5), "a", Duration::ZERO), Step::New);
        assert_eq!(plan.known().index, 5);
        // The time was over.
        assert_eq!(plan.answered(at(5), "a", LONG), Step::Known(Duration::ZERO));
        // Something else moved the index.
        assert_eq!(plan.answered(at(6), "a", Duration::ZERO), Step::Known(Duration::ZERO));
        assert_eq!(plan.answered(at(7), "b", Duration::ZERO), Step::New);
        assert_eq!(plan.known().index, 7);
    }

    #[test]
    fn an_index_that_goes_back_begins_anew() {
        let mut plan = Plan::default();
        plan.answered(at(50), "a", LONG);
        assert_eq!(plan.answered(at(3), "a", LONG), Step::Known(Duration::ZERO));
        assert_eq!(plan.known().index, 0);
        assert_eq!(plan.answered(at(3), "a", LONG), Step::Known(Duration::ZERO));
        assert_eq!(plan.known().index, 3);
        plan.answered(at(2), "b", LONG);
        assert_eq!(plan.known().index, 0);
    }

    #[test]
    fn a_server_that_does_not_wait_is_not_asked_without_end() {
        let mut plan = Plan::default();
        plan.answered(at(5), "a", Duration::ZERO);
        assert_eq!(plan.answered(at(5), "a", Duration::ZERO), Step::Known(PAUSE));
        assert_eq!(plan.answered(at(0), "a", Duration::ZERO), Step::Known(PAUSE));
        assert_eq!(plan.answered(at(0), "a", Duration::ZERO), Step::Known(PAUSE));
    }

    #[test]
    fn errors_are_waited_out_longer_and_longer() {
        let mut plan = Plan::default();
        plan.answered(at(5), "a", LONG);
        let waits: Vec<u64> = (0..8).map(|_| plan.failed().as_secs()).collect();
        assert_eq!(waits, [5, 20, 45, 80, 125, 180, 180, 180]);
        assert_eq!(plan.known().index, 0);
        assert_eq!(plan.answered(at(6), "a", LONG), Step::Known(Duration::ZERO));
        assert_eq!(plan.failed().as_secs(), 5);
    }
}

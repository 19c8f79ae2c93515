//! From what runs find to what a check is: how many in a row it takes to believe it. Pure.

use crate::{catalog::model::Status, local::definition::CheckSpec};

/// How many of one kind came in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    successes: u32,
    failures: u32,
}

impl Verdict {
    /// Of a check of which nothing is known: whatever comes first is believed (as in Consul).
    pub(super) fn unknown() -> Self {
        Self { successes: u32::MAX, failures: u32::MAX }
    }

    /// Of a check that had results before: they are believed for as long as of any other.
    pub(super) fn known() -> Self {
        Self { successes: 0, failures: 0 }
    }

    /// What the check is now that a run found `found`; `None` leaves everything as it is. A warning is a success here, as
    /// in Consul: it counts towards passing. Failures never make a check better than it was.
    pub(super) fn judge(&mut self, spec: &CheckSpec, current: &Status, found: Status) -> Option<Status> {
        if matches!(found, Status::Passing | Status::Warning) {
            self.successes = self.successes.saturating_add(1);
            self.failures = 0;
            return (self.successes >= spec.success_before_passing).then_some(found);
        }
        self.failures = self.failures.saturating_add(1);
        self.successes = 0;
        if self.failures >= spec.failures_before_critical {
            return Some(found);
        }
        let warns = match spec.failures_before_warning {
            0 => false,
            needed => self.failures >= needed,
        };
        (warns && *current != Status::Critical).then_some(Status::Warning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a check shows after each of a row of findings: `p`, `w` and `c` in and out.
    fn shown(thresholds: (u32, u32, u32), mut verdict: Verdict, first: char, found: &str) -> String {
        let spec = CheckSpec {
            success_before_passing: thresholds.0,
            failures_before_warning: thresholds.1,
            failures_before_critical: thresholds.2,
            ..CheckSpec::default()
        };
        let status = |letter| match letter {
            'p' => Status::Passing,
            'w' => Status::Warning,
            _ => Status::Critical,
        };
        let mut current = status(first);
        let mut shown = String::new();
        for letter in found.chars() {
            current = verdict.judge(&spec, &current, status(letter)).unwrap_or(current);
            shown.push(current.as_str().chars().next().unwrap());
        }
        shown
    }

    #[test]
    fn results_are_believed_after_as_many_as_wanted() {
        let known = Verdict::known();
        let cases = [
            ((0, 0, 0), known, 'c', "pwcwp", "pwcwp"),
            ((1, 1, 1), known, 'c', "pwcwp", "pwcwp"),
            ((3, 0, 0), known, 'c', "ppcppppc", "cccccppc"),
            ((3, 0, 0), known, 'c', "wpw", "ccw"),
            ((0, 0, 3), known, 'p', "ccpccccp", "pppppccp"),
            ((0, 2, 4), known, 'p', "cccccp", "pwwccp"),
            ((0, 1, 3), known, 'p', "ccc", "wwc"),
            // Nothing gets better by failing.
            ((3, 1, 4), known, 'c', "pcccc", "ccccc"),
            // Nothing is known: the first counts, and the next as ever.
            ((3, 0, 3), Verdict::unknown(), 'c', "pcccp", "pppcc"),
            ((3, 0, 3), Verdict::unknown(), 'p', "cppp", "cccp"),
        ];
        for (thresholds, verdict, first, found, expected) in cases {
            assert_eq!(shown(thresholds, verdict, first, found), expected, "{thresholds:?} {found}");
        }
    }
}

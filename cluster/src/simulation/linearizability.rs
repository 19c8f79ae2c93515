//! Whether the answers of one register can be explained by an order in which its calls took effect, each between being
//! asked and being answered.
//!
//! The search of J. Wing and C. Gong, "Testing and Verifying Concurrent Objects" (1993), with the memory of states seen
//! that G. Lowe adds in "Testing for Linearizability" (2017): try every call that may come next, go back where none fits,
//! and never try the same remainder in the same state twice. A call without an answer may have taken effect at any time
//! since it was asked, or never.

use std::collections::HashSet;

use super::history::{Answer, Call, Operation, Value};

/// Remainders tried before the search is given up as undecided.
const STEPS: usize = 200_000;

/// What the search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none.
    Violated,
    /// Too many orders to try them all.
    Undecided,
}

/// Judges the calls of one key, which began without a value.
pub(super) fn check(calls: &[Call]) -> Verdict {
    let mut calls = relevant(calls);
    calls.sort_by_key(|call| call.asked);
    let required = calls.iter().filter(|call| call.answer != Answer::Unknown).count();
    let mut done = vec![0_u64; calls.len().div_ceil(64)];
    let mut search = Search { calls: &calls, seen: HashSet::new(), left: STEPS };
    match search.explain(&mut done, None, required) {
        Some(true) => Verdict::Linearizable,
        Some(false) => Verdict::Violated,
        None => Verdict::Undecided,
    }
}

/// Leaves out what cannot decide anything: what was said not to be done, reads without an answer, and unanswered writes
/// of values nobody ever saw (they are explained by never having happened).
fn relevant(calls: &[Call]) -> Vec<Call> {
    let is_seen = |value: Value| {
        calls.iter().any(|call| call.operation == Operation::Read && call.answer == Answer::Value(value))
    };
    let decides = |call: &&Call| match (call.operation, call.answer) {
        (_, Answer::Value(_)) => true,
        (_, Answer::NotDone) => false,
        (Operation::Read, Answer::Unknown) => false,
        (Operation::Write(value), Answer::Unknown) => is_seen(value),
    };
    calls.iter().filter(decides).copied().collect()
}

struct Search<'a> {
    calls: &'a [Call],
    seen: HashSet<(Vec<u64>, Value)>,
    left: usize,
}

impl Search<'_> {
    /// Whether the calls not yet `done` can follow in `state`; `required` of them were answered.
    fn explain(&mut self, done: &mut [u64], state: Value, required: usize) -> Option<bool> {
        if required == 0 {
            return Some(true);
        }
        if !self.seen.insert((done.to_vec(), state)) {
            return Some(false);
        }
        self.left = self.left.checked_sub(1)?;
        let is_done = |done: &[u64], place: usize| done[place / 64] & (1 << (place % 64)) != 0;
        let open = |done: &[u64]| (0..self.calls.len()).filter(|place| !is_done(done, *place)).collect::<Vec<_>>();
        // Nothing can come before a call that was answered before it was asked.
        let limit = open(done).iter().map(|place| self.calls[*place].answered).min().unwrap_or(u64::MAX);
        for place in open(done) {
            let call = self.calls[place];
            if call.asked > limit {
                break;
            }
            let Some(next) = effect(&call, state) else { continue };
            done[place / 64] |= 1 << (place % 64);
            let left = required - usize::from(call.answer != Answer::Unknown);
            let explained = self.explain(done, next, left);
            done[place / 64] &= !(1 << (place % 64));
            if explained != Some(false) {
                return explained;
            }
        }
        Some(false)
    }
}

/// The state after a call, if it could have been answered as it was.
fn effect(call: &Call, state: Value) -> Option<Value> {
    match (call.operation, call.answer) {
        (Operation::Write(value), _) => Some(value),
        (Operation::Read, Answer::Value(seen)) => (seen == state).then_some(state),
        (Operation::Read, Answer::Unknown | Answer::NotDone) => Some(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(asked: u64, answered: u64, value: Value) -> Call {
        Call { asked, answered, operation: Operation::Write(value), answer: Answer::Value(value) }
    }

    fn lost(asked: u64, value: Value) -> Call {
        Call { asked, answered: u64::MAX, operation: Operation::Write(value), answer: Answer::Unknown }
    }

    fn read(asked: u64, answered: u64, value: Value) -> Call {
        Call { asked, answered, operation: Operation::Read, answer: Answer::Value(value) }
    }

    #[test]
    fn what_can_be_and_what_cannot() {
        use Verdict::{Linearizable, Violated};
        let refused = Call { answer: Answer::NotDone, ..write(1, 2, Some(1)) };
        let cases: [(&str, &[Call], Verdict); 12] = [
            ("nothing", &[], Linearizable),
            ("read what was written", &[write(1, 2, Some(1)), read(3, 4, Some(1))], Linearizable),
            ("a stale read", &[write(1, 2, Some(1)), write(3, 4, Some(2)), read(5, 6, Some(1))], Violated),
            ("a lost write", &[write(1, 2, Some(1)), read(3, 4, None)], Violated),
            (
                "a read beside a write sees either",
                &[write(1, 2, Some(1)), write(3, 6, Some(2)), read(4, 5, Some(1)), read(7, 8, Some(2))],
                Linearizable,
            ),
            (
                "two reads beside a write do not go back",
                &[write(1, 2, Some(1)), write(3, 10, Some(2)), read(4, 5, Some(2)), read(6, 7, Some(1))],
                Violated,
            ),
            (
                "an unanswered write may happen late",
                &[lost(1, Some(1)), read(2, 3, None), read(4, 5, Some(1))],
                Linearizable,
            ),
            ("or never", &[lost(1, Some(1)), read(2, 3, None)], Linearizable),
            (
                "but only once",
                &[lost(1, Some(1)), read(2, 3, Some(1)), write(4, 5, Some(2)), read(6, 7, Some(1))],
                Violated,
            ),
            ("what was not done is not seen", &[refused, read(3, 4, None)], Linearizable),
            ("and if it is that is a lie", &[refused, read(3, 4, Some(1))], Violated),
            ("a removal is a write", &[write(1, 2, Some(1)), write(3, 4, None), read(5, 6, Some(1))], Violated),
        ];
        for (name, calls, expected) in cases {
            assert_eq!(check(calls), expected, "{name}");
        }
    }

    #[test]
    fn many_calls_at_once_are_decided() {
        // Every write overlaps with its neighbours; reads see them in order.
        let mut calls = Vec::new();
        for number in 0..60 {
            let time = u64::from(number) * 10;
            calls.push(write(time, time + 25, Some(number)));
            calls.push(lost(time + 1, Some(1000 + number)));
            calls.push(read(time + 26, time + 27, Some(number + 1)));
        }
        calls.pop();
        assert_eq!(check(&calls), Verdict::Linearizable);
        calls.push(read(2000, 2001, Some(3)));
        assert_eq!(check(&calls), Verdict::Violated);
    }
}

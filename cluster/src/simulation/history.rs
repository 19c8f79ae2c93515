//! What was asked of the agents and what they answered, in the order it happened.
//!
//! A simulation is one thread, so that events have one order: the number of an event is its time. It respects causality
//! (a message is received after it was sent), which is all a linearizable system can be held to.

use std::collections::BTreeMap;

/// The name of a register: one instance of a service, whose metadata carries the value.
pub(super) type Key = u8;
/// Values are unique within a history, so that a read says which write it saw; `None` where nothing is registered.
pub(super) type Value = Option<u32>;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Register with this value, or deregister.
    Write(Value),
    /// Read, and see everything acknowledged before.
    Read,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The write was acknowledged, or the read returned this.
    Value(Value),
    /// It was not done and never will be.
    NotDone,
    /// Nothing, or an error that leaves open whether it was done.
    Unknown,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// When it was asked.
    pub(super) asked: u64,
    /// When the answer came; `u64::MAX` for never.
    pub(super) answered: u64,
    pub(super) operation: Operation,
    pub(super) answer: Answer,
}

/// Everything asked so far.
#[derive(Debug, Default)]
pub(super) struct History {
    clock: u64,
    values: u32,
    calls: BTreeMap<Key, Vec<Call>>,
}

impl History {
    /// A value nobody wrote yet.
    pub(super) fn fresh_value(&mut self) -> u32 {
        self.values += 1;
        self.values
    }

    /// Notes that something is asked; the answer is given with what this returns.
    pub(super) fn ask(&mut self, key: Key, operation: Operation) -> (Key, usize) {
        self.clock += 1;
        let calls = self.calls.entry(key).or_default();
        calls.push(Call { asked: self.clock, answered: u64::MAX, operation, answer: Answer::Unknown });
        (key, calls.len() - 1)
    }

    /// Notes the answer to a call. [`Answer::Unknown`] leaves it open for ever.
    pub(super) fn answer(&mut self, (key, place): (Key, usize), answer: Answer) {
        self.clock += 1;
        let call = &mut self.calls.get_mut(&key).unwrap()[place];
        if answer != Answer::Unknown {
            call.answered = self.clock;
            call.answer = answer;
        }
    }

    /// The calls of each key.
    pub(super) fn calls(&self) -> &BTreeMap<Key, Vec<Call>> {
        &self.calls
    }

    /// How many calls were answered, and how many were not.
    pub(super) fn counts(&self) -> (usize, usize) {
        let calls = || self.calls.values().flatten();
        let answered = calls().filter(|call| call.answer != Answer::Unknown).count();
        (answered, calls().count() - answered)
    }
}

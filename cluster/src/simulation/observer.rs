//! What the code under test tells of its inside while a simulation runs, judged on the spot where one look suffices.
//!
//! One observer a thread, made by the world. Sources of the properties: D. Ongaro, "Consensus: Bridging Theory and
//! Practice", figure 3.2 (Election Safety, State Machine Safety).

use std::{cell::RefCell, collections::BTreeMap};

thread_local! {
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// What was seen of the servers so far.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    /// Who was elected in each term.
    leaders: BTreeMap<u64, u64>,
    /// What each index of the log was when it was applied first.
    applied: BTreeMap<u64, u32>,
    violations: Vec<String>,
}

impl Observer {
    /// A server says that in `term` it follows (or is) the leader `id`. Election Safety: at most one a term.
    pub(crate) fn leader(&mut self, term: u64, id: u64) {
        let first = *self.leaders.entry(term).or_insert(id);
        if first != id {
            self.violations.push(format!("one leader a term: in term {term} both {first} and {id} were elected"));
        }
    }

    /// A server applied the entry of that index. State Machine Safety: no other applies a different one there.
    pub(crate) fn applied(&mut self, index: u64, checksum: u32) {
        let first = *self.applied.entry(index).or_insert(checksum);
        if first != checksum {
            self.violations.push(format!("state machine safety: two different entries were applied at index {index}"));
        }
    }

    /// How many terms had a leader, and how far the log was applied.
    pub(super) fn progress(&self) -> (usize, u64) {
        (self.leaders.len(), self.applied.last_key_value().map_or(0, |(index, _)| *index))
    }

    /// What was not as it must be, since the last call.
    pub(super) fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }
}

/// Begins to observe on this thread.
pub(super) fn begin() {
    OBSERVER.set(Some(Observer::default()));
}

/// Tells this thread's observer, if there is one.
pub(crate) fn observe<T: Default>(tell: impl FnOnce(&mut Observer) -> T) -> T {
    OBSERVER.with_borrow_mut(|observer| observer.as_mut().map(tell)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_a_term_and_two_entries_of_an_index_are_seen() {
        let mut observer = Observer::default();
        observer.leader(1, 7);
        observer.leader(1, 7);
        observer.leader(2, 8);
        observer.applied(1, 5);
        observer.applied(1, 5);
        assert_eq!(observer.take_violations(), Vec::<String>::new());
        observer.leader(1, 8);
        observer.applied(1, 6);
        assert_eq!(observer.take_violations().len(), 2);
        assert_eq!(observer.progress(), (2, 1));
    }
}

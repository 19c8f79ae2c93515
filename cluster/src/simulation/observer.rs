//! What the code under test tells of its inside while a simulation runs, judged on the spot where one look suffices.
//! One observer a thread, made by the world.

use std::cell::RefCell;

use super::invariants::{one_leader::OneLeader, state_machine::StateMachineSafety};

thread_local! {
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// What was seen of the servers so far.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    leaders: OneLeader,
    applied: StateMachineSafety,
    violations: Vec<String>,
}

impl Observer {
    /// A server says that in `term` it follows (or is) the leader `id`.
    pub(crate) fn leader(&mut self, term: u64, id: u64) {
        self.violations.extend(self.leaders.see(term, id).err());
    }

    /// A server applied the entry of that index.
    pub(crate) fn applied(&mut self, index: u64, checksum: u32) {
        self.violations.extend(self.applied.see(index, checksum).err());
    }

    /// How many terms had a leader, and how far the log was applied.
    pub(super) fn progress(&self) -> (usize, u64) {
        (self.leaders.terms(), self.applied.last())
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
        for (term, id) in [(1, 7), (1, 7), (2, 8)] {
            observer.leader(term, id);
        }
        observer.applied(1, 5);
        observer.applied(1, 5);
        assert_eq!(observer.take_violations(), Vec::<String>::new());
        observer.leader(1, 8);
        observer.applied(1, 6);
        assert_eq!(observer.take_violations().len(), 2);
        assert_eq!(observer.progress(), (2, 1));
    }
}

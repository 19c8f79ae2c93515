//! One leader a term: D. Ongaro and J. Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended
//! version, 2014), figure 3, Election Safety: "at most one leader can be elected in a given term".
//!
//! Seen by the votes servers write down: a committed one names the leader it follows.

use std::collections::BTreeMap;

/// Who was elected in each term.
#[derive(Debug, Default)]
pub(crate) struct OneLeader(BTreeMap<u64, u64>);

impl OneLeader {
    /// A server follows (or is) the leader `id` of `term`.
    pub(crate) fn see(&mut self, term: u64, id: u64) -> Result<(), String> {
        let first = *self.0.entry(term).or_insert(id);
        match first == id {
            true => Ok(()),
            false => Err(format!("one leader a term: in term {term} both {first} and {id} were elected")),
        }
    }

    /// How many terms had a leader.
    pub(crate) fn terms(&self) -> usize {
        self.0.len()
    }
}

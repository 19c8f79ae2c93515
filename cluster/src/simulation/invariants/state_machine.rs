//! State Machine Safety: D. Ongaro and J. Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended
//! version, 2014), figure 3: "if a server has applied a log entry at a given index to its state machine, no other server
//! will ever apply a different log entry for the same index".

use std::collections::BTreeMap;

/// What each index of the log was when it was applied first.
#[derive(Debug, Default)]
pub(crate) struct StateMachineSafety(BTreeMap<u64, u32>);

impl StateMachineSafety {
    /// A server applied the entry of that index.
    pub(crate) fn see(&mut self, index: u64, checksum: u32) -> Result<(), String> {
        let first = *self.0.entry(index).or_insert(checksum);
        match first == checksum {
            true => Ok(()),
            false => Err(format!("state machine safety: two different entries were applied at index {index}")),
        }
    }

    /// The last index any server applied.
    pub(crate) fn last(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(index, _)| *index)
    }
}

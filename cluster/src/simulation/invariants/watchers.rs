//! Watchers miss nothing: the contract of `catalog::watch` (a watch that began before a state was read is told of every
//! change after it), and so of blocking queries.
//!
//! A watcher reads when it is woken. Where what it read last is not what the catalog shows, and stays so although time
//! passes, it was not woken.

use std::collections::BTreeMap;

use crate::simulation::{
    faults::Host,
    history::Key,
    shared::Shared,
    workload::{KEYS, value_of},
};

/// Looks a watcher may be behind: it was woken at the very end of a tick.
const LOOKS: u32 = 4;

/// For how many looks each watcher has been behind.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Watchers(BTreeMap<(Host, Key), u32>);

impl Watchers {
    /// Compares what every watcher saw last with the catalog it watches.
    pub(in crate::simulation) fn look(&mut self, shared: &Shared) -> Vec<String> {
        let mut violations = Vec::new();
        for (host, agent) in shared.agents() {
            let state = agent.catalog().load();
            for key in 0..KEYS {
                let Some(seen) = shared.seen_by_watcher(host, key) else { continue };
                let behind = self.0.entry((host, key)).or_default();
                *behind = if seen == value_of(&state, key) { 0 } else { *behind + 1 };
                if *behind == LOOKS {
                    let now = value_of(&state, key);
                    violations
                        .push(format!("watchers: register {key} at host {host} is {now:?}, but {seen:?} was seen"));
                }
            }
        }
        violations
    }
}

//! Whole clusters in one process, from a seed: simulated network, clocks and disks, and everything that can go wrong
//! with them.
//!
//! ```text
//!   seed ─► entropy ─► world: hosts with agents (turmoil), disks, workload ◄─ faults
//!                        │ history, observations                    then: no faults, everything must heal
//!                        ▼
//!                      invariants (one file each)  ─► a violation names the seed and the command that replays it
//! ```
//!
//! - `entropy`: one seed for all randomness. `world`: the hosts and their run. `faults`: what goes wrong and when.
//! - `workload`: what is asked of the agents. `history`: what they answered. `linearizability`: whether that can be.
//! - `invariants`: what must hold. `observer`: what the code under test tells of its inside. `runs`: the tests.
//!
//! One simulation is one thread of one process: what is global in libraries (a counter that seeds a runtime) would make
//! a second one in the same process another one. `runs` starts the processes.

mod entropy;
mod history;
mod linearizability;
mod observer;

use std::cell::Cell;

pub(crate) use self::observer::observe;

/// A bug put back on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Appends and votes are acknowledged before they are on disk.
    AcknowledgeBeforeSync,
    /// A vote is never on disk: a restarted server votes again in the same term.
    ForgetVote,
    /// A snapshot from the leader changes the catalog, and no watcher is told.
    SilentSnapshot,
}

impl Bug {
    const ALL: [Self; 3] = [Self::AcknowledgeBeforeSync, Self::ForgetVote, Self::SilentSnapshot];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
    }
}

thread_local! {
    static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether the caller runs on a simulated host.
pub(crate) fn is_running() -> bool {
    turmoil::in_simulation()
}

/// The bug this simulation has, if any.
pub(crate) fn bug() -> Option<Bug> {
    BUG.get()
}

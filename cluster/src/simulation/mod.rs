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
//! - `shared`: the board hosts and driver write on. `workload`: what is asked of the agents. `history`: what they
//!   answered. `linearizability`: whether that can be.
//! - `log`: what the code under test logs. `invariants`: what must hold. `observer`: what the code under test tells of
//!   its inside. `runs`: the tests.
//!
//! One simulation is one thread of one process: what is global in libraries (a counter that seeds a runtime) would make
//! a second one in the same process another one. `runs` starts the processes.

mod entropy;
mod faults;
mod history;
mod invariants;
mod linearizability;
mod log;
mod observer;
mod runs;
mod shared;
mod workload;
mod world;

use std::{
    cell::Cell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use self::faults::Weather;
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

/// The time a simulated host's clock shows: the simulation begins in 2027, whenever it is run.
pub(crate) fn wall_clock() -> Option<SystemTime> {
    turmoil::sim_elapsed().map(|elapsed| UNIX_EPOCH + Duration::from_secs(1_800_000_000) + elapsed)
}

/// The bug this simulation has, if any.
pub(crate) fn bug() -> Option<Bug> {
    BUG.get()
}

fn set_bug(bug: Option<Bug>) {
    BUG.set(bug);
}

/// What runs on the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Software {
    /// Whole agents.
    Agents,
    /// Membership alone, among more hosts.
    Gossip,
}

/// What kind of a simulation it is: follows from the seed.
#[derive(Clone, Debug)]
struct Setup {
    seed: u64,
    software: Software,
    servers: usize,
    clients: usize,
    weather: Weather,
    multiplier: u32,
    snapshot_threshold: u64,
}

impl Setup {
    fn of(seed: u64) -> Self {
        let (software, servers, clients) = match seed % 5 {
            0 => (Software::Agents, 1, 0),
            4 => (Software::Gossip, 3, 9),
            _ => (Software::Agents, 3, 2),
        };
        Self {
            seed,
            software,
            servers,
            clients,
            weather: if seed.is_multiple_of(2) { Weather::Drizzle } else { Weather::Storm },
            multiplier: if seed.is_multiple_of(3) { 5 } else { 1 },
            snapshot_threshold: if seed.is_multiple_of(4) { 400 } else { 40 },
        }
    }
}

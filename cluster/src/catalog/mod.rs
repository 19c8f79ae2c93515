//! The catalog: what is registered and how healthy it is.
//!
//! ```text
//!   command ─► State::apply ─► next State ─► Catalog::publish ─► watchers of what changed wake
//!                                   │
//!                     readers ◄── Catalog::load  (DNS, HTTP, snapshots: one moment, no lock)
//! ```
//!
//! [`State`] is an immutable value that shares structure with the versions before it: a clone costs nothing and holds
//! one moment for as long as its reader likes. One writer (Raft's state machine) makes the next version and publishes
//! it once per batch of log entries. Pure: no I/O, no clock, no randomness; knows nothing of Raft, DNS or HTTP.
//!
//! - [`model`], [`command`]: what is held, and what changes it.
//! - `state`: the tables. `entry`: what a table holds for readers, with health already folded in.
//! - `apply`, `admit`, `edit`, `place`: a command's way into the tables.
//! - [`query`]: reading, and which [`Topic`] each read pairs with.
//! - `gone`: indexes of what is no longer there.
//! - `record`: a state as the parts of a snapshot.
//! - `watch`: who waits for what.

mod admit;
mod apply;
pub mod autopilot;
pub mod command;
mod edit;
mod entry;
mod gone;
mod key;
pub mod model;
mod place;
pub mod query;
mod record;
mod state;
mod tags;
#[cfg(test)]
mod tests;
mod watch;

pub use entry::{Host, Instance, List, Memo, NodeEntry, Selection, ServiceEntry};
pub use query::Indexed;
pub use record::{Record, RestoreError};
pub use state::{Indexes, State};
pub use watch::{Changes, Topic, Watch};

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use self::watch::Watchers;

/// The published catalog: an atomic pointer to the newest [`State`], and who waits for what.
#[derive(Default)]
pub struct Catalog {
    state: ArcSwap<State>,
    watchers: Watchers,
}

impl Catalog {
    /// The newest state, for a reader that is done in a moment (a DNS answer).
    pub fn load(&self) -> Guard<Arc<State>> {
        self.state.load()
    }

    /// The newest state, to be held as long as needed.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Makes `next` the state readers see, then wakes the watchers of `changes`. For the one writer only.
    pub fn publish(&self, next: State, changes: Changes) {
        self.state.store(Arc::new(next));
        self.watchers.wake(changes);
    }

    /// Starts watching `topic`. Begin the watch *before* reading the state, so that no change falls between.
    pub fn watch(&self, topic: Topic) -> Watch {
        self.watchers.watch(topic)
    }
}

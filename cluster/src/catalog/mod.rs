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
//! - [`model`], [`autopilot`], [`command`]: what is held, and what changes it.
//! - `state`: the tables. `entry`: what a table holds for readers, with health already folded in.
//! - `apply`, `admit`, `edit`, `place`: a command's way into the tables.
//! - [`query`]: reading, and which [`Topic`] each read pairs with.
//! - `partial`: the parts of the catalog an agent that is no server keeps.
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
mod partial;
mod place;
pub mod query;
mod record;
mod state;
mod tags;
#[cfg(test)]
mod tests;
mod watch;

pub use entry::{Host, Instance, List, Memo, NodeEntry, Selection, ServiceEntry};
pub(crate) use partial::Mark;
pub use partial::{Content, Interest, Lease};
pub use query::Indexed;
pub use record::{Record, RestoreError};
pub use state::{Indexes, State};
pub use watch::{Changes, Topic, Watch};

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use futures_util::future::BoxFuture;
use tokio::sync::watch::Sender;

use self::watch::Watchers;

/// The published catalog: an atomic pointer to the newest [`State`], and who waits for what.
#[derive(Default)]
pub struct Catalog {
    state: ArcSwap<State>,
    watchers: Watchers,
    as_of: Sender<u64>,
    source: OnceLock<Weak<dyn Source>>,
}

/// Where a partial catalog gets what it does not hold.
pub trait Source: Send + Sync + 'static {
    /// Has the catalog hold what is of interest, and follow it from then on. When this returns it may be read; while
    /// the lease lives it stays. Waits some seconds at most.
    fn want(&self, interest: Interest) -> BoxFuture<'_, Result<Lease, Unavailable>>;

    /// How long ago what is held was last known to be as the servers have it; zero while it is followed. `None` if it
    /// is not held.
    fn age(&self, interest: &Interest) -> Option<Duration>;
}

/// Nobody could be asked for what a partial catalog does not hold. Clients match the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("No known Consul servers")]
pub struct Unavailable;

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
        let as_of = next.as_of();
        self.state.store(Arc::new(next));
        self.watchers.wake(changes);
        self.as_of.send_replace(as_of);
    }

    /// Waits until log entry `index` has been applied to the state readers see.
    pub async fn reached(&self, index: u64) {
        let mut as_of = self.as_of.subscribe();
        // The sender lives in `self`: the wait cannot fail.
        let _reached = as_of.wait_for(|as_of| *as_of >= index).await;
    }

    /// Makes this a partial catalog, which gets what it does not hold from `source` for as long as that lives.
    pub fn draw_from(&self, source: Weak<dyn Source>) {
        self.state.store(Arc::new(State::partial()));
        // A second source would be a mistake in this program; the first stays.
        let _first = self.source.set(source);
    }

    /// Where a partial catalog gets what it does not hold; `None` for a whole one.
    pub fn source(&self) -> Option<Arc<dyn Source>> {
        self.source.get()?.upgrade()
    }

    /// Starts watching `topic`. Begin the watch *before* reading the state, so that no change falls between.
    pub fn watch(&self, topic: Topic) -> Watch {
        self.watchers.watch(topic)
    }
}

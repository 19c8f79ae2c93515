//! The catalog of services and everything that keeps it true.
//!
//! ```text
//!   agent ──► local ──► agent::forward ──► raft ──► catalog ──► view (pushed to clients)
//!     │                      │  ▲           ▲
//!     │                      └ rpc ─────────┤ entries, votes, snapshots between servers
//!     └──► gossip ──► membership ──► leader ┘
//! ```
//!
//! - [`catalog`]: the state machine. Pure.
//! - [`raft`]: the log every server agrees on; the only place that names openraft.
//! - [`gossip`]: who is there and alive; the only place that names foca. [`membership`]: what others see of it.
//! - [`rpc`]: calls between agents, over one port. `net`: the sockets between agents.
//! - [`view`]: the parts of the catalog a client agent keeps.
//! - [`local`]: what this agent itself has registered, and its synchronisation with the catalog.
//! - [`health`]: the checks of this agent, run and judged.
//! - `leader`: the members belong into the catalog, the servers into the configuration.
//! - [`agent`]: the handle of a running agent, and its parts put together.
//! - [`datadir`]: the data directory and its lock. [`access`]: permissions and the way to datacenters.
//! - `due`: what is to be done when.
//! - `blocking`, `clock`: the only ways to threads that block and to the wall clock, so that `simulation` (tests) decides.
//!
//! Knows nothing of answering DNS or HTTP, nor of the command line; checks speak both, as clients.

pub mod access;
pub mod agent;
mod blocking;
pub mod catalog;
mod clock;
pub mod datadir;
mod due;
pub mod gossip;
pub mod health;
mod leader;
pub mod local;
pub mod membership;
mod net;
pub mod raft;
pub mod rpc;
#[cfg(test)]
mod simulation;
pub mod view;

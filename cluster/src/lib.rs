//! The catalog of services and everything that keeps it true.
//!
//! ```text
//!   agent ──► local ──► raft ──► catalog
//!     │                   ▲
//!     └──► membership, leader ┘
//! ```
//!
//! - [`catalog`]: the state machine. Pure.
//! - [`raft`]: the log every server agrees on; the only place that names openraft.
//! - [`local`]: what this agent itself has registered, and its synchronisation with the catalog.
//! - [`membership`]: the table of agents.
//! - `leader`: the members belong into the catalog.
//! - [`datadir`]: the data directory and its lock.
//! - [`access`]: permissions and the way to datacenters.
//! - [`agent`]: the handle of a running agent.
//!
//! Knows nothing of DNS, HTTP or the command line.

pub mod access;
pub mod agent;
mod blocking;
pub mod catalog;
mod clock;
pub mod datadir;
pub mod gossip;
mod leader;
pub mod local;
pub mod membership;
mod net;
pub mod raft;
pub mod rpc;
#[cfg(test)]
mod simulation;
pub mod view;

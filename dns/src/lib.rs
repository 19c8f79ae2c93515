//! DNS questions to answers, from a live view of the catalog.
//!
//! ```text
//!   datagram ─► serve ─► responder ─► wire::request ─► name ─► answer ─► fit ─► wire::writer ─► datagram
//!                 │                                              ▲
//!                 └── not in memory ─► errand ─► recurse, fetch ─┘
//! ```
//!
//! Everything but [`serve`], `errand` and `recurse` is pure: no I/O, no clock, no randomness of its own. Knows the catalog's
//! read side, nothing of Raft, gossip or HTTP.

#![deny(unsafe_code)]

pub mod answer;
pub mod client;
mod cookie;
mod counts;
mod errand;
pub mod explain;
pub mod fit;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod limit;
pub mod name;
pub mod policy;
mod recurse;
pub mod responder;
pub mod serve;
pub mod wire;
pub mod zone;

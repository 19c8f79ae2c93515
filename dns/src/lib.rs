//! DNS questions to answers, from a live view of the catalog.
//!
//! Knows the catalog's read side, nothing of Raft, gossip or HTTP.

pub mod policy;
pub mod serve;

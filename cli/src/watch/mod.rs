//! Watching: a question is asked again and again, each time waiting for a change, and whoever wants to know is told.
//!
//! ```text
//!   flags or files ─► spec: what, and who is told ─► engine ─► a handler, or standard output
//!                                                      │
//!                        plan (pure): index, what is new, when to try again
//! ```
//!
//! - [`spec`]: what can be watched and by whom it is handled; every mistake names its place. Pure.
//! - [`plan`]: which index to ask with, whether an answer is new, how long to wait after an error. Pure.
//! - [`engine`]: the loop around it, over the HTTP API as any client.
//! - [`handler`]: running a command, sending a request.
//! - [`agent`]: the watches of an agent's configuration.
//!
//! Knows the HTTP client; nothing of the agent's insides.

pub mod agent;
mod call;
pub mod engine;
pub mod handler;
pub mod plan;
pub mod spec;

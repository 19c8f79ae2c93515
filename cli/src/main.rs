//! `usher`: the agent, the server and the command line in one binary.
//!
//! Knows everyone below and is known by nobody.

pub mod config;
pub mod definition;
pub mod logging;

fn main() {}

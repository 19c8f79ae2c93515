//! `usher`: the agent, the server and the command line in one binary.
//!
//! Knows everyone below and is known by nobody.

pub mod client;
pub mod commands;
pub mod config;
pub mod definition;
pub mod http;
pub mod logging;
pub mod output;
pub mod values;

fn main() -> std::process::ExitCode {
    commands::run(std::env::args_os())
}

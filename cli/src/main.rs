//! `usher`: the agent, the server and the command line in one binary.
//!
//! Knows everyone below and is known by nobody.

pub mod client;
pub mod commands;
pub mod config;
pub mod definition;
pub mod filter;
pub mod http;
pub mod logging;
pub mod output;
pub mod values;
pub mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    // TLS libraries ask for the one provider of the process; only the first call counts.
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    commands::run(std::env::args_os())
}

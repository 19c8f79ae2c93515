//! `usher services`: the registrations of one agent.
//!
//! ```text
//!   flags, or files by `definition` ─► ServiceDefinition ─► body ─► the agent
//! ```

pub mod body;
pub mod check;
pub mod deregister;
pub mod files;
pub mod lease;
pub mod register;

use std::process::ExitCode;

use super::{CommandError, ask, cluster_client};
use crate::output::Output;

/// Register services with the agent, or remove them
///
/// A service is registered with the agent of the host it runs on, which keeps it until it is removed
/// with the same agent.
///
/// Examples:
///     usher services register -name=web -port=8080
///     usher services register web.json
///     usher services deregister -id=web
#[derive(Debug, clap::Subcommand)]
#[command(verbatim_doc_comment)]
#[expect(missing_docs, reason = "clap shows what stands at the arguments")]
pub enum Command {
    Deregister(Box<deregister::Args>),
    Register(Box<register::Args>),
}

impl Command {
    /// Runs the command.
    pub fn run(self, out: &mut Output) -> Result<ExitCode, CommandError> {
        match self {
            Self::Deregister(args) => ask(deregister::run(&args, &cluster_client(&args.cluster)?, out)),
            Self::Register(args) => ask(register::run(&args, &cluster_client(&args.cluster)?, out)),
        }
    }
}

//! `usher operator`: tools for those who run the cluster.

mod autopilot;
mod raft;

use std::process::ExitCode;

use super::CommandError;
use crate::output::Output;

/// Look after the cluster itself
///
/// Example:
///     usher operator raft list-peers
#[derive(Debug, clap::Subcommand)]
#[command(verbatim_doc_comment)]
#[expect(missing_docs, reason = "clap shows what stands at the arguments")]
pub enum Command {
    #[command(subcommand)]
    Autopilot(autopilot::Autopilot),
    #[command(subcommand)]
    Raft(raft::Raft),
}

impl Command {
    /// Runs the command.
    pub fn run(self, out: &mut Output) -> Result<ExitCode, CommandError> {
        match self {
            Self::Autopilot(command) => command.run(out),
            Self::Raft(command) => command.run(out),
        }
    }
}

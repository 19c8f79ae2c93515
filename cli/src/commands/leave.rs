//! `usher leave`: makes the agent leave its cluster and end.

use std::process::ExitCode;

use super::{CommandError, error::Doing};
use crate::{
    client::{Client, flags::HttpFlags},
    output::Output,
};

/// Tell the agent to leave the cluster and end
///
/// The agent says goodbye, so that the others do not take it for failed, and its process ends.
///
/// Example:
///     usher leave
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    pub(super) http: HttpFlags,
}

/// Runs the command.
pub async fn run(_args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    client.put(client.agent("/v1/agent/leave"), None).await.doing("Error leaving")?;
    out.line("Graceful leave complete")?;
    Ok(ExitCode::SUCCESS)
}

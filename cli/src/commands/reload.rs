//! `usher reload`: makes the agent read its configuration again.

use std::process::ExitCode;

use super::{CommandError, Ignored, error::Doing};
use crate::{
    client::{Client, flags::HttpFlags},
    output::Output,
};

/// Tell the agent to read its configuration files again
///
/// Does the same as the signal SIGHUP. What cannot change while the agent runs keeps its value.
///
/// Example:
///     usher reload
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    ignored: Ignored,
    #[command(flatten)]
    pub(super) http: HttpFlags,
}

/// Runs the command.
pub async fn run(_args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    client.put(client.agent("/v1/agent/reload"), None).await.doing("Error reloading")?;
    out.line("Configuration reload triggered")?;
    Ok(ExitCode::SUCCESS)
}

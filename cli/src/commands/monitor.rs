//! `usher monitor`: the agent's log, while it is written.

use std::process::ExitCode;

use super::{CommandError, Ignored, error::Doing};
use crate::{
    client::{Client, flags::HttpFlags},
    output::Output,
};

/// Show the log of a running agent until it is stopped by Ctrl-C
///
/// Shows what the agent logs from now on, at a level of your choice: the agent's own log may leave out
/// what is shown here.
///
/// Example:
///     usher monitor -log-level=debug
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Lowest level shown: trace, debug, info, warn or err. The default is info.
    #[arg(long, value_name = "level", default_value = "", hide_default_value = true)]
    log_level: String,
    /// Show every line as a JSON object.
    #[arg(long)]
    log_json: bool,
    #[command(flatten)]
    ignored: Ignored,
    #[command(flatten)]
    pub(super) http: HttpFlags,
}

/// Runs the command.
pub async fn run(args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let request = client.agent("/v1/agent/monitor").with_some("loglevel", &args.log_level);
    let request = if args.log_json { request.with("logjson", "true") } else { request };
    tokio::select! {
        result = follow(client.stream(request), out) => result,
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
    }
}

async fn follow(
    answer: impl Future<Output = Result<crate::client::Stream, crate::client::ClientError>>,
    out: &mut Output,
) -> Result<ExitCode, CommandError> {
    let mut stream = answer.await.doing("Error starting monitor")?;
    while let Some(bytes) = stream.next().await.doing("Error reading the log")? {
        out.raw(&bytes)?;
    }
    Err(CommandError::Other("The agent ended the log: it has been stopped or has crashed.".into()))
}

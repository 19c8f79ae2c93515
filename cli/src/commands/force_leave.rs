//! `usher force-leave`: makes the cluster give up a failed member.

use std::process::ExitCode;

use super::{CommandError, error::Doing};
use crate::{
    client::{Client, flags::HttpFlags},
    output::Output,
};

/// Make the cluster take a failed member for one that has left
///
/// For hosts that will not come back: otherwise their agents are tried for days. A member that is alive
/// after all joins again by itself.
///
/// Examples:
///     usher force-leave web-17
///     usher force-leave -prune web-17
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Forget the member altogether, so that it is not listed as left either.
    #[arg(long)]
    prune: bool,
    /// The member's node name.
    #[arg(value_name = "name")]
    names: Vec<String>,
    #[command(flatten)]
    pub(super) http: HttpFlags,
}

/// Runs the command.
pub async fn run(args: &Args, client: &Client, _out: &mut Output) -> Result<ExitCode, CommandError> {
    let [name] = args.names.as_slice() else {
        return Err(CommandError::Usage("A single node name must be specified to force leave.".into()));
    };
    let request = client.agent("/v1/agent/force-leave").segment(name);
    let request = if args.prune { request.with("prune", "1") } else { request };
    client.put(request, None).await.doing("Error force leaving")?;
    Ok(ExitCode::SUCCESS)
}

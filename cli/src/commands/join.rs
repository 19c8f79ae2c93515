//! `usher join`: makes the agent join others.

use std::process::ExitCode;

use super::{CommandError, error::Doing};
use crate::{
    client::{Client, flags::HttpFlags},
    output::{Output, one_line},
};

/// Tell the agent to join a cluster
///
/// One address of an agent that is in the cluster is enough: 'host' or 'host:port' of its gossip. More
/// may be given in case some do not answer.
///
/// Examples:
///     usher join 10.0.0.5
///     usher join -wan 192.0.2.10:8302
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Join the pool between datacenters (servers only).
    #[arg(long)]
    wan: bool,
    /// Agents to join.
    #[arg(value_name = "address")]
    addresses: Vec<String>,
    #[command(flatten)]
    pub(super) http: HttpFlags,
}

/// Runs the command.
pub async fn run(args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    if args.addresses.is_empty() {
        return Err(CommandError::Usage("At least one address to join must be specified.".into()));
    }
    let mut joined = 0;
    for address in &args.addresses {
        let request = client.agent("/v1/agent/join").segment(address);
        let request = if args.wan { request.with("wan", "1") } else { request };
        match client.put(request, None).await.doing(format!("Error joining address '{address}'")) {
            Ok(()) => joined += 1,
            // The others are tried all the same.
            Err(error) => out.problem(one_line(&error.to_string())),
        }
    }
    if joined == 0 {
        return Err(CommandError::Other("Failed to join any nodes.".into()));
    }
    out.line(format!("Successfully joined cluster by contacting {joined} nodes."))?;
    Ok(ExitCode::SUCCESS)
}

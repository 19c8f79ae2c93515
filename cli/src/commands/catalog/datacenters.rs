//! `usher catalog datacenters`.

use std::process::ExitCode;

use crate::{
    client::{Client, flags::ClusterFlags},
    commands::error::{CommandError, Doing},
    output::Output,
};

/// List the datacenters that are known, the nearest first
///
/// Example:
///     usher catalog datacenters
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    pub(super) cluster: ClusterFlags,
}

/// Runs the command.
pub async fn run(_args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let request = client.agent("/v1/catalog/datacenters");
    let datacenters: Option<Vec<String>> = client.get(request).await.doing("Error listing datacenters")?;
    for datacenter in datacenters.unwrap_or_default() {
        out.line(datacenter)?;
    }
    Ok(ExitCode::SUCCESS)
}

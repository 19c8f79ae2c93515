//! `usher services deregister`.

use std::{path::PathBuf, process::ExitCode};

use super::files;
use crate::{
    client::{Client, flags::ClusterFlags},
    commands::error::{CommandError, Doing},
    output::Output,
};

/// Remove services from the agent
///
/// By id, or all that stand in files as 'services register' takes them. A service is removed with the
/// agent it was registered with; removing one that is not there is no error.
///
/// Examples:
///     usher services deregister -id=web
///     usher services deregister web.json
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Id of the service; its name, if it was registered without one.
    #[arg(long, value_name = "id", default_value = "", hide_default_value = true)]
    id: String,
    /// Files with definitions, JSON or HCL, or directories of them.
    #[arg(value_name = "file")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) cluster: ClusterFlags,
}

/// Runs the command.
pub async fn run(args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    for id in ids(args, out)? {
        let request = client.agent("/v1/agent/service/deregister").segment(&id);
        client.put(request, None).await.doing(format!("Error deregistering service \"{id}\""))?;
        out.line(format!("Deregistered service: {id}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ids(args: &Args, out: &mut Output) -> Result<Vec<String>, CommandError> {
    match (args.id.as_str(), args.files.as_slice()) {
        ("", []) => Err(CommandError::Usage("Service deregistration requires at least one argument or -id.".into())),
        ("", files) => match files::ids(files, out)? {
            ids if ids.iter().any(String::is_empty) => {
                Err(CommandError::Other("a service has neither id nor name: nothing was removed".into()))
            }
            ids => Ok(ids),
        },
        (id, []) => Ok(vec![id.to_owned()]),
        _ => Err(CommandError::Usage("Service deregistration requires arguments or -id, not both.".into())),
    }
}

//! `usher maint`: takes a service or the whole node out of all answers, by hand.

use std::{collections::BTreeMap, process::ExitCode};

use super::{CommandError, Ignored, error::Doing};
use crate::{
    client::{Client, api, flags::HttpFlags},
    output::{Output, one_line},
};

/// The check of a node in maintenance.
const NODE_CHECK: &str = "_node_maintenance";
/// What the check of a service in maintenance begins with.
const SERVICE_CHECK: &str = "_service_maintenance:";

/// Take a service or the whole node out of all answers, by hand
///
/// While in maintenance a critical check stands for it, so that neither DNS nor the API's lists of
/// healthy services answer it; programs and checks go on undisturbed. It lasts until it is disabled,
/// over restarts of the agent, too. Without flags it is told what is in maintenance, and why.
///
/// Examples:
///     usher maint -enable -reason='kernel upgrade'
///     usher maint -enable -service=web-1 -reason='new version'
///     usher maint
///     usher maint -disable -service=web-1
#[derive(clap::Args, Debug, Default)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Begin maintenance.
    #[arg(long)]
    enable: bool,
    /// End maintenance.
    #[arg(long)]
    disable: bool,
    /// Why, for people: shown as the notes of the check.
    #[arg(long, value_name = "text", default_value = "", hide_default_value = true)]
    reason: String,
    /// The service meant, by its id. The default is the whole node.
    #[arg(long, value_name = "id", default_value = "", hide_default_value = true)]
    service: String,
    #[command(flatten)]
    ignored: Ignored,
    #[command(flatten)]
    pub(super) http: HttpFlags,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Show,
    Set(bool),
}

/// Runs the command.
pub async fn run(args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    match task(args)? {
        Task::Show => show(client, out).await?,
        Task::Set(enable) => set(args, enable, client, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn task(args: &Args) -> Result<Task, CommandError> {
    let refused = match (args.enable, args.disable) {
        (true, true) => "Only one of -enable or -disable may be provided",
        (false, _) if !args.reason.is_empty() => "Reason may only be provided with -enable",
        (false, false) if !args.service.is_empty() => "Service requires either -enable or -disable",
        (false, false) => return Ok(Task::Show),
        (enable, _) => return Ok(Task::Set(enable)),
    };
    Err(CommandError::Usage(refused.into()))
}

async fn set(args: &Args, enable: bool, client: &Client, out: &mut Output) -> Result<(), CommandError> {
    let (doing, done) = if enable { ("enabling", "enabled") } else { ("disabling", "disabled") };
    let (request, what) = match args.service.as_str() {
        "" => (client.agent("/v1/agent/maintenance"), "node"),
        id => (client.agent("/v1/agent/service/maintenance").segment(id), "service"),
    };
    let request = request.with("enable", if enable { "true" } else { "false" }).with_some("reason", &args.reason);
    client.put(request, None).await.doing(format!("Error {doing} {what} maintenance"))?;
    match args.service.as_str() {
        "" => out.line(format!("Node maintenance is now {done}"))?,
        id => out.line(format!("Service maintenance is now {done} for {id:?}"))?,
    }
    Ok(())
}

async fn show(client: &Client, out: &mut Output) -> Result<(), CommandError> {
    let request = client.agent("/v1/agent/checks");
    let checks: BTreeMap<String, api::Check> = client.get(request).await.doing("Error getting checks")?;
    for line in lines(checks.values()) {
        out.line(line)?;
    }
    Ok(())
}

/// What is in maintenance, the node first.
fn lines<'a>(checks: impl Iterator<Item = &'a api::Check> + Clone) -> Vec<String> {
    let node = checks.clone().filter(|check| check.check_id == NODE_CHECK);
    let services = checks.filter(|check| check.check_id.starts_with(SERVICE_CHECK));
    let told = |what: &str, name: &str, value: &str, check: &api::Check| {
        [
            format!("{what}:"),
            format!("  {name}   {value}"),
            format!("  Reason: {}", one_line(&check.notes)),
            String::new(),
        ]
    };
    node.flat_map(|check| told("Node", "Name:", &check.node, check))
        .chain(services.flat_map(|check| told("Service", "ID:  ", &check.service_id, check)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_flags_ask_for() {
        let args = |enable, disable, reason: &str, service: &str| Args {
            enable,
            disable,
            reason: reason.into(),
            service: service.into(),
            ..Args::default()
        };
        for (args, expected) in [
            (args(false, false, "", ""), Ok(Task::Show)),
            (args(true, false, "why", "web"), Ok(Task::Set(true))),
            (args(false, true, "", "web"), Ok(Task::Set(false))),
            (args(true, true, "", ""), Err("Only one of -enable or -disable may be provided")),
            (args(false, false, "why", ""), Err("Reason may only be provided with -enable")),
            (args(false, true, "why", ""), Err("Reason may only be provided with -enable")),
            (args(false, false, "", "web"), Err("Service requires either -enable or -disable")),
        ] {
            assert_eq!(task(&args).map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{args:?}");
        }
    }

    // As Consul's command prints it, which scripts read.
    #[test]
    fn what_is_in_maintenance() {
        let check = |id: &str, service: &str, notes: &str| api::Check {
            node: "n1".into(),
            check_id: id.into(),
            service_id: service.into(),
            notes: notes.into(),
        };
        let checks = [
            check("_service_maintenance:w1", "w1", "new version"),
            check("other", "w1", "n"),
            check("_node_maintenance", "", "upgrade"),
        ];
        let expected =
            ["Node:", "  Name:   n1", "  Reason: upgrade", "", "Service:", "  ID:     w1", "  Reason: new version", ""];
        assert_eq!(lines(checks.iter()), expected);
        assert!(lines([].iter()).is_empty());
    }
}

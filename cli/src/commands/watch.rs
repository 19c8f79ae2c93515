//! `usher watch`: what is there now, or a command that is run whenever that changes.

use std::{process::ExitCode, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::error::{CommandError, Doing};
use crate::{
    client::{Client, ClientError, flags::ClusterFlags},
    output::Output,
    values::go_bool,
    watch::{
        engine::{self, Change, Told},
        handler::{self, HandlerError, Speech},
        spec::{self, Parameters, Watch},
    },
};

/// Run a command whenever something in the catalog changes
///
/// Without a command, prints what is there now as JSON and ends. With one, runs it
/// at once and after every change, with the JSON on its standard input and the
/// index in CONSUL_INDEX, until it fails or the watch is interrupted.
///
/// Examples:
///     usher watch -type=service -service=web -passingonly=true
///     usher watch -type=checks -state=critical 'jq -r .[].CheckID'
///     usher watch -type=nodes -shell=false /usr/local/bin/update-hosts --quiet
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, override_usage = "usher watch [OPTIONS] [CHILD]...")]
pub struct Args {
    /// What to watch: services, nodes, service or checks (key, keyprefix and event need what is still to come).
    #[arg(long, value_name = "kind", default_value = "", hide_default_value = true)]
    r#type: String,
    /// The service, for service and checks.
    #[arg(long, value_name = "name", default_value = "", hide_default_value = true)]
    service: String,
    /// Only instances with this tag, for service. May be given several times.
    #[arg(long, value_name = "tag")]
    tag: Vec<String>,
    /// Whether only instances whose every check passes, for service.
    #[arg(long, value_name = "true|false", default_value = "", hide_default_value = true)]
    passingonly: String,
    /// Only checks in this state, for checks.
    #[arg(long, value_name = "state", default_value = "", hide_default_value = true)]
    state: String,
    /// The key, for key.
    #[arg(long, value_name = "key", default_value = "", hide_default_value = true)]
    key: String,
    /// What keys begin with, for keyprefix.
    #[arg(long, value_name = "prefix", default_value = "", hide_default_value = true)]
    prefix: String,
    /// The event, for event.
    #[arg(long, value_name = "name", default_value = "", hide_default_value = true)]
    name: String,
    /// Whether the command is a line for the shell; otherwise it is a program and its arguments.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, default_value_t = true, default_missing_value = "true")]
    shell: bool,
    /// The command to run.
    #[arg(last = true)]
    child: Vec<String>,
    #[command(flatten)]
    pub(super) cluster: ClusterFlags,
}

/// Runs the command.
pub async fn run(args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let watch = Watch::new(&parameters(args)?).map_err(|error| CommandError::Usage(error.to_string()))?;
    if args.child.is_empty() {
        let change = engine::once(client, &watch).await.doing("Error querying agent")?;
        out.line(readable(&change)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Where there is no agent there is nothing to wait for; later it may come back.
    let _there: serde_json::Value = client.get(client.agent("/v1/agent/self")).await.doing("Error querying agent")?;
    let command = match args.shell {
        true => spec::Command::Shell(args.child.join(" ")),
        false => spec::Command::Program(args.child.clone()),
    };
    let mut runs = Runs { command, out };
    let cannot_listen = |error| CommandError::Other(format!("cannot listen for signals: {error}"));
    let mut terminated = signal(SignalKind::terminate()).map_err(cannot_listen)?;
    tokio::select! {
        error = engine::run(client, &watch, &mut runs) => {
            Err(CommandError::Other(format!("Error executing handler: {error}")))
        }
        // The command goes with the watch.
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
        _ = terminated.recv() => Ok(ExitCode::SUCCESS),
    }
}

fn parameters(args: &Args) -> Result<Parameters, CommandError> {
    let passingonly = match args.passingonly.as_str() {
        "" => false,
        text => go_bool(text)
            .ok_or_else(|| CommandError::Usage(format!("invalid value \"{text}\" for -passingonly: true or false")))?,
    };
    Ok(Parameters {
        r#type: args.r#type.clone(),
        // The client adds where and how to ask.
        datacenter: args.cluster.datacenter.clone().unwrap_or_default(),
        token: String::new(),
        stale: args.cluster.stale,
        key: args.key.clone(),
        prefix: args.prefix.clone(),
        service: args.service.clone(),
        // As in Consul for configurations alone.
        service_id: String::new(),
        tag: args.tag.clone(),
        passingonly,
        state: args.state.clone(),
        name: args.name.clone(),
    })
}

/// The JSON as people read it.
fn readable(change: &Change) -> Result<String, CommandError> {
    let broken = |error: serde_json::Error| CommandError::Other(format!("unexpected answer: {error}"));
    let value: serde_json::Value = serde_json::from_str(&change.json).map_err(broken)?;
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(&value, &mut serializer).map_err(broken)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Runs the command at every change, until it fails.
struct Runs<'a> {
    command: spec::Command,
    out: &'a mut Output,
}

impl Told for Runs<'_> {
    type End = HandlerError;

    async fn change(&mut self, change: &Change) -> Result<(), HandlerError> {
        handler::run_command(&self.command, change, Speech::Through).await.map(drop)
    }

    fn failed(&mut self, error: &ClientError, wait: Duration) {
        self.out.problem(format!("Watch errored: {error}, retry in {} s", wait.as_secs()));
    }
}

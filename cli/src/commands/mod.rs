//! The command line: which commands there are, and from the arguments to one of them.
//!
//! ```text
//!   arguments ─► argv (Go's flags) ─► clap ─► one command's Args ─► its run(args, client, out) ─► exit code
//!                                       └─► usage: help and errors
//! ```
//!
//! Each command is one file. Those that ask an agent get a [`Client`] made of their flags and the environment; they run on
//! a runtime of one thread. The agent makes a runtime of its own.

pub mod agent;
pub mod argv;
pub mod catalog;
pub mod completion;
pub mod dns;
pub mod error;
pub mod force_leave;
pub mod info;
pub mod join;
pub mod keygen;
pub mod keyring;
pub mod leave;
pub mod maint;
pub mod members;
pub mod monitor;
pub mod operator;
pub mod reload;
pub mod services;
pub mod usage;
pub mod validate;
pub mod version;
pub mod watch;

use std::{ffi::OsString, io, process::ExitCode};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::error::CommandError;
use self::usage::Answer;
use crate::{
    client::{
        Client,
        flags::{ClusterFlags, HttpFlags},
        settings::{Settings, process_environment},
    },
    output::Output,
};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "usher",
    about = usage::ABOUT,
    after_help = usage::TOUR,
    disable_help_subcommand = true,
    args_override_self = true,
    max_term_width = 100
)]
struct CommandLine {
    /// Print the version and exit.
    #[arg(short, long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The commands. What each is for is told at its `Args`.
#[derive(Debug, Subcommand)]
enum Command {
    Agent(agent::Args),
    #[command(subcommand)]
    Catalog(catalog::Command),
    Completion(completion::Args),
    #[command(subcommand)]
    Dns(dns::Command),
    ForceLeave(force_leave::Args),
    Info(info::Args),
    Join(join::Args),
    Keygen(keygen::Args),
    Keyring(keyring::Args),
    Leave(leave::Args),
    Maint(maint::Args),
    Members(members::Args),
    Monitor(monitor::Args),
    #[command(subcommand)]
    Operator(operator::Command),
    Reload(reload::Args),
    #[command(subcommand)]
    Services(services::Command),
    Validate(validate::Args),
    Version(version::Args),
    Watch(watch::Args),
}

/// Arguments nobody asked for: where Consul passes over them, so does this.
#[derive(Args, Clone, Debug, Default)]
pub struct Ignored {
    #[arg(hide = true)]
    ignored: Vec<String>,
}

/// Runs the command that `argv` names, with the program's own name first.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut out = Output::stdio();
    let argv: Vec<OsString> = argv.into_iter().collect();
    match parse(argv) {
        Ok(command) => finish(command.run(&mut out), &mut out),
        Err(answer) => answer.give(&mut out),
    }
}

/// The description of the command line, as completion scripts need it.
pub fn description() -> clap::Command {
    usage::describe(CommandLine::command())
}

/// From arguments to a command, or to what is said instead.
fn parse(argv: Vec<OsString>) -> Result<Command, Answer> {
    let mut description = usage::describe(CommandLine::command());
    let argv = usage::asked_for_help(argv);
    let argv = argv::normalise(&description, argv).map_err(|error| Answer::of_flag(&error, &mut description))?;
    let answer = |error: clap::Error, description: &mut clap::Command| Answer::of_clap(&error, description, &argv);
    let matches = description.try_get_matches_from_mut(&argv).map_err(|error| answer(error, &mut description))?;
    let line = CommandLine::from_arg_matches(&matches).map_err(|error| answer(error, &mut description))?;
    match line.command {
        _ if line.version => Ok(Command::Version(version::Args::default())),
        Some(command) => Ok(command),
        None => Err(Answer::no_command(&mut description)),
    }
}

fn finish(result: Result<ExitCode, CommandError>, out: &mut Output) -> ExitCode {
    match result {
        Ok(code) => code,
        // Who reads has seen enough; nothing went wrong.
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            out.problem(crate::output::one_line(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(self, out: &mut Output) -> Result<ExitCode, CommandError> {
        match self {
            Self::Agent(args) => Ok(agent::run(&args)),
            Self::Catalog(command) => command.run(out),
            Self::Completion(args) => completion::run(&args, out),
            Self::Dns(command) => command.run(out),
            Self::ForceLeave(args) => ask(force_leave::run(&args, &client(&args.http)?, out)),
            Self::Info(args) => ask(info::run(&args, &client(&args.http)?, out)),
            Self::Join(args) => ask(join::run(&args, &client(&args.http)?, out)),
            Self::Keygen(args) => keygen::run(&args, out),
            Self::Keyring(args) => ask(keyring::run(&args, &client(&args.http)?, out)),
            Self::Leave(args) => ask(leave::run(&args, &client(&args.http)?, out)),
            Self::Maint(args) => ask(maint::run(&args, &client(&args.http)?, out)),
            Self::Members(args) => ask(members::run(&args, &client(&args.http)?, out)),
            Self::Monitor(args) => ask(monitor::run(&args, &client(&args.http)?, out)),
            Self::Operator(command) => command.run(out),
            Self::Reload(args) => ask(reload::run(&args, &client(&args.http)?, out)),
            Self::Services(command) => command.run(out),
            Self::Validate(args) => validate::run(&args, out),
            Self::Version(args) => version::run(&args, out),
            Self::Watch(args) => ask(watch::run(&args, &cluster_client(&args.cluster)?, out)),
        }
    }
}

/// A client by a command's flags and the environment.
fn client(flags: &HttpFlags) -> Result<Client, CommandError> {
    Settings::of(flags, &process_environment).and_then(Client::new).map_err(CommandError::Client)
}

/// The same for commands that ask the cluster.
fn cluster_client(flags: &ClusterFlags) -> Result<Client, CommandError> {
    Settings::of_cluster(flags, &process_environment).and_then(Client::new).map_err(CommandError::Client)
}

/// Runs a command that asks an agent.
fn ask(command: impl Future<Output = Result<ExitCode, CommandError>>) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Other(format!("cannot start: {error}")))?;
    runtime.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Answer> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn the_description_is_sound() {
        CommandLine::command().debug_assert();
        description().debug_assert();
    }

    // As Consul's command ends.
    #[test]
    fn what_is_no_command_is_told() {
        let table = [
            ("usher", 127, "Usage: usher"),
            ("usher nosuch", 127, "there is no command 'nosuch'"),
            ("usher -nosuch", 127, "not defined: -nosuch"),
            ("usher kv get x", 127, "'kv' is a command of Consul that Usher does not have yet"),
            ("usher connect ca", 127, "service mesh"),
            ("usher -autocomplete-install", 1, "usher completion bash"),
            ("usher catalog", 1, "usher catalog nodes -service=web"),
            ("usher catalog nosuch", 1, "there is no command 'catalog nosuch' (see 'usher catalog -help')"),
            ("usher operator autopilot", 1, "Usage: usher operator autopilot"),
            ("usher operator raft remove-peer -id", 1, "flag needs an argument: -id"),
            (
                "usher operator autopilot set-config -max-trailing-logs=-1",
                1,
                "invalid value \"-1\" for flag -max-trailing-logs",
            ),
            ("usher operator autopilot set-config -last-contact-threshold=abc", 1, "invalid duration \"abc\""),
            ("usher keyring -relay-factor=x", 1, "invalid value \"x\" for flag -relay-factor"),
            ("usher operator raft", 1, "Usage: usher operator raft"),
            ("usher catalog services extra", 1, "Too many arguments: 'extra'"),
            ("usher catalog nodes -node-meta=x", 1, "for flag -node-meta: Missing \"=\" value in argument: x"),
            ("usher leave extra", 1, "Too many arguments: 'extra'"),
            ("usher members -nosuch", 1, "flag provided but not defined: -nosuch (see 'usher members -help')"),
            ("usher services register -port=abc", 1, "invalid value \"abc\" for flag -port: parse error"),
            ("usher services deregister -name=x", 1, "not defined: -name (see 'usher services deregister -help')"),
            ("usher agent -dev extra", 1, "Too many arguments: 'extra'"),
            ("usher agent -node-meta x", 1, "-node-meta: expected key:value, got 'x' (see 'usher agent -help')"),
            ("usher agent -server=maybe", 1, "invalid boolean value \"maybe\" for -server: parse error"),
            ("usher completion tcsh", 1, "must be one of bash"),
            ("usher watch -nosuch", 1, "not defined: -nosuch (see 'usher watch -help')"),
        ];
        for (line, code, text) in table {
            let answer = parsed(line).map(|command| format!("{command:?}")).unwrap_err();
            assert_eq!((answer.code(), answer.text().1), (code, false), "{line}");
            assert!(answer.text().0.contains(text), "{line}: {}", answer.text().0);
        }
    }

    #[test]
    fn help_is_a_result() {
        for line in ["usher -h", "usher help", "usher --help"] {
            let answer = parsed(line).map(|command| format!("{command:?}")).unwrap_err();
            assert_eq!((answer.code(), answer.text().1), (0, true), "{line}");
            assert!(answer.text().0.contains("dig @127.0.0.1"), "{line}");
        }
        for line in ["usher members -wan -help", "usher help members", "usher members -h -status=x"] {
            let answer = parsed(line).map(|command| format!("{command:?}")).unwrap_err();
            assert_eq!((answer.code(), answer.text().1), (0, true), "{line}");
            assert!(answer.text().0.contains("usher members -status="), "{line}");
        }
    }

    #[test]
    fn what_is_a_command() {
        let table = [
            ("usher -v", "Version("),
            ("usher --version", "Version("),
            ("usher version extra", "Version("),
            ("usher members -status=a -wan=true -status b", "status: \"b\", wan: true"),
            ("usher agent -dev -server=false -node a", "dev: true"),
            ("usher reload extra", "Reload("),
            ("usher catalog nodes --near _agent", "near: \"_agent\""),
            ("usher join 10.0.0.1 -wan 10.0.0.2", "wan: true, addresses: [\"10.0.0.1\", \"10.0.0.2\"]"),
            ("usher operator raft list-peers -stale", "stale: true"),
            ("usher operator raft remove-peer -address=1.2.3.4:8300", "address: Some(\"1.2.3.4:8300\")"),
            ("usher operator autopilot set-config -cleanup-dead-servers=false -min-quorum 3", "min_quorum: Some(3)"),
            ("usher keyring -list -local-only", "list: true"),
            ("usher watch -type=nodes -shell=false env -i -type=x", "child: [\"env\", \"-i\", \"-type=x\"]"),
            ("usher watch -type nodes -- env -help", "child: [\"env\", \"-help\"]"),
        ];
        for (line, expected) in table {
            let command = parsed(line).map(|command| format!("{command:?}"));
            assert!(command.as_ref().is_ok_and(|command| command.contains(expected)), "{line}: {command:?}");
        }
    }
}

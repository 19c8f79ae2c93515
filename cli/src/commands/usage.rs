//! What is said instead of running a command: help, and one line about arguments that cannot be understood.
//!
//! Text made of clap's description and errors; flags are shown with the one dash that Consul's users know. Pure but for
//! [`Answer::give`].

use std::{error::Error as _, ffi::OsString, process::ExitCode};

use clap::{
    Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::argv::FlagError;
use crate::output::Output;

/// What the program is, in two lines.
pub const ABOUT: &str = "Usher is a discovery server: programs register with the agent on their host and are found by \
                         DNS.\nIt works with the clients, files and scripts made for Consul.";

/// How to begin.
pub const TOUR: &str = "\
A first tour, in two terminals:
    usher agent -dev                                 start an agent that keeps nothing
    usher services register -name=web -port=8080     tell it of a service
    dig @127.0.0.1 -p 8600 web.service.consul SRV    find the service
    usher catalog services                           list all services

Flags take one dash or two. 'usher <command> -help' tells what a command does, with an example.";

/// Consul's commands that are still to come.
const NOT_BUILT: [&str; 12] =
    ["acl", "config", "debug", "event", "exec", "kv", "lock", "login", "logout", "rtt", "snapshot", "tls"];
/// Consul's commands for its service mesh.
const MESH: [&str; 2] = ["connect", "intention"];

/// The exit code of a call that names no command, or none there is.
const NO_COMMAND: u8 = 127;
/// The exit code of a call that goes wrong otherwise.
const FAILURE: u8 = 1;

/// Completes clap's description: every command has its help, and none of them spends lines on saying so.
pub fn describe(mut root: Command) -> Command {
    fn tidy(command: Command) -> Command {
        let command = command.mut_arg("help", |help| help.hide(true)).mut_subcommands(tidy);
        if command.has_subcommands() { command.subcommand_value_name("command") } else { command }
    }
    root.build();
    tidy(root)
}

/// Takes `usher help members` for `usher members -help`.
pub fn asked_for_help(mut argv: Vec<OsString>) -> Vec<OsString> {
    if argv.get(1).is_some_and(|word| word == "help") {
        argv.remove(1);
        argv.push("-help".into());
    }
    argv
}

/// A text, where it goes and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    text: String,
    is_result: bool,
    code: u8,
}

impl Answer {
    /// No command was named: usage.
    pub fn no_command(root: &mut Command) -> Self {
        Self::problem(help_of(root), NO_COMMAND)
    }

    /// A flag could not be understood.
    pub fn of_flag(error: &FlagError, root: &mut Command) -> Self {
        if let FlagError::Unknown { flag, command } = error
            && command.is_empty()
        {
            if flag.starts_with("autocomplete-") {
                return Self::problem(AUTOCOMPLETE.into(), FAILURE);
            }
            return Self::problem(format!("{}\n\n{error}", help_of(root)), NO_COMMAND);
        }
        Self::problem(hinted(&error.to_string(), error.command()), FAILURE)
    }

    /// The arguments do not fit the command. `argv` is what was parsed.
    pub fn of_clap(error: &clap::Error, root: &mut Command, argv: &[String]) -> Self {
        let path = command_path(root, argv);
        match error.kind() {
            ErrorKind::DisplayHelp => Self { text: one_dash(&error.render().to_string()), is_result: true, code: 0 },
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
                Self::problem(help_below(root, &path), FAILURE)
            }
            ErrorKind::InvalidSubcommand => {
                Self::unknown_command(&context(error, ContextKind::InvalidSubcommand), &path, root)
            }
            ErrorKind::UnknownArgument if path.is_empty() => {
                Self::unknown_command(&context(error, ContextKind::InvalidArg), &path, root)
            }
            _ => Self::problem(hinted(&explain(error), &path), FAILURE),
        }
    }

    fn unknown_command(name: &str, path: &str, root: &mut Command) -> Self {
        let known = if NOT_BUILT.contains(&name) {
            format!("'{name}' is a command of Consul that Usher does not have yet.")
        } else if MESH.contains(&name) {
            format!("'{name}' belongs to Consul's service mesh, which is not part of Usher.")
        } else {
            format!("there is no command '{}'.", [path, name].join(" ").trim())
        };
        if path.is_empty() {
            return Self::problem(format!("{}\n\n{known}", help_of(root)), NO_COMMAND);
        }
        Self::problem(hinted(known.trim_end_matches('.'), path), FAILURE)
    }

    fn problem(text: String, code: u8) -> Self {
        Self { text, is_result: false, code }
    }

    /// The exit code.
    #[cfg(test)]
    pub fn code(&self) -> u8 {
        self.code
    }

    /// The text, and whether it is what was asked for.
    #[cfg(test)]
    pub fn text(&self) -> (&str, bool) {
        (&self.text, self.is_result)
    }

    /// Says it.
    pub fn give(&self, out: &mut Output) -> ExitCode {
        if !self.is_result {
            out.problem(self.text.trim_end());
        } else if out.line(self.text.trim_end()).is_err() {
            // Who asked for help does not read it.
            return ExitCode::SUCCESS;
        }
        ExitCode::from(self.code)
    }
}

const AUTOCOMPLETE: &str = "Usher writes a completion script instead of changing the shell's start file: put the output \
                            of 'usher completion bash' (zsh, fish, elvish, powershell) where your shell reads it";

/// The names of the commands that lead to the one that `argv` means, such as `catalog nodes`.
fn command_path(root: &Command, argv: &[String]) -> String {
    let mut command = root;
    let mut path = Vec::new();
    for word in argv.iter().skip(1).filter(|word| !word.starts_with('-')) {
        let Some(next) = command.find_subcommand(word) else { break };
        path.push(next.get_name());
        command = next;
    }
    path.join(" ")
}

/// The help of the command that `path` leads to.
fn help_below(root: &Command, path: &str) -> String {
    let mut command = root;
    for name in path.split_whitespace() {
        let Some(next) = command.find_subcommand(name) else { break };
        command = next;
    }
    help_of(&mut command.clone())
}

fn hinted(text: &str, path: &str) -> String {
    if path.is_empty() { format!("{text} (see 'usher -help')") } else { format!("{text} (see 'usher {path} -help')") }
}

fn help_of(command: &mut Command) -> String {
    one_dash(command.render_long_help().to_string().trim_end())
}

/// Shows `--flag` as `-flag` wherever one begins.
fn one_dash(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("--") {
        let (before, from) = rest.split_at(at);
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || c == '-');
        let is_flag = begins && from[2..].starts_with(|c: char| c.is_ascii_alphabetic());
        shown.push_str(before);
        shown.push_str(if is_flag { "-" } else { "--" });
        rest = &from[2..];
    }
    shown.push_str(rest);
    shown
}

/// What clap found wrong, in Go's words where there are such.
fn explain(error: &clap::Error) -> String {
    let argument = context(error, ContextKind::InvalidArg);
    let flag = argument.split_whitespace().next().unwrap_or_default().trim_start_matches('-');
    match error.kind() {
        ErrorKind::UnknownArgument => format!("Too many arguments: '{argument}' is one more than expected"),
        ErrorKind::ValueValidation if !flag.is_empty() => {
            let problem = error.source().map(ToString::to_string).unwrap_or_else(|| "parse error".into());
            let value = context(error, ContextKind::InvalidValue);
            format!("invalid value \"{value}\" for flag -{flag}: {problem}")
        }
        ErrorKind::InvalidValue => {
            let value = context(error, ContextKind::InvalidValue);
            format!("invalid value \"{value}\": must be one of {}", context(error, ContextKind::ValidValue))
        }
        ErrorKind::MissingRequiredArgument => format!("an argument is missing: {argument}"),
        // What the flags' own reader says.
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_shown_with_one_dash() {
        let table = [
            ("  -h, --help  Print", "  -h, -help  Print"),
            ("[--wan] <--x|--y>", "[-wan] <-x|-y>"),
            ("usher [OPTIONS] -- a", "usher [OPTIONS] -- a"),
            ("a--b --- c", "a--b --- c"),
            ("--", "--"),
        ];
        for (text, expected) in table {
            assert_eq!(one_dash(text), expected);
        }
    }
}

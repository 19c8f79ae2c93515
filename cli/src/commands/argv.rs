//! Flags as Go programs take them, brought to the form clap reads.
//!
//! ```text
//!   usher members -wan=true -status alive ─► usher members --wan --status=alive
//! ```
//!
//! Scripts written for Consul use one dash, `-flag=value` or `-flag value`, and `-flag=false` for switches. [`normalise`]
//! walks the arguments beside clap's own description of the commands, so that it knows which flags exist and which of
//! them take a value, and says what is wrong in Go's words. A flag may also follow an argument, which Go would take for
//! another argument. The words of a program that a command runs follow `--`, or the name of that argument as a flag
//! (`-exec ./server -v`), and are left as they are. Pure; it may know clap's types and nothing else of the program.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use crate::values::go_bool;

/// The arguments cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// No such flag. `command` is empty when it stands before the command.
    #[error("flag provided but not defined: -{flag}")]
    Unknown {
        /// The flag, without dashes.
        flag: String,
        /// The command it was given to, such as `catalog nodes`.
        command: String,
    },
    /// A flag stands last that wants a value.
    #[error("flag needs an argument: -{flag}")]
    NoValue {
        /// The flag, without dashes.
        flag: String,
        /// The command it was given to.
        command: String,
    },
    /// A switch has a value that is neither true nor false.
    #[error("invalid boolean value \"{value}\" for -{flag}: parse error")]
    NotBoolean {
        /// The flag, without dashes.
        flag: String,
        /// Its value.
        value: String,
        /// The command it was given to.
        command: String,
    },
    /// An argument is not valid UTF-8.
    #[error("the argument {0:?} is not valid UTF-8")]
    Encoding(OsString),
}

impl FlagError {
    /// The command the flag was given to, such as `catalog nodes`; empty before any.
    pub fn command(&self) -> &str {
        match self {
            Self::Unknown { command, .. } | Self::NoValue { command, .. } | Self::NotBoolean { command, .. } => command,
            Self::Encoding(_) => "",
        }
    }
}

/// Rewrites `argv` (with the program's name first) for `root`.
pub fn normalise(root: &Command, argv: impl IntoIterator<Item = OsString>) -> Result<Vec<String>, FlagError> {
    let mut tokens = Vec::new();
    for argument in argv {
        tokens.push(argument.into_string().map_err(FlagError::Encoding)?);
    }
    let mut walk = Walk { command: root, path: Vec::new(), done: Vec::new(), arguments: 0 };
    let mut tokens = tokens.into_iter();
    walk.done.extend(tokens.next());
    while let Some(token) = tokens.next() {
        if token == "--" {
            walk.done.push(token);
            walk.done.extend(tokens.by_ref());
        } else if let Some(flag) = walk.flag_in(&token) {
            walk.flag(flag, &mut tokens)?;
        } else if walk.begins_a_command_line(&token) {
            walk.done.extend(["--".into(), token]);
            walk.done.extend(tokens.by_ref());
        } else {
            walk.word(token);
        }
    }
    Ok(walk.done)
}

/// One pass over the arguments: where in the tree of commands it is, and what it has written.
struct Walk<'a> {
    command: &'a Command,
    path: Vec<&'a str>,
    done: Vec<String>,
    arguments: usize,
}

/// A flag as it was typed.
struct Typed {
    name: String,
    value: Option<String>,
}

impl<'a> Walk<'a> {
    /// What stands behind the dashes, if the token is a flag. A number behind an argument is another argument.
    fn flag_in(&self, token: &str) -> Option<Typed> {
        let bare = token.strip_prefix("--").or_else(|| token.strip_prefix('-'))?;
        if bare.is_empty() || (self.arguments > 0 && bare.starts_with(|c: char| c.is_ascii_digit())) {
            return None;
        }
        Some(match bare.split_once('=') {
            Some((name, value)) => Typed { name: name.into(), value: Some(value.into()) },
            None => Typed { name: bare.into(), value: None },
        })
    }

    fn flag(&mut self, typed: Typed, rest: &mut impl Iterator<Item = String>) -> Result<(), FlagError> {
        let Typed { name, value } = typed;
        if name == "h" || name == "help" {
            self.done.push("--help".into());
            return Ok(());
        }
        if self.takes_the_rest(&name) {
            return self.rest(&name, value, rest);
        }
        let Some(argument) = self.find(&name) else {
            return Err(FlagError::Unknown { flag: name, command: self.path.join(" ") });
        };
        let long = format!("--{}", argument.get_long().unwrap_or(&name));
        if is_switch(argument) {
            return self.switch(argument, long, &name, value.as_deref());
        }
        match value.or_else(|| rest.next()) {
            Some(value) => self.done.push(format!("{long}={value}")),
            None => return Err(FlagError::NoValue { flag: name, command: self.path.join(" ") }),
        }
        Ok(())
    }

    /// Everything behind this flag belongs to it.
    fn rest(
        &mut self,
        name: &str,
        value: Option<String>,
        rest: &mut impl Iterator<Item = String>,
    ) -> Result<(), FlagError> {
        let mut words: Vec<String> = value.into_iter().chain(rest).collect();
        if words.first().is_some_and(|word| word == "--") {
            words.remove(0);
        }
        if words.is_empty() {
            return Err(FlagError::NoValue { flag: name.to_owned(), command: self.path.join(" ") });
        }
        self.done.push("--".into());
        self.done.extend(words);
        Ok(())
    }

    /// A switch: the last one counts, and `-x=false` takes an earlier `-x` back.
    fn switch(&mut self, argument: &Arg, long: String, name: &str, value: Option<&str>) -> Result<(), FlagError> {
        let on = match value {
            None => true,
            Some(text) => go_bool(text).ok_or_else(|| FlagError::NotBoolean {
                flag: name.to_owned(),
                value: text.to_owned(),
                command: self.path.join(" "),
            })?,
        };
        if !matches!(argument.get_action(), ArgAction::SetTrue) {
            self.done.push(format!("{long}={on}"));
            return Ok(());
        }
        self.done.retain(|done| *done != long);
        if on {
            self.done.push(long);
        }
        Ok(())
    }

    /// The name of a command, or an argument of one.
    fn word(&mut self, token: String) {
        match self.command.find_subcommand(&token) {
            Some(command) if self.arguments == 0 => {
                self.path.push(command.get_name());
                self.command = command;
            }
            _ => self.arguments += 1,
        }
        self.done.push(token);
    }

    /// Whether the command's only arguments are another command line, which begins with this word. Its flags are its own.
    fn begins_a_command_line(&self, token: &str) -> bool {
        let mut arguments = self.command.get_positionals().peekable();
        arguments.peek().is_some() && arguments.all(Arg::is_last_set) && self.command.find_subcommand(token).is_none()
    }

    fn takes_the_rest(&self, name: &str) -> bool {
        self.command.get_arguments().any(|argument| argument.is_last_set() && argument.get_id() == name)
    }

    fn find(&self, name: &str) -> Option<&'a Arg> {
        self.command.get_arguments().find(|argument| {
            argument.get_long() == Some(name)
                || argument.get_all_aliases().unwrap_or_default().contains(&name)
                || argument.get_short().is_some_and(|short| name.chars().eq([short]))
        })
    }
}

/// Whether a flag may stand without a value.
fn is_switch(argument: &Arg) -> bool {
    match argument.get_action() {
        ArgAction::SetTrue => true,
        ArgAction::Set | ArgAction::Append => argument.get_num_args().is_some_and(|count| count.min_values() == 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Command {
        let members = Command::new("members")
            .arg(Arg::new("wan").long("wan").action(ArgAction::SetTrue))
            .arg(Arg::new("status").long("status"))
            .arg(Arg::new("tag").long("tag").action(ArgAction::Append))
            .arg(Arg::new("server").long("server").num_args(0..=1).require_equals(true))
            .arg(Arg::new("rest").num_args(0..))
            .arg(Arg::new("exec").num_args(0..).last(true));
        let nodes = Command::new("nodes").arg(Arg::new("near").long("near"));
        Command::new("usher").subcommand(members).subcommand(Command::new("catalog").subcommand(nodes))
    }

    fn rewritten(line: &str) -> Result<String, FlagError> {
        let argv = line.split(' ').map(OsString::from);
        normalise(&root(), argv).map(|argv| argv.join(" "))
    }

    #[test]
    fn rewrites_go_flags() {
        let table = [
            ("usher", "usher"),
            ("usher members -wan", "usher members --wan"),
            ("usher members --wan=true", "usher members --wan"),
            ("usher members -wan=F", "usher members"),
            ("usher members -wan -wan=false", "usher members"),
            ("usher members -wan=0 -wan", "usher members --wan"),
            ("usher members -wan false", "usher members --wan false"),
            ("usher members -server", "usher members --server=true"),
            ("usher members -server=0", "usher members --server=false"),
            ("usher members -status alive", "usher members --status=alive"),
            ("usher members -status -wan", "usher members --status=-wan"),
            ("usher members -status=", "usher members --status="),
            ("usher members -status=a=b", "usher members --status=a=b"),
            ("usher members -tag a --tag=b", "usher members --tag=a --tag=b"),
            ("usher members x -wan", "usher members x --wan"),
            ("usher members x -5", "usher members x -5"),
            ("usher members -", "usher members -"),
            ("usher members -- -wan -h", "usher members -- -wan -h"),
            ("usher members -wan -exec a -wan -h --", "usher members --wan -- a -wan -h --"),
            ("usher members x --exec=a -b", "usher members x -- a -b"),
            ("usher members -exec -- a -- b", "usher members -- a -- b"),
            ("usher members -h", "usher members --help"),
            ("usher members nodes -help", "usher members nodes --help"),
            ("usher catalog nodes -near n", "usher catalog nodes --near=n"),
            ("usher catalog nosuch", "usher catalog nosuch"),
        ];
        for (typed, expected) in table {
            assert_eq!(rewritten(typed).as_deref(), Ok(expected), "{typed}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let table = [
            ("usher members -nosuch", "flag provided but not defined: -nosuch", "members"),
            ("usher members --nosuch=1", "flag provided but not defined: -nosuch", "members"),
            ("usher members -5", "flag provided but not defined: -5", "members"),
            ("usher -wan members", "flag provided but not defined: -wan", ""),
            ("usher members -exec", "flag needs an argument: -exec", "members"),
            ("usher members -exec --", "flag needs an argument: -exec", "members"),
            ("usher catalog nodes -near", "flag needs an argument: -near", "catalog nodes"),
            ("usher members -wan=maybe", "invalid boolean value \"maybe\" for -wan: parse error", "members"),
            ("usher members -server=", "invalid boolean value \"\" for -server: parse error", "members"),
        ];
        for (typed, text, command) in table {
            let error = rewritten(typed).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.command()), (text, command), "{typed}");
        }
    }
}

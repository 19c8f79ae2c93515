//! The command line: which commands there are, and from the arguments to one of them. Each command is one file.

pub mod agent;
pub mod validate;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

#[derive(Parser)]
#[command(name = "usher", args_override_self = true)]
enum Command {
    Agent(agent::Args),
    Validate(validate::Args),
}

/// Runs the command that `argv` names, with the program's own name first.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let argv = argv.into_iter().map(|arg| match arg.to_str() {
        Some(text) if text.starts_with('-') && !text.starts_with("--") && text.len() > 2 => {
            OsString::from(format!("-{text}"))
        }
        _ => arg,
    });
    match Command::try_parse_from(argv) {
        Ok(Command::Agent(args)) => agent::run(&args),
        Ok(Command::Validate(args)) => validate::run(&args),
        Err(error) => {
            let _closed = error.print();
            ExitCode::from(u8::from(error.use_stderr()))
        }
    }
}

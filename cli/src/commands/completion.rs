//! `usher completion`: a script that lets a shell complete commands and flags. Asks nobody.

use std::process::ExitCode;

use clap_complete::Shell;

use super::CommandError;
use crate::output::Output;

/// Print a completion script for a shell
///
/// Put the output where your shell reads it.
///
/// Examples:
///     usher completion bash > /etc/bash_completion.d/usher
///     usher completion zsh > ~/.zfunc/_usher
///     usher completion fish > ~/.config/fish/completions/usher.fish
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, arg_required_else_help = true)]
pub struct Args {
    /// The shell: bash, zsh, fish, elvish or powershell.
    #[arg(value_name = "shell", hide_possible_values = true)]
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> Result<ExitCode, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::description(), "usher", &mut script);
    out.raw(&script)?;
    Ok(ExitCode::SUCCESS)
}

//! `usher validate`: checks configuration files without starting anything.

use std::{path::PathBuf, process::ExitCode};

use crate::config::{self, AgentFlags};

/// Check configuration files and folders
///
/// Reads them as `usher agent` would, all together, and says what is wrong with them. Give everything the agent is
/// given: parts of a configuration are not valid alone.
///
/// Examples:
///     usher validate /etc/usher.d
///     usher validate base.hcl services.json
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Read files as 'hcl' or 'json' whatever their names.
    #[arg(long, value_name = "format")]
    config_format: Option<String>,
    /// Say nothing when all is well.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    quiet: bool,
    /// Files and folders.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    if args.paths.is_empty() {
        eprintln!("Must specify at least one config file or directory");
        return ExitCode::FAILURE;
    }
    let flags = AgentFlags {
        config_files: args.paths.clone(),
        config_format: args.config_format.clone(),
        ..AgentFlags::default()
    };
    match config::load(&flags) {
        Ok(config) if args.quiet => {
            drop(config);
            ExitCode::SUCCESS
        }
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("{warning}");
            }
            println!("Configuration is valid!");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("Config validation failed: {error}");
            ExitCode::FAILURE
        }
    }
}

//! `usher validate`: checks configuration files without starting anything.

use std::{path::PathBuf, process::ExitCode};

use super::CommandError;
use crate::{
    config::{self, AgentFlags},
    output::Output,
};

/// Check configuration files and folders
///
/// Reads them as `usher agent` would, all together, and says what is wrong
/// with them. Give everything the agent is given: parts of a configuration are
/// not valid alone.
///
/// Services and checks that an agent would not start with are told, but as in
/// Consul the configuration is valid; with -quiet it is not.
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
    /// Say nothing when all is well, and fail with whatever an agent would not start with.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    quiet: bool,
    /// Files and folders.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> Result<ExitCode, CommandError> {
    if args.paths.is_empty() {
        return Err(CommandError::Usage("Must specify at least one config file or directory".into()));
    }
    let flags = AgentFlags {
        config_files: args.paths.clone(),
        config_format: args.config_format.clone(),
        ..AgentFlags::default()
    };
    let config =
        config::examine(&flags).map_err(|error| CommandError::Other(format!("Config validation failed: {error}")))?;
    if args.quiet {
        return match config.refused.as_slice() {
            [] => Ok(ExitCode::SUCCESS),
            refused => Err(CommandError::Other(format!("Config validation failed: {}", refused.join("; ")))),
        };
    }
    for warning in &config.warnings {
        out.problem(&warning.0);
    }
    for refused in &config.refused {
        out.problem(format!("an agent will not start with this: {refused}"));
    }
    out.line("Configuration is valid!")?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Runs the command on the files of `folder`; whether it succeeded.
    fn validate(folder: &Path, names: &[&str], quiet: bool) -> bool {
        let paths = names.iter().map(|name| folder.join(name)).collect();
        let args = Args { config_format: None, quiet, paths };
        run(&args, &mut Output::new(std::io::sink(), std::io::sink())).is_ok()
    }

    #[test]
    fn nothing_to_check_is_an_error() {
        let args = Args { config_format: None, quiet: false, paths: Vec::new() };
        let error = run(&args, &mut Output::new(std::io::sink(), std::io::sink())).unwrap_err();
        assert_eq!(error.to_string(), "Must specify at least one config file or directory");
    }

    #[test]
    fn files_and_folders_together() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        write("good.hcl", "data_dir = \"/x\" bind_addr = \"127.0.0.1\"");
        write("part.json", "{\"log_level\": \"WARN\"}");
        write("d/part.json", "{\"data_dir\": \"/y\", \"bind_addr\": \"127.0.0.1\"}");
        write("bad.json", "{\"bogus\": true}");
        for (names, valid) in [
            (&["good.hcl"][..], true),
            (&["good.hcl", "part.json"], true),
            (&["part.json"], false),
            (&["d"], true),
            (&["good.hcl", "bad.json"], false),
            (&["missing.json"], false),
        ] {
            assert_eq!(validate(folder.path(), names, false), valid, "{names:?}");
            assert_eq!(validate(folder.path(), names, true), valid, "{names:?}");
        }
        write("refused.json", "{\"data_dir\": \"/y\", \"bind_addr\": \"127.0.0.1\", \"service\": {\"port\": 1}}");
        assert!(validate(folder.path(), &["refused.json"], false), "as in Consul");
        assert!(!validate(folder.path(), &["refused.json"], true));
    }
}

//! `usher version`: what is this. Asks nobody.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::{CommandError, Ignored};
use crate::output::Output;

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The version of Consul's agent protocol that members are told.
const PROTOCOL: Protocol = Protocol { default: 2, min: 2, max: 3 };

/// Print the version
///
/// Examples:
///     usher version
///     usher version -format=json
#[derive(clap::Args, Debug, Default)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Output format: pretty or json.
    #[arg(long, value_name = "format", default_value = "pretty")]
    format: String,
    #[command(flatten)]
    ignored: Ignored,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: &'static str,
    revision: &'static str,
    prerelease: &'static str,
    #[serde(rename = "RPC")]
    rpc: Protocol,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Protocol {
    default: u8,
    min: u8,
    max: u8,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> Result<ExitCode, CommandError> {
    match args.format.as_str() {
        // Empty for `usher -version`, which has no format.
        "pretty" | "" => out.line(pretty())?,
        "json" => out.line(json()?)?,
        other => return Err(CommandError::Usage(format!("Unknown format: {other}"))),
    }
    Ok(ExitCode::SUCCESS)
}

fn pretty() -> String {
    let Protocol { default, min, max } = PROTOCOL;
    format!("Usher v{VERSION}\nProtocol {default} spoken by default, understands {min} to {max}\n")
}

fn json() -> Result<String, CommandError> {
    let version = Version { version: VERSION, revision: "", prerelease: "", rpc: PROTOCOL };
    let mut text = Vec::new();
    let failed = |error: serde_json::Error| CommandError::Other(format!("cannot write the version: {error}"));
    version
        .serialize(&mut Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"   ")))
        .map_err(failed)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert!(pretty().starts_with("Usher v0."));
        let value: serde_json::Value = serde_json::from_str(&json().unwrap()).unwrap();
        assert_eq!(value["Version"], VERSION);
        assert_eq!(value["RPC"]["Max"], 3);
    }
}

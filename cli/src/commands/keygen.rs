//! `usher keygen`: a key for gossip. Asks nobody.

use std::process::ExitCode;

use base64::{Engine, prelude::BASE64_STANDARD};
use rand::{TryRng, rngs::SysRng};

use super::{CommandError, Ignored};
use crate::output::Output;

/// Print a new random key for encrypting gossip
///
/// Prints 32 random bytes in base64, as the agent's -encrypt flag and its 'encrypt' key take them. All
/// agents of a cluster use the same key.
///
/// Example:
///     usher keygen
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    ignored: Ignored,
}

/// Runs the command.
pub fn run(_args: &Args, out: &mut Output) -> Result<ExitCode, CommandError> {
    let mut key = [0; 32];
    SysRng
        .try_fill_bytes(&mut key)
        .map_err(|error| CommandError::Other(format!("Error reading random data: {error}")))?;
    out.line(BASE64_STANDARD.encode(key))?;
    Ok(ExitCode::SUCCESS)
}

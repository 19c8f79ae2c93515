//! `usher agent`: starts everything, wires it together, and ends it in order.
//!
//! ```text
//!   Config ─► sockets ─► Agent (catalog, consensus) ─► DNS, HTTP ─► banner, READY
//!                          ▲
//!   signals, orders by HTTP, a failure ─► reload, leave, stop ─► exit code
//! ```
//!
//! The only place that holds all parts at once. What stops the start is one line on standard error and exit code 1.

mod banner;
mod listeners;
mod open_files;
mod pid_file;
mod running;
mod signals;

use std::{io::Write as _, process::ExitCode};

use usher_dns::serve::certificate::CertificateError;

use self::{listeners::ListenError, running::Running};
use crate::{
    config::{self, AgentFlags, Config, ConfigError},
    logging::LogHub,
};

/// Run an agent
///
/// Starts the agent and runs until it is interrupted. It answers DNS, serves
/// the HTTP API and keeps the services of this host; with -server it keeps the
/// catalog, too.
///
/// Examples:
///     usher agent -dev
///     usher agent -server -bootstrap-expect=1 -data-dir=/var/lib/usher
///     usher agent -config-dir=/etc/usher.d
#[derive(clap::Args, Clone, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    flags: AgentFlags,
}

/// Why the agent did not start, or ended on its own.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Dns(#[from] usher_dns::serve::ListenError),
    #[error("Error starting agent: {0}")]
    Start(#[from] usher_cluster::agent::StartError),
    #[error("Error starting agent: enable_agent_tls_for_checks: {0}")]
    Certificates(String),
    #[error("Error starting agent: {}, {}: {source}", .settings[0], .settings[1])]
    DnsCertificate { settings: [&'static str; 2], source: CertificateError },
    #[error("cannot write the log file {path}: {source}")]
    Log { path: String, source: std::io::Error },
    #[error("cannot write the pid file {path}: {source}")]
    PidFile { path: String, source: std::io::Error },
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    #[error("cannot start the metrics: {0}")]
    Metrics(String),
}

/// Runs the command until the agent ends.
pub fn run(args: &Args) -> ExitCode {
    let config = match config::load(&args.flags) {
        Ok(config) => config,
        Err(error) => return fail(&error.into()),
    };
    let log = match open_log(&config) {
        Ok(log) => log,
        Err(error) => return fail(&error),
    };
    log.say("==> Starting Usher agent...");
    open_files::allow_many();
    let result = run_with(args.flags.clone(), config, log.clone());
    log.flush();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&error),
    }
}

fn fail(error: &AgentError) -> ExitCode {
    complain(&error.to_string());
    ExitCode::FAILURE
}

/// One line on standard error; if nobody reads it, nothing more can be done.
fn complain(text: &str) {
    let _closed = writeln!(std::io::stderr(), "==> {}", text.replace('\n', " "));
}

fn open_log(config: &Config) -> Result<LogHub, AgentError> {
    let log = LogHub::open(config.log.clone()).map_err(|source| AgentError::Log {
        path: config.log.file.as_ref().map(|file| file.path.clone()).unwrap_or_default(),
        source,
    })?;
    log.install();
    Ok(log)
}

fn run_with(flags: AgentFlags, config: Config, log: LogHub) -> Result<u8, AgentError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let running = Running::start(flags, config, log).await?;
        Ok(running.until_end().await)
    });
    // Everything is in order by now; a thread that still waits for a file system or the like is not waited for.
    runtime.shutdown_background();
    ended
}

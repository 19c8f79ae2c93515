//! One run of a check that has to look for itself: the sockets, processes and protocols. Every kind is one file.
//!
//! A probe is made once of a check's definition and run any number of times, never twice at once. A run ends within the
//! check's timeout (a killed script may take [`script::REAPED_WITHIN`] more), whatever the other side does, and leaves
//! nothing behind: no connection, no process, no task. Dropping a run ends it. Between runs a probe holds its parsed
//! definition and nothing else, so that thousands cost little.
//!
//! ```text
//!   CheckSpec ─► Probe::new: parsed ─► Probe::run ─► Outcome
//!                                        ├─ dial    addresses, connections in time
//!                                        ├─ names   from names to addresses
//!                                        ├─ tls     shared client configurations
//!                                        └─ output  the bytes that are kept
//! ```
//!
//! Proxies named in the environment are not used: a check asks the one it names.

mod dial;
mod dns;
mod docker;
mod grpc;
mod h2ping;
mod http;
mod names;
mod output;
mod script;
mod stream;
mod tcp;
mod text;
pub(crate) mod tls;
mod udp;

use std::{error::Error, io, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use rustix::io::Errno;
use tokio::time::Instant;

use self::{dns::Dns, docker::Docker, grpc::Grpc, h2ping::H2Ping, http::Http, script::Script, tcp::Tcp, udp::Udp};
use super::{Options, Outcome};
use crate::{catalog::model::Status, local::definition::CheckSpec};

/// The time a run may take where a check does not say (Consul's: 10 s, scripts 30 s).
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// The same for what runs a program.
pub(crate) const SCRIPT_TIMEOUT: Duration = Duration::from_secs(30);

/// A check's definition cannot be run; the text says which field and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ProbeError(pub(crate) String);

impl ProbeError {
    /// What is wrong with a field of the definition.
    fn field(name: &str, value: &str, reason: impl std::fmt::Display) -> Self {
        Self(format!("Invalid {name} \"{value}\": {reason}"))
    }
}

/// How a check looks for itself.
pub(crate) struct Probe {
    kind: Kind,
    timeout: Duration,
}

/// Every kind is boxed: a probe is as small as the smallest.
enum Kind {
    Http(Box<Http>),
    Tcp(Box<Tcp>),
    Udp(Box<Udp>),
    H2Ping(Box<H2Ping>),
    Grpc(Box<Grpc>),
    Dns(Box<Dns>),
    Script(Box<Script>),
    Docker(Box<Docker>),
}

/// When a run has to be over, and how long that was when it began.
#[derive(Clone, Copy)]
struct Limit {
    deadline: Instant,
    timeout: Duration,
}

impl Probe {
    /// The probe a definition describes; `None` for a check that does not look for itself (TTL, alias, maintenance).
    pub(crate) fn new(spec: &CheckSpec, options: &Options) -> Result<Option<Self>, ProbeError> {
        let output_max = spec.output_max_size.map_or(options.output_max_size, |size| size as usize).max(1);
        let kind = match spec.kind() {
            "http" => Kind::Http(Box::new(Http::parse(spec, &options.tls, output_max)?)),
            "tcp" => Kind::Tcp(Box::new(Tcp::parse(spec)?)),
            "udp" => Kind::Udp(Box::new(Udp::parse(spec)?)),
            "h2ping" => Kind::H2Ping(Box::new(H2Ping::parse(spec, &options.tls)?)),
            "grpc" => Kind::Grpc(Box::new(Grpc::parse(spec, &options.tls)?)),
            "dns" => Kind::Dns(Box::new(Dns::parse(spec, output_max)?)),
            "docker" => Kind::Docker(Box::new(Docker::parse(spec, output_max)?)),
            "script" => Kind::Script(Box::new(Script::parse(spec, output_max)?)),
            _ => return Ok(None),
        };
        let runs_a_program = matches!(kind, Kind::Script(_) | Kind::Docker(_));
        let usual = if runs_a_program { SCRIPT_TIMEOUT } else { TIMEOUT };
        let timeout = spec.timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(usual);
        Ok(Some(Self { kind, timeout }))
    }

    /// Runs once. What goes wrong is an outcome, too.
    ///
    /// The future is boxed, so that what waits for the next run does not hold the room of one.
    pub(crate) fn run(&self) -> BoxFuture<'_, Outcome> {
        let limit = Limit { deadline: Instant::now() + self.timeout, timeout: self.timeout };
        match &self.kind {
            Kind::Http(http) => Box::pin(http.run(limit)),
            Kind::Tcp(tcp) => Box::pin(tcp.run(limit)),
            Kind::Udp(udp) => Box::pin(udp.run(limit)),
            Kind::H2Ping(h2ping) => Box::pin(h2ping.run(limit)),
            Kind::Grpc(grpc) => Box::pin(grpc.run(limit)),
            Kind::Dns(dns) => Box::pin(dns.run(limit)),
            Kind::Script(script) => Box::pin(script.run(limit)),
            Kind::Docker(docker) => Box::pin(docker.run(limit)),
        }
    }
}

/// Refuses what [`Probe::new`] would refuse.
pub(crate) fn validate(spec: &CheckSpec) -> Result<(), ProbeError> {
    Probe::new(spec, &Options::default()).map(drop)
}

fn passing(output: String) -> Outcome {
    Outcome::new(Status::Passing, output)
}

fn warning(output: String) -> Outcome {
    Outcome::new(Status::Warning, output)
}

fn critical(output: String) -> Outcome {
    Outcome::new(Status::Critical, output)
}

/// Critical for this error, unless it says that this host has no files or no memory left, or certificates it cannot read.
fn failed(output: String, error: &(dyn Error + 'static)) -> Outcome {
    let lacking = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    let mut chain = std::iter::successors(Some(error), |error| Error::source(*error));
    let inconclusive =
        chain.any(|error| error.is::<ProbeError>() || system_error(error).is_some_and(|code| lacking.contains(&code)));
    Outcome { inconclusive, ..critical(output) }
}

fn system_error(error: &(dyn Error + 'static)) -> Option<Errno> {
    let shared = || error.downcast_ref::<Arc<io::Error>>().map(AsRef::as_ref);
    let code = error.downcast_ref::<io::Error>().or_else(shared)?.raw_os_error()?;
    Some(Errno::from_raw_os_error(code))
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

//! One run of a check that has to look for itself: the sockets, processes and protocols. Every kind is one file.
//!
//! A probe is made once of a check's definition and run any number of times, never twice at once. A run ends within the
//! check's timeout (a killed script may take [`script::REAPED_WITHIN`] more), whatever the other side does, and leaves
//! nothing behind: no connection, no process, no task. Dropping a run ends it. Between runs a probe holds its parsed
//! definition and nothing else, so that thousands cost little.
//!
//! ```text
//!   CheckSpec ─► Probe::new: parsed, TLS made ready ─► Probe::run ─► Outcome
//!                                                        ├─ dial    names, addresses, connections in time
//!                                                        ├─ tls     shared client configurations
//!                                                        └─ output  the bytes that are kept
//! ```
//!
//! Proxies named in the environment are not used: a check asks the one it names.

mod dial;
mod http;
mod output;
mod script;
mod tcp;
mod text;
mod tls;

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use self::{http::Http, script::Script, tcp::Tcp};
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
    Script(Box<Script>),
}

/// When a run has to be over, and how long that was when it began.
#[derive(Clone, Copy)]
struct Limit {
    deadline: Instant,
    timeout: Duration,
}

impl Probe {
    /// The probe a definition describes; `None` for a check that does not look for itself (TTL, alias, maintenance).
    ///
    /// Reads the certificates a check over TLS needs, once for all that need the same.
    pub(crate) fn new(spec: &CheckSpec, options: &Options) -> Result<Option<Self>, ProbeError> {
        let Some(probe) = Self::parse(spec, options)? else { return Ok(None) };
        match &probe.kind {
            Kind::Http(http) => http.prepare()?,
            Kind::Tcp(_) | Kind::Script(_) => {}
        }
        Ok(Some(probe))
    }

    fn parse(spec: &CheckSpec, options: &Options) -> Result<Option<Self>, ProbeError> {
        let output_max = spec.output_max_size.map_or(options.output_max_size, |size| size as usize).max(1);
        let kind = match spec.kind() {
            "http" => Kind::Http(Box::new(Http::parse(spec, &options.tls, output_max)?)),
            "tcp" => Kind::Tcp(Box::new(Tcp::parse(spec)?)),
            "script" => Kind::Script(Box::new(Script::parse(spec, output_max)?)),
            _ => return Ok(None),
        };
        let usual = if matches!(kind, Kind::Script(_)) { SCRIPT_TIMEOUT } else { TIMEOUT };
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
            Kind::Script(script) => Box::pin(script.run(limit)),
        }
    }
}

/// Refuses what [`Probe::new`] would refuse, as far as that can be told without reading files.
pub(crate) fn validate(spec: &CheckSpec) -> Result<(), ProbeError> {
    Probe::parse(spec, &Options::default()).map(drop)
}

fn passing(output: String) -> Outcome {
    Outcome { status: Status::Passing, output }
}

fn warning(output: String) -> Outcome {
    Outcome { status: Status::Warning, output }
}

fn critical(output: String) -> Outcome {
    Outcome { status: Status::Critical, output }
}

#[cfg(test)]
mod testing;

//! One run of a check that has to look for itself: the sockets, processes and protocols. Every kind is one file.
//!
//! A probe is made once of a check's definition and run any number of times, never twice at once. A run ends within the
//! check's timeout, whatever the other side does, and leaves nothing behind: no connection, no process, no task.

use std::time::Duration;

use super::{Options, Outcome};
use crate::local::definition::CheckSpec;

/// A check's definition cannot be run; the text says which field and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ProbeError(pub(crate) String);

/// How a check looks for itself.
pub(crate) struct Probe {
    _kind: (),
}

impl Probe {
    /// The probe a definition describes; `None` for a check that does not look for itself (TTL, alias, maintenance).
    pub(crate) fn new(spec: &CheckSpec, options: &Options) -> Result<Option<Self>, ProbeError> {
        let (_, _) = (spec, options);
        Ok(None)
    }

    /// Runs once. What goes wrong is an outcome, too.
    pub(crate) async fn run(&self) -> Outcome {
        std::future::pending().await
    }
}

/// The time a run may take where a check does not say (Consul's: 10 s, scripts 30 s).
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

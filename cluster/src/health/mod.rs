//! Health: the checks of this agent are run, their results judged, and what follows from them is done.
//!
//! ```text
//!   local: specs ─► schedule ─► probe (I/O) ─► Outcome ─► verdict (thresholds) ─┐
//!          a program's report ─► deadlines (TTL) ──────────────────────────────┼─► local: result ─► catalog
//!          catalog, local state ─► alias ──────────────────────────────────────┘        │
//!          deregistration ◄── reaper (critical for too long) ◄───────────────────────────┘
//! ```
//!
//! Which checks there are is `local`'s business and followed from there: an unchanged one goes on undisturbed whatever
//! else a reload or a registration changes. Nothing here knows consensus, DNS or the HTTP API.

pub mod options;
pub(crate) mod probe;

use crate::catalog::model::Status;

pub use self::options::Options;

/// What one run of a check found, or a program reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The result.
    pub(crate) status: Status,
    /// For people: what was answered, printed or went wrong.
    pub(crate) output: String,
}

/// Why a program's report of a check was refused. Clients match the texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// No check of that id.
    #[error("CheckID \"{0}\" does not have associated TTL")]
    NoTtl(String),
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopped,
}

//! The leader's duties: the members belong into the catalog, the servers into the configuration of consensus.
//!
//! ```text
//!   members ─► reconcile (pure) ─► commands ─► catalog
//!   members, progress ─► autopilot (pure) ─► steps ─► consensus
//! ```
//!
//! Both are done by whoever leads, and only what differs is written, so that a new leader writes nothing.

pub(crate) mod autopilot;
mod duties;
pub(crate) mod reconcile;
pub(crate) mod server;
mod servers;

pub(crate) use self::{duties::run, servers::HealthReport};

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    catalog::{Catalog, autopilot::AutopilotConfig},
    local::{Local, Proposer},
    membership::Member,
    raft::Consensus,
    rpc::Connections,
};

/// What the duties need.
#[derive(Clone)]
pub(crate) struct Duties {
    pub(crate) own: reconcile::Own,
    pub(crate) consensus: Consensus,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) proposer: Arc<dyn Proposer>,
    pub(crate) local: Arc<Local>,
    pub(crate) members: watch::Receiver<Arc<Vec<Member>>>,
    pub(crate) connections: Connections,
    /// Autopilot's settings until an operator sets others.
    pub(crate) autopilot: AutopilotConfig,
    /// Where operators look.
    pub(crate) report: HealthReport,
}

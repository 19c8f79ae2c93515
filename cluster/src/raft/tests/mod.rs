//! Consensus as a whole: what was acknowledged stays, whatever happens to the process or the files.

mod cluster;
mod crash;
mod damage;
mod life;
mod lost_quorum;
mod straggler;
mod suite;

use std::{path::Path, time::Duration};

use super::{founding::FoundingError, members::ChangeError, *};
use crate::catalog::command::Registration;

/// Long enough for a starved machine; nothing is expected to take it.
pub(super) const HOLD: Duration = Duration::from_secs(30);

impl Options {
    /// Options of a server that bootstraps.
    pub(crate) fn for_tests(directory: Option<&Path>) -> Self {
        Self {
            directory: directory.map(Path::to_owned),
            address: ([127, 0, 0, 1], 8300).into(),
            node_id: "9a1d6e0c-6f0e-4c7c-9f0d-6d1f0c6e7a10".to_owned(),
            node_name: "n1".to_owned(),
            bootstrap: true,
            multiplier: 1,
            snapshot_threshold: 16384,
            trailing_logs: 10240,
        }
    }
}

/// A server, and the catalog it writes.
pub(super) struct Server {
    pub(super) consensus: Consensus,
    pub(super) catalog: Arc<Catalog>,
}

impl Server {
    pub(super) async fn start(options: Options) -> Result<Self, StartError> {
        let catalog = Arc::new(Catalog::default());
        let consensus = Consensus::start(options, catalog.clone()).await?;
        Ok(Self { consensus, catalog })
    }

    pub(super) async fn register(&self, number: u64) -> Applied {
        self.consensus.propose(registration(number), HOLD).await.unwrap()
    }

    pub(super) async fn register_all(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            assert_eq!(self.register(number).await.outcome, Ok(()));
        }
    }

    /// The numbers of the registrations the catalog shows, in order.
    pub(super) fn registered(&self) -> Vec<u64> {
        registered(&self.catalog.load())
    }
}

/// A node of that number.
pub(super) fn registration(number: u64) -> Command {
    Command::Register(Registration {
        node: format!("node-{number:08}"),
        address: "10.0.0.1".to_owned(),
        datacenter: "dc1".to_owned(),
        ..Registration::default()
    })
}

pub(super) fn registered(state: &crate::catalog::State) -> Vec<u64> {
    state.nodes().value.iter().map(|node| node.name.trim_start_matches("node-").parse().unwrap()).collect()
}

//! The leader's duties: the members belong into the catalog.
//!
//! The member there is today is this agent itself: its node, the check that says it is alive, and the `consul` service
//! by which servers find each other. Only what differs is written, so that a restart writes nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    agent::identity::OwnNode,
    catalog::{
        Catalog, NodeEntry,
        command::{Command, Registration},
        model::{Check, SERF_HEALTH, Service, Status},
    },
    local::{
        Local, Proposer,
        sync::{CONSUL_SERVICE, check_is_shown, service_is_shown},
    },
    membership::protocol,
};

/// How long after a failed attempt the next one is made.
const RETRY: Duration = Duration::from_millis(500);
/// How often a leader looks whether the catalog still shows what it wrote (Consul's).
const RECONCILE_INTERVAL: Duration = Duration::from_secs(60);

/// What the leader writes of itself.
#[derive(Clone, Debug)]
pub(crate) struct OwnServer {
    pub(crate) node: OwnNode,
    /// The port of consensus and forwarded calls.
    pub(crate) server_port: u16,
    /// This program's version.
    pub(crate) version: String,
}

impl OwnServer {
    /// The command that makes the catalog show this server as it is, if it does not.
    ///
    /// `consul_is_taken`: a user has registered a service of that id on this agent, and is right.
    pub(crate) fn correction(&self, entry: Option<&NodeEntry>, consul_is_taken: bool) -> Option<Command> {
        let node_shown = entry.is_some_and(|entry| self.node.is_shown_by(&entry.node));
        let (health, service) = (self.health(), self.service());
        let health_shown =
            entry.and_then(|it| it.check(SERF_HEALTH)).is_some_and(|check| check_is_shown(&health, check));
        let service_shown = consul_is_taken
            || entry.and_then(|it| it.service(CONSUL_SERVICE)).is_some_and(|other| service_is_shown(&service, other));
        if node_shown && health_shown && service_shown {
            return None;
        }
        Some(Command::Register(Registration {
            skip_node_update: node_shown,
            service: (!service_shown).then_some(service),
            checks: if health_shown { Vec::new() } else { vec![health] },
            ..self.node.registration()
        }))
    }

    fn health(&self) -> Check {
        Check {
            node: self.node.name.clone(),
            id: SERF_HEALTH.to_owned(),
            name: "Serf Health Status".to_owned(),
            status: Status::Passing,
            output: "Agent alive and reachable".to_owned(),
            ..Check::default()
        }
    }

    fn service(&self) -> Service {
        let meta = [
            ("non_voter", "false"),
            ("raft_version", protocol::RAFT),
            ("serf_protocol_current", protocol::SERF_CURRENT),
            ("serf_protocol_max", protocol::SERF_MAX),
            ("serf_protocol_min", protocol::SERF_MIN),
            ("version", &self.version),
        ];
        Service {
            id: CONSUL_SERVICE.to_owned(),
            name: CONSUL_SERVICE.to_owned(),
            port: i64::from(self.server_port),
            meta: meta.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>(),
            ..Service::default()
        }
    }
}

/// Whether this server leads, as consensus tells.
pub(crate) trait Leadership: Send + Sync + 'static {
    /// Waits until this server begins (`true`) or ceases (`false`) to lead, starting from `was`.
    fn changed(&self, was: bool) -> impl Future<Output = bool> + Send;
}

/// Does the duties whenever this server leads, until `stop`.
pub(crate) async fn run(
    own: OwnServer,
    leadership: impl Leadership,
    catalog: Arc<Catalog>,
    proposer: Arc<dyn Proposer>,
    local: Arc<Local>,
    stop: CancellationToken,
) {
    let mut leads = false;
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => return,
            now = leadership.changed(leads) => leads = now,
            () = keep_in_catalog(&own, &catalog, &*proposer, &local), if leads => {}
        }
        tracing::info!(target: "agent.server", "cluster leadership {}", if leads { "acquired" } else { "lost" });
    }
}

/// Keeps this server in the catalog for as long as it is awaited.
async fn keep_in_catalog(own: &OwnServer, catalog: &Catalog, proposer: &dyn Proposer, local: &Local) {
    let name = own.node.name.to_ascii_lowercase();
    let mut announced = false;
    loop {
        let correction = {
            let state = catalog.state();
            own.correction(state.node_entry(&name).map(AsRef::as_ref), local.has_service(CONSUL_SERVICE))
        };
        if let Some(command) = correction {
            if let Err(reason) = write(proposer, command).await {
                tracing::warn!(target: "agent.server", error = %reason, "cannot write this server into the catalog yet");
                tokio::time::sleep(RETRY).await;
                continue;
            }
            tracing::info!(target: "agent.server", "member joined, marking health alive: member={}", own.node.name);
        }
        if !announced {
            // The node is there now: everything registered on this agent can follow.
            local.request_comparison();
            announced = true;
        }
        tokio::time::sleep(RECONCILE_INTERVAL).await;
    }
}

async fn write(proposer: &dyn Proposer, command: Command) -> Result<(), String> {
    let applied = proposer.propose(command).await.map_err(|error| error.to_string())?;
    applied.outcome.map_err(|refusal| refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::Node;

    fn own() -> OwnServer {
        let node = OwnNode {
            name: "n1".to_owned(),
            id: "11111111-2222-3333-4444-555555555555".to_owned(),
            address: "10.0.0.1".to_owned(),
            datacenter: "dc1".to_owned(),
            ..OwnNode::default()
        };
        OwnServer { node, server_port: 8300, version: "0.1.0".to_owned() }
    }

    /// The catalog as it is after `own` has been written into it.
    fn shown(own: &OwnServer) -> NodeEntry {
        let node = Node {
            id: own.node.id.clone(),
            name: own.node.name.clone(),
            address: own.node.address.clone(),
            datacenter: own.node.datacenter.clone(),
            ..Node::default()
        };
        NodeEntry::new(Arc::new(node), [Arc::new(own.service())], [Arc::new(own.health())])
    }

    fn correction(own: &OwnServer, entry: &NodeEntry, consul_is_taken: bool) -> Option<Registration> {
        own.correction(Some(entry), consul_is_taken).map(|command| match command {
            Command::Register(registration) => registration,
            Command::Deregister(_) | Command::Autopilot(_) => panic!("the leader removes nothing of its own"),
        })
    }

    #[test]
    fn a_new_server_is_written_whole_in_one_command() {
        let Some(Command::Register(written)) = own().correction(None, false) else {
            panic!("nothing is written");
        };
        assert_eq!(
            (written.node.as_str(), written.address.as_str(), written.skip_node_update),
            ("n1", "10.0.0.1", false)
        );
        let service = written.service.unwrap();
        assert_eq!((service.id.as_str(), service.name.as_str(), service.port), ("consul", "consul", 8300));
        assert_eq!(service.meta.get("version").map(String::as_str), Some("0.1.0"));
        let [health] = written.checks.as_slice() else {
            panic!("not one check");
        };
        assert_eq!((health.id.as_str(), &health.status), (SERF_HEALTH, &Status::Passing));
    }

    #[test]
    fn a_server_that_is_shown_as_it_is_writes_nothing() {
        assert_eq!(own().correction(Some(&shown(&own())), false), None);
    }

    #[test]
    fn only_what_differs_is_written() {
        let moved = OwnServer { node: OwnNode { address: "10.0.0.2".to_owned(), ..own().node }, ..own() };
        let written = correction(&moved, &shown(&own()), false).unwrap();
        assert!(!written.skip_node_update && written.service.is_none() && written.checks.is_empty());

        let newer = OwnServer { version: "0.2.0".to_owned(), ..own() };
        let written = correction(&newer, &shown(&own()), false).unwrap();
        assert!(written.skip_node_update && written.service.is_some() && written.checks.is_empty());
        assert_eq!(correction(&newer, &shown(&own()), true), None, "a service of the user's own is left alone");

        let failed = NodeEntry::new(shown(&own()).node, [Arc::new(own().service())], []);
        let written = correction(&own(), &failed, false).unwrap();
        assert!(written.skip_node_update && written.service.is_none() && written.checks.len() == 1);
    }
}

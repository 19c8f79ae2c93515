//! Founding a cluster (`bootstrap_expect` above 1): exactly once, by exactly that many servers.
//!
//! ```text
//!   gossip shows N servers that expect N ─► Identify: is anybody in a cluster already? then wait to be taken in
//!     ─► the N with the smallest raft ids are the founders, and the smallest of them acts:
//!     ─► Pledge to each, itself first: founds with exactly these, never with others (kept on disk)
//!     ─► all pledged ─► its log begins with the configuration of these N; the others are its followers
//! ```
//!
//! Two sets of founders that share a server cannot both be pledged by it, so two clusters cannot come of servers that
//! see different parts of the pool. A founder that is lost for good before all have pledged leaves the others waiting:
//! the log says which file to remove then.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::servers::KnownServers;
use crate::{
    leader::server::ServerMember,
    membership::Member,
    raft::Consensus,
    rpc::{
        Connections,
        message::{Founder, Identity, Request, Response},
    },
};

/// How long a server may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// How long after a fruitless attempt the next one is made, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The first such pause.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How often people are told what is waited for.
const TELL_INTERVAL: Duration = Duration::from_secs(30);

/// What founding needs.
pub(super) struct Founding {
    pub(super) expect: u32,
    pub(super) consensus: Consensus,
    pub(super) connections: Connections,
    pub(super) servers: KnownServers,
    pub(super) members: watch::Receiver<Arc<Vec<Member>>>,
    /// This server.
    pub(super) own: Founder,
    pub(super) datacenter: String,
}

/// How an attempt went.
enum Outcome {
    /// There is a cluster this server is or will be in.
    Over(&'static str),
    /// Not yet, for this reason.
    Waiting(String),
}

impl Founding {
    /// Tries until there is a cluster, or `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.until_over()).await;
    }

    async fn until_over(&mut self) {
        let mut pause = FIRST_PAUSE;
        let mut told = None::<(String, Instant)>;
        while self.consensus.is_pristine() {
            match self.attempt().await {
                Outcome::Over(how) => {
                    tracing::info!(target: "agent.server", "{how}");
                    return;
                }
                Outcome::Waiting(reason) => {
                    let now = Instant::now();
                    if told.as_ref().is_none_or(|(text, at)| *text != reason || now - *at >= TELL_INTERVAL) {
                        tracing::info!(target: "agent.server", "no cluster yet: {reason}");
                        told = Some((reason, now));
                    }
                }
            }
            tokio::select! {
                changed = self.members.changed() => {
                    if changed.is_err() { return }
                    pause = FIRST_PAUSE;
                }
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    async fn attempt(&self) -> Outcome {
        let servers: Vec<ServerMember> = self.servers.all().into_iter().filter(ServerMember::is_alive).collect();
        if let Some(other) = servers.iter().find(|server| server.bootstrap) {
            return Outcome::Waiting(format!("{} founds a cluster alone and will take this server in", other.name));
        }
        if let Some(other) = servers.iter().find(|server| server.expect != 0 && server.expect != self.expect) {
            return Outcome::Waiting(format!(
                "{} expects {} servers, but this one expects {}: all must expect the same number",
                other.name, other.expect, self.expect
            ));
        }
        let expect = self.expect as usize;
        if servers.len() < expect {
            return Outcome::Waiting(format!("found {} of {expect} expected servers", servers.len()));
        }
        let mut found = Vec::new();
        for server in &servers {
            match self.identify(server).await {
                Ok(identity) if !identity.pristine => {
                    return Outcome::Over("there is a cluster already, waiting to be taken in");
                }
                Ok(identity) if identity.datacenter == self.datacenter => found.push(identity.server),
                Ok(_) => {}
                Err(reason) => return Outcome::Waiting(reason),
            }
        }
        self.found(founders(found, expect)).await
    }

    async fn identify(&self, server: &ServerMember) -> Result<Identity, String> {
        if server.node_id.eq_ignore_ascii_case(&self.own.node_id) {
            return Ok(Identity {
                server: self.own.clone(),
                datacenter: self.datacenter.clone(),
                pristine: self.consensus.is_pristine(),
                peers: Vec::new(),
            });
        }
        match self.connections.call(server.address, &Request::Identify, ANSWER_TIME).await {
            Ok(Response::Identity(identity)) => Ok(identity),
            Ok(_) => Err(format!("{} does not say who it is", server.name)),
            Err(error) => Err(format!("{}: {error}", server.name)),
        }
    }

    async fn found(&self, founders: Vec<Founder>) -> Outcome {
        if founders.len() < self.expect as usize {
            return Outcome::Waiting(format!("{} of {} servers said who they are", founders.len(), self.expect));
        }
        let Some(first) = founders.first() else { return Outcome::Waiting("nobody is there".to_owned()) };
        if first.raft_id != self.own.raft_id {
            return Outcome::Waiting(format!("{} is to found the cluster", first.name));
        }
        for founder in &founders {
            if let Err(reason) = self.ask_for_pledge(founder, &founders).await {
                return Outcome::Waiting(format!("{} does not pledge itself: {reason}", founder.name));
            }
        }
        let names: Vec<&str> = founders.iter().map(|founder| founder.name.as_str()).collect();
        let names = names.join(", ");
        match self.consensus.form(&founders).await {
            Ok(()) => {
                tracing::info!(target: "agent.server", "founded the cluster: {names}");
                Outcome::Over("found expected number of peers, the cluster is founded")
            }
            Err(error) => Outcome::Waiting(error.to_string()),
        }
    }

    async fn ask_for_pledge(&self, founder: &Founder, founders: &[Founder]) -> Result<(), String> {
        if founder.raft_id == self.own.raft_id {
            return self.consensus.pledge(founders).await.map_err(|error| error.to_string());
        }
        let address = founder.address.parse().map_err(|_| format!("its address {:?} is none", founder.address))?;
        let request = Request::Pledge { founders: founders.to_vec() };
        match self.connections.call(address, &request, ANSWER_TIME).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The founders among those found: the smallest raft ids, in order. Everybody who sees the same servers chooses alike.
fn founders(mut found: Vec<Founder>, expect: usize) -> Vec<Founder> {
    found.sort_by_key(|founder| founder.raft_id);
    found.dedup_by_key(|founder| founder.raft_id);
    found.truncate(expect);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn founders_are_the_smallest_ids_in_order() {
        let founder = |raft_id| Founder { raft_id, ..Founder::default() };
        let ids = |found: Vec<u64>, expect| -> Vec<u64> {
            founders(found.into_iter().map(founder).collect(), expect).iter().map(|it| it.raft_id).collect()
        };
        assert_eq!(ids(vec![5, 3, 9, 1], 3), [1, 3, 5]);
        assert_eq!(ids(vec![2, 2, 1], 3), [1, 2], "one server that is seen twice is one");
    }
}

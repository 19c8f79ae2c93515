//! What tests wait for: a leader, all members, votes, a service everywhere.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Cluster, Host};
use crate::poll::eventually;

impl Cluster {
    /// Waits until every server votes, exactly one leads and all know it, and every host is in the catalog and healthy.
    pub fn formed(&self) {
        eventually("the servers that run vote and one leads", || self.all_vote());
        eventually("every host is in the catalog and healthy", || self.healthy());
    }

    /// The one that leads.
    pub fn leader(&self) -> String {
        eventually("a leader", || self.try_leader())
    }

    /// A server that follows.
    pub fn follower(&self) -> String {
        let leader = self.leader();
        self.running_servers().into_iter().find(|name| *name != leader).expect("there are several servers")
    }

    /// The one that leads, if all that run know the same and it runs.
    pub fn try_leader(&self) -> Result<String, String> {
        let mut told = BTreeMap::new();
        for name in self.running_servers() {
            let leader = self[&name].try_json("/v1/status/leader")?;
            told.insert(name, leader.as_str().unwrap_or_default().to_owned());
        }
        let all: BTreeSet<&String> = told.values().collect();
        let [one] = Vec::from_iter(all).try_into().map_err(|_| format!("no agreement on the leader: {told:?}"))?;
        let address = one.split(':').next().unwrap_or_default();
        let leader = self.hosts().iter().find(|host| host.is_running() && host.address.to_string() == address);
        leader.map(|host| host.name.clone()).ok_or_else(|| format!("no leader: {told:?}"))
    }

    /// Those that run vote, and nobody else: told apart by id, since one that lost its disk comes back as another.
    fn all_vote(&self) -> Result<(), String> {
        let leader = self.try_leader()?;
        let configuration = self[&leader].try_json("/v1/operator/raft/configuration")?;
        let mut running = BTreeSet::new();
        for name in self.running_servers() {
            let id = self[&name].try_json("/v1/agent/self")?["Config"]["NodeID"].clone();
            running.insert(id.as_str().unwrap_or_default().to_owned());
        }
        let voters: BTreeSet<String> = voters(&configuration, "ID").into_iter().collect();
        if voters != running {
            return Err(format!("{leader} counts these voters: {configuration}"));
        }
        self.all_applied(&leader)?;
        // A change of voters has two steps, of which the second follows as soon as the first is known to a quorum.
        match self[&leader].try_json("/v1/operator/raft/configuration")? {
            again if again == configuration => Ok(()),
            _ => Err("the voters are about to change".to_owned()),
        }
    }

    /// Every server that runs has applied all that the leader has.
    fn all_applied(&self, leader: &str) -> Result<(), String> {
        let figure = |name: &str, key: &str| -> Result<u64, String> {
            let stats = self[name].try_json("/v1/agent/self")?["Stats"]["raft"][key].clone();
            stats.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| format!("{name} tells no {key}: {stats}"))
        };
        let last = figure(leader, "last_log_index")?;
        for name in self.running_servers() {
            let applied = figure(&name, "applied_index")?;
            if applied < last {
                return Err(format!("{name} has applied {applied} of {last} entries"));
            }
        }
        Ok(())
    }

    fn votes(&self, expected: usize) -> Result<(), String> {
        let leader = self.try_leader()?;
        let configuration = self[&leader].try_json("/v1/operator/raft/configuration")?;
        let voters = voters(&configuration, "Node");
        if voters.len() == expected { Ok(()) } else { Err(format!("{leader} counts these voters: {voters:?}")) }
    }

    /// Waits until so many servers vote.
    pub fn voters(&self, expected: usize) {
        eventually("that many servers vote", || self.votes(expected));
    }

    fn healthy(&self) -> Result<(), String> {
        let leader = self.try_leader()?;
        let checks = self[&leader].try_json("/v1/health/state/passing")?;
        let healthy = |host: &&Host| {
            checks.as_array().is_some_and(|checks| {
                checks.iter().any(|check| check["Node"] == host.name.as_str() && check["CheckID"] == "serfHealth")
            })
        };
        let missing: Vec<&str> = self
            .hosts()
            .iter()
            .filter(|host| host.is_running() && !healthy(host))
            .map(|host| host.name.as_str())
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("not healthy yet: {missing:?}")) }
    }

    /// Waits until these running hosts all see the members in these states, by name.
    pub fn members(&self, seen_by: &[&str], expected: &[(&str, &str)]) {
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect();
        for name in seen_by {
            eventually("members as expected", || {
                let seen = self[name].try_members()?;
                if seen == expected { Ok(()) } else { Err(format!("{name} sees {seen:?}")) }
            });
        }
    }

    /// Waits until all running hosts answer a question of DNS with these records.
    pub fn answered_everywhere(&self, question: &str, expected: &[&str]) {
        for host in self.hosts().iter().filter(|host| host.is_running()) {
            host.answered(question, expected);
        }
    }
}

impl Host {
    /// The members it knows, with their states.
    pub fn try_members(&self) -> Result<BTreeMap<String, String>, String> {
        const STATES: [&str; 5] = ["none", "alive", "leaving", "left", "failed"];
        let members = self.try_json("/v1/agent/members")?;
        let state = |member: &Value| {
            let number = usize::try_from(member["Status"].as_u64().unwrap_or(0)).unwrap_or(0);
            STATES.get(number).copied().unwrap_or("unknown").to_owned()
        };
        let members = members.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(members
            .iter()
            .map(|member| (member["Name"].as_str().unwrap_or_default().to_owned(), state(member)))
            .collect())
    }

    /// Waits until it answers a question of DNS with the addresses (or other data) of these records.
    pub fn answered(&self, question: &str, expected: &[&str]) {
        eventually("an answer of DNS", || {
            let lines = self.answers(question)?;
            let mut found: Vec<&str> = lines.iter().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
            found.sort_unstable();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            if found == expected { Ok(()) } else { Err(format!("{}: {question}: {found:?}", self.name)) }
        });
    }

    /// Waits until a service of the catalog has these nodes, as this host sees it.
    pub fn sees_service(&self, service: &str, nodes: &[&str]) {
        eventually("instances of a service", || {
            let found = self.try_json(&format!("/v1/health/service/{service}?passing&stale"))?;
            let mut found: Vec<String> = found
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default()
                .iter()
                .map(|entry| entry["Node"]["Node"].as_str().unwrap_or_default().to_owned())
                .collect();
            found.sort();
            let mut nodes = nodes.to_vec();
            nodes.sort_unstable();
            if found == nodes { Ok(()) } else { Err(format!("{}: {service}: {found:?}", self.name)) }
        });
    }
}

fn voters(configuration: &Value, key: &str) -> Vec<String> {
    let servers = configuration["Servers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let voting = servers.iter().filter(|server| server["Voter"] == true);
    voting.map(|server| server[key].as_str().unwrap_or_default().to_owned()).collect()
}

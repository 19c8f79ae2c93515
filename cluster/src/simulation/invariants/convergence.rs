//! Without faults everything converges: a leader is elected (Raft, section 5.2), membership is complete (SWIM's strong
//! completeness and accuracy), all servers have the same catalog, and it shows what every agent registered.

use std::collections::BTreeSet;

use crate::{
    agent::Agent,
    membership::MemberStatus,
    simulation::{Setup, Software, faults::Host, shared::Shared, workload, world},
};

/// `Ok` if all is well; else what is not.
pub(in crate::simulation) fn check(shared: &Shared, setup: &Setup) -> Result<(), String> {
    members(shared, setup.servers + setup.clients)?;
    if setup.software == Software::Gossip {
        return Ok(());
    }
    let agents: Vec<(Host, Agent)> = shared.agents().into_iter().collect();
    let (servers, clients) = agents.split_at(setup.servers);
    one_leader(servers)?;
    same_catalog(servers)?;
    registrations(&agents, &servers[0].1)?;
    views(shared, clients, &servers[0].1)
}

fn one_leader(servers: &[(Host, Agent)]) -> Result<(), String> {
    let statuses: Vec<_> = servers.iter().map(|(_, agent)| agent.status()).collect();
    let leaders = statuses.iter().filter(|status| status.is_leader).count();
    if leaders != 1 {
        return Err(format!("{leaders} servers lead"));
    }
    let followed: BTreeSet<_> = statuses.iter().map(|status| status.leader.clone()).collect();
    if followed.len() != 1 {
        return Err(format!("they follow {followed:?}"));
    }
    let voters = |status: &crate::raft::Status| status.peers.iter().filter(|peer| peer.voter).count();
    match statuses.iter().find(|status| voters(status) != servers.len()) {
        Some(status) => Err(format!("a server knows {} voters", voters(status))),
        None => Ok(()),
    }
}

fn members(shared: &Shared, hosts: usize) -> Result<(), String> {
    let members = shared.members();
    if members.len() != hosts {
        return Err(format!("only hosts {:?} run", members.keys()));
    }
    let expected: BTreeSet<String> = (0..hosts).map(world::name).collect();
    for (host, members) in members {
        let alive = members.into_iter().filter(|member| member.status == MemberStatus::Alive);
        let alive: BTreeSet<String> = alive.map(|member| member.name).collect();
        if alive != expected {
            return Err(format!("host {host} takes {alive:?} for alive"));
        }
    }
    Ok(())
}

fn same_catalog(servers: &[(Host, Agent)]) -> Result<(), String> {
    let first = servers[0].1.catalog().state();
    for (host, agent) in &servers[1..] {
        let (one, other) = (servers[0].1.status().applied_index, agent.status().applied_index);
        if one != other {
            return Err(format!("host {host} has applied {other}, host 0 {one}"));
        }
        if *first != *agent.catalog().state() {
            return Err(format!("the catalogs of hosts {host} and 0 differ at {one}"));
        }
    }
    Ok(())
}

fn registrations(agents: &[(Host, Agent)], server: &Agent) -> Result<(), String> {
    let state = server.catalog().state();
    for (host, _) in agents {
        let shown =
            state.node_entry(&world::name(*host)).is_some_and(|it| it.service(&format!("own-{host}")).is_some());
        if !shown {
            return Err(format!("the service of host {host} is not in the catalog"));
        }
    }
    Ok(())
}

fn views(shared: &Shared, clients: &[(Host, Agent)], server: &Agent) -> Result<(), String> {
    let state = server.catalog().state();
    for (host, _) in clients {
        for key in 0..workload::KEYS {
            let (seen, now) = (shared.seen_by_watcher(*host, key), workload::value_of(&state, key));
            if seen != Some(now) {
                return Err(format!("host {host} sees {seen:?} in register {key}, which is {now:?}"));
            }
        }
    }
    Ok(())
}

//! Every death is noticed: Strong Completeness of A. Das, I. Gupta and A. Motivala, "SWIM" (2002): "crash-failure of any
//! group member is detected by all non-faulty members". And the leader's duty that follows from it: the catalog of every
//! server shows the node's health as critical.

use crate::{
    catalog::model::{SERF_HEALTH, Status},
    membership::MemberStatus,
    simulation::shared::Shared,
};

/// `Ok` if everybody knows that the host of that name is dead; else who does not.
pub(in crate::simulation) fn check(shared: &Shared, name: &str) -> Result<(), String> {
    for (host, members) in shared.members() {
        let status = members.iter().find(|member| member.name == name).map(|member| member.status);
        if status.is_some_and(|status| status != MemberStatus::Failed) {
            return Err(format!("host {host} still takes it for {status:?}"));
        }
    }
    for (host, agent) in shared.agents().into_iter().filter(|(_, agent)| agent.is_server()) {
        let state = agent.catalog().load();
        let check = state.node_entry(name).and_then(|entry| entry.check(SERF_HEALTH));
        if check.is_none_or(|check| check.status != Status::Critical) {
            return Err(format!("the catalog of host {host} has {:?}", check.map(|check| &check.status)));
        }
    }
    Ok(())
}

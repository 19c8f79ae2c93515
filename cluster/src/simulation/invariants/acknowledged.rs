//! No acknowledged write is lost: D. Ongaro and J. Ousterhout, "In Search of an Understandable Consensus Algorithm"
//! (extended version, 2014), figure 3, Leader Completeness, as its clients see it: what was committed at an index is in
//! the log of every later leader.
//!
//! Every acknowledgement names its index. In the end, when all servers have applied the same log, every such index is
//! within it; that it holds the same command everywhere is [`super::state_machine`], that no later read misses it
//! [`super::linearizable`].

use crate::simulation::{observe, shared::Shared};

pub(in crate::simulation) fn check(shared: &Shared) -> Vec<String> {
    let (_, applied) = observe(|it| it.progress());
    let agents = shared.agents();
    let servers = agents.iter().filter(|(_, agent)| agent.is_server());
    let least = servers.map(|(_, agent)| agent.status().applied_index).min().unwrap_or(0);
    let lost = shared.acknowledged().into_iter().filter(|(index, _)| *index > least.min(applied));
    lost.map(|(index, write)| {
        format!("an acknowledged write is lost: {write:?} at {index}, but the log ends at {least}")
    })
    .collect()
}

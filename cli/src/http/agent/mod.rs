//! `/v1/agent/…`: this one agent. What it is, whom it knows, what is registered on it, and what it is told to do.
//!
//! Nothing here names a datacenter: the agent asked is the agent meant.

pub(super) mod dns;
pub(super) mod health;
pub(super) mod host;
pub(super) mod maintenance;
pub(super) mod metrics;
pub(super) mod monitor;
pub(super) mod own;
pub(super) mod registration;
pub(super) mod reports;
pub(super) mod services;
mod views;

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::oneshot;
use usher_cluster::{
    catalog::model::{Check, Service},
    local::LocalState,
    membership::Member,
};

use self::views::MemberView;
use super::{
    Control,
    context::{Cx, Needed},
    reply::{Failure, Reply},
};

/// `GET /v1/agent/members`; with any value of `?wan=` those of the pool between datacenters.
pub(super) async fn members(cx: Cx) -> Result<Reply, Failure> {
    let segment = cx.params.value("segment");
    if !matches!(segment, "" | "_all") {
        return Err(Failure::internal("Network segments are not supported in this version"));
    }
    let agent = &cx.api.agent;
    let mut members = if cx.params.value("wan").is_empty() { agent.members_lan() } else { agent.members_wan() };
    cx.visible(&mut members, |member| Needed::node(node_of(member)));
    let views: Vec<_> = members.iter().map(MemberView::from).collect();
    Reply::json(&views)
}

/// The node a member is: in the pool between datacenters its name ends in the datacenter's.
fn node_of(member: &Member) -> &str {
    let suffix = member.tags.get("dc").map(String::as_str).unwrap_or_default();
    member.name.strip_suffix(suffix).and_then(|name| name.strip_suffix('.')).unwrap_or(&member.name)
}

/// `PUT /v1/agent/join/:address`.
pub(super) async fn join(cx: Cx) -> Result<Reply, Failure> {
    let wan = !cx.params.value("wan").is_empty();
    cx.api.agent.join(std::slice::from_ref(&cx.tail), wan).await.map_err(Failure::internal)?;
    Ok(Reply::empty())
}

/// `PUT /v1/agent/force-leave/:node`; with `?prune` the member is forgotten at once.
pub(super) async fn force_leave(cx: Cx) -> Result<Reply, Failure> {
    let prune = cx.params.has("prune");
    cx.api.agent.force_leave(&cx.tail, prune).await.map_err(Failure::internal)?;
    Ok(Reply::empty())
}

/// `PUT /v1/agent/leave`: answered when the agent has left, before it ends.
pub(super) async fn leave(cx: Cx) -> Result<Reply, Failure> {
    let (done, left) = oneshot::channel();
    order(&cx, Control::Leave(done)).await?;
    left.await.map_err(|_| ending())?;
    Ok(Reply::empty())
}

/// `PUT /v1/agent/reload`: answered when the configuration was read again, or with why it could not be.
pub(super) async fn reload(cx: Cx) -> Result<Reply, Failure> {
    let (done, reloaded) = oneshot::channel();
    order(&cx, Control::Reload(done)).await?;
    reloaded.await.map_err(|_| ending())?.map_err(Failure::internal)?;
    Ok(Reply::empty())
}

async fn order(cx: &Cx, control: Control) -> Result<(), Failure> {
    cx.api.control.send(control).await.map_err(|_| ending())
}

fn ending() -> Failure {
    Failure::internal("the agent is ending")
}

/// The check of that id: ids are compared without regard to case, as where they are changed.
fn check_of<'a>(state: &'a LocalState, id: &str) -> Option<&'a Arc<Check>> {
    // Written as it was registered it is found at once.
    state.checks.get(id).or_else(|| state.checks.values().find(|check| check.id.eq_ignore_ascii_case(id)))
}

/// The service of that id, likewise.
fn service_in<'a>(state: &'a LocalState, id: &str) -> Option<&'a Arc<Service>> {
    state.services.get(id).or_else(|| state.services.values().find(|service| service.id.eq_ignore_ascii_case(id)))
}

/// The service of that id, or 404.
fn service_of(cx: &Cx, id: &str) -> Result<Arc<Service>, Failure> {
    service_in(&cx.api.agent.local().state(), id).cloned().ok_or_else(|| no_service(id))
}

fn no_service(id: &str) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, format!("No service registered with ID {id:?}"))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::Ipv4Addr};

    use usher_cluster::membership::{Member, MemberStatus};

    use super::node_of;

    #[test]
    fn members_between_datacenters_are_nodes_too() {
        let member = |name: &str| Member {
            name: name.to_owned(),
            address: Ipv4Addr::LOCALHOST.into(),
            port: 1,
            tags: BTreeMap::from([("dc".to_owned(), "dc1".to_owned())]),
            status: MemberStatus::Alive,
        };
        assert_eq!(node_of(&member("n1")), "n1");
        assert_eq!(node_of(&member("n1.dc1")), "n1");
        assert_eq!(node_of(&member("n1dc1")), "n1dc1");
    }
}

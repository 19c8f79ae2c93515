//! `/v1/health/…`: checks, and the instances they decide about.

use std::sync::Arc;

use usher_cluster::catalog::{
    Topic,
    model::{Check, Status},
};

use super::{
    catalog::{has_meta, instances, part},
    context::{Cx, Needed},
    query,
    reply::{Failure, QueryMeta, Reply},
    views,
};

/// `GET /v1/health/node/:node`: the checks of a node and of its instances.
pub(super) async fn node(cx: Cx) -> Result<Reply, Failure> {
    let name: Arc<str> = cx.name("Missing node name")?.into();
    let (checks, meta) = query::read(&cx, Topic::Node(Arc::clone(&name)), |state| {
        part(state.node(&name), |entry| entry.map(|entry| entry.checks.clone()).unwrap_or_default())
    })
    .await?;
    list(&cx, checks, meta)
}

/// `GET /v1/health/checks/:service`: the checks of a service's instances, without those of their nodes.
pub(super) async fn checks(cx: Cx) -> Result<Reply, Failure> {
    let name: Arc<str> = cx.name("Missing service name")?.into();
    let wanted = cx.params.node_meta();
    let (checks, meta) = query::read(&cx, Topic::Service(Arc::clone(&name)), |state| {
        part(state.service(&name), |entry| {
            let entry = entry.as_deref();
            let instances = entry.map(|entry| entry.instances.as_slice()).unwrap_or_default();
            let own = |check: &&Arc<Check>| !check.service_id.is_empty();
            instances
                .iter()
                .filter(|instance| has_meta(&instance.node, &wanted))
                .flat_map(|instance| instance.checks.iter().filter(own).cloned())
                .collect::<Vec<_>>()
        })
    })
    .await?;
    list(&cx, checks, meta)
}

/// `GET /v1/health/state/:state`: every check in a state, or `any`.
pub(super) async fn state(cx: Cx) -> Result<Reply, Failure> {
    let name = cx.name("Missing check state")?;
    let status = (name != "any").then(|| Status::from(name));
    let wanted = cx.params.node_meta();
    let (checks, meta) = query::read(&cx, Topic::Checks, |state| {
        part(state.checks_in_state(status.as_ref()), |mut checks| {
            if !wanted.is_empty() {
                let carries = |check: &Arc<Check>| {
                    let node = state.node(&check.node).value;
                    node.is_some_and(|entry| has_meta(&entry.node, &wanted))
                };
                checks.retain(carries);
            }
            checks
        })
    })
    .await?;
    list(&cx, checks, meta)
}

/// A list of checks as the caller may see them.
fn list(cx: &Cx, mut checks: Vec<Arc<Check>>, meta: QueryMeta) -> Result<Reply, Failure> {
    cx.visible(&mut checks, |check| Needed::check(check));
    Ok(Reply::json(&views::checks(&checks))?.with_meta(meta.uncached()))
}

/// `GET /v1/health/service/:service`: instances with their nodes and checks; with `?passing` only those whose every
/// check passes. `?near=` as for [`super::catalog::nodes`].
pub(super) async fn service(cx: Cx) -> Result<Reply, Failure> {
    let name: Arc<str> = cx.name("Missing service name")?.into();
    let passing = cx.params.switch("passing").ok_or_else(|| Failure::bad("Invalid value for ?passing"))?;
    let (entry, meta) = query::read(&cx, Topic::Service(Arc::clone(&name)), |state| state.service(&name)).await?;
    let mut instances = instances(&cx, entry.as_deref());
    if passing {
        instances.retain(|instance| instance.checks.iter().all(|check| check.status == Status::Passing));
    }
    let views: Vec<_> = instances.iter().map(|instance| views::HealthView::from(&***instance)).collect();
    Ok(Reply::json(&views)?.with_meta(meta))
}

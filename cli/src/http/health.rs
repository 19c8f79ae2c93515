//! `/v1/health/…`: checks, and the instances they decide about.

use std::sync::Arc;

use usher_cluster::catalog::{
    Indexed, State, Topic,
    model::{Check, Status},
};

use super::{
    catalog::{has_meta, instances},
    context::{Cx, Needed},
    query,
    reply::{Failure, QueryMeta, Reply},
    selectors, views,
};
use crate::filter::Filter;

/// `GET /v1/health/node/:node`: the checks of a node and of its instances.
pub(super) async fn node(cx: Cx) -> Result<Reply, Failure> {
    let name: Arc<str> = cx.name("Missing node name")?.into();
    let filter = cx.filter_of_read(selectors::CHECK)?;
    let topic = Topic::NodeChecks(Arc::clone(&name));
    let (checks, meta) = query::read(&cx, topic, |state| state.node_checks(&name)).await?;
    list(&cx, checks, &filter, meta)
}

/// `GET /v1/health/checks/:service`: the checks of a service's instances, without those of their nodes.
pub(super) async fn checks(cx: Cx) -> Result<Reply, Failure> {
    let name: Arc<str> = cx.name("Missing service name")?.into();
    let filter = cx.filter_of_read(selectors::CHECK)?;
    let wanted = cx.params.node_meta();
    let topic = Topic::ServiceChecks(Arc::clone(&name));
    let (checks, meta) = query::read(&cx, topic, |state| on_nodes(state, &wanted, state.service_checks(&name))).await?;
    list(&cx, checks, &filter, meta)
}

/// `GET /v1/health/state/:state`: every check in a state, or `any`.
pub(super) async fn state(cx: Cx) -> Result<Reply, Failure> {
    let name = cx.name("Missing check state")?;
    let status = (name != "any").then(|| Status::from(name));
    let filter = cx.filter_of_read(selectors::CHECK)?;
    let wanted = cx.params.node_meta();
    let topic = status.clone().map_or(Topic::Checks, Topic::ChecksInState);
    let (checks, meta) =
        query::read(&cx, topic, |state| on_nodes(state, &wanted, state.checks_in_state(status.as_ref()))).await?;
    list(&cx, checks, &filter, meta)
}

/// Those checks whose node carries all pairs.
fn on_nodes(
    state: &State,
    wanted: &[(String, String)],
    mut found: Indexed<Vec<Arc<Check>>>,
) -> Indexed<Vec<Arc<Check>>> {
    if !wanted.is_empty() {
        let carries = |node: &str| state.node(node).value.is_some_and(|entry| has_meta(&entry.node, wanted));
        found.value.retain(|check| carries(&check.node));
    }
    found
}

/// Those of a list of checks that the filter keeps, as the caller may see them.
fn list(cx: &Cx, mut checks: Vec<Arc<Check>>, filter: &Filter<Check>, meta: QueryMeta) -> Result<Reply, Failure> {
    filter.retain(&mut checks, |check| check);
    cx.visible(&mut checks, |check| Needed::check(check));
    Ok(Reply::json(&views::checks(&checks))?.with_meta(meta.uncached()))
}

/// `GET /v1/health/service/:service`: instances with their nodes and checks; with `?passing` only those whose every
/// check passes. `?near=` as for [`super::catalog::nodes`].
pub(super) async fn service(cx: Cx) -> Result<Reply, Failure> {
    let name: Arc<str> = cx.name("Missing service name")?.into();
    let passing = cx.params.switch("passing").ok_or_else(|| Failure::bad("Invalid value for ?passing"))?;
    let filter = cx.filter_of_read(selectors::HEALTH)?;
    let (entry, meta) = query::read(&cx, Topic::Service(Arc::clone(&name)), |state| state.service(&name)).await?;
    let mut instances = instances(&cx, entry.as_deref(), &filter);
    if passing {
        instances.retain(|instance| instance.checks.iter().all(|check| check.status == Status::Passing));
    }
    let views: Vec<_> = instances.iter().map(|instance| views::HealthView::from(&***instance)).collect();
    Ok(Reply::json(&views)?.with_meta(meta))
}

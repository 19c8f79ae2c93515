//! What is registered on this agent: `/v1/agent/services`, `/v1/agent/service/:id`, `/v1/agent/checks`.

use std::{collections::BTreeMap, sync::Arc};

use http::StatusCode;
use tokio::time::Instant;
use usher_cluster::{access::Permission, local::LocalState};

use super::views::AgentServiceView;
use crate::http::{
    context::{Cx, Needed},
    query::{self, QueryOptions},
    reply::{Failure, Reply},
    selectors,
    views::CheckView,
};

/// `GET /v1/agent/services`: by id.
pub(in crate::http) async fn services(cx: Cx) -> Result<Reply, Failure> {
    let filter = cx.filter(selectors::SERVICE)?;
    let state = cx.api.agent.local().state();
    let mut services: Vec<_> = state.services.iter().collect();
    filter.retain(&mut services, |(_, service)| service);
    cx.visible(&mut services, |(_, service)| Needed::service(&service.name));
    let views: BTreeMap<&str, AgentServiceView<'_>> =
        services.into_iter().map(|(id, service)| (id.as_str(), AgentServiceView::from(&**service))).collect();
    Reply::json(&views)
}

/// `GET /v1/agent/checks`: by id.
pub(in crate::http) async fn checks(cx: Cx) -> Result<Reply, Failure> {
    let filter = cx.filter(selectors::CHECK)?;
    let state = cx.api.agent.local().state();
    let mut checks: Vec<_> = state.checks.iter().collect();
    filter.retain(&mut checks, |(_, check)| check);
    cx.visible(&mut checks, |(_, check)| Needed::check(check));
    let views: BTreeMap<&str, CheckView<'_>> =
        checks.into_iter().map(|(id, check)| (id.as_str(), CheckView::from(&**check))).collect();
    Reply::json(&views)
}

/// `GET /v1/agent/service/:id`; with `?hash=` waits until the service is not what that hash stands for.
pub(in crate::http) async fn service(cx: Cx) -> Result<Reply, Failure> {
    let query = QueryOptions::parse(&cx.params, &cx.cache_control, &cx.options)?;
    let known = cx.params.value("hash");
    let deadline = Instant::now() + query::jittered(query.wait);
    loop {
        let state = cx.api.agent.local().state();
        let (reply, hash) = show(&cx, &state)?;
        if known.is_empty() || hash != known {
            return Ok(reply);
        }
        if !query::wait(&cx, deadline, cx.api.agent.local().changed(&state)).await {
            // The time is over; a change in the last moment is told rather than missed.
            return Ok(show(&cx, &cx.api.agent.local().state())?.0);
        }
    }
}

/// The service the path names, and the hash of what it is.
fn show(cx: &Cx, state: &Arc<LocalState>) -> Result<(Reply, String), Failure> {
    let id = &cx.tail;
    let unknown = || Failure::new(StatusCode::NOT_FOUND, format!("unknown service ID: {id}"));
    let service = state.services.get(id).ok_or_else(unknown)?;
    cx.authorize(&Permission::ServiceRead(&service.name))?;
    let (view, hash) =
        AgentServiceView::from(&**service).hashed().map_err(|error| Failure::internal(error.to_string()))?;
    Ok((Reply::json(&view)?.with_header("x-consul-contenthash", hash.clone()), hash))
}

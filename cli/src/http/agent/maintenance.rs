//! Taking a service of this agent, or the whole node, out of all answers by hand, and back.

use usher_cluster::{access::Permission, local::LocalError};

use super::{no_service, service_of};
use crate::http::{
    context::Cx,
    params::parse_bool,
    reply::{Failure, Reply},
};

/// `PUT /v1/agent/service/maintenance/:id?enable=&reason=`.
pub(in crate::http) async fn service(cx: Cx) -> Result<Reply, Failure> {
    let id = cx.name("Missing service ID")?;
    let enable = enable(&cx)?;
    let service = service_of(&cx, id)?;
    cx.authorize(&Permission::ServiceWrite(&service.name))?;
    set(&cx, Some(&service.id), enable).await
}

/// `PUT /v1/agent/maintenance?enable=&reason=`.
pub(in crate::http) async fn node(cx: Cx) -> Result<Reply, Failure> {
    let enable = enable(&cx)?;
    cx.authorize(&Permission::NodeWrite(&cx.api.agent.options().node_name))?;
    set(&cx, None, enable).await
}

/// What `?enable=` says; it must say something.
fn enable(cx: &Cx) -> Result<bool, Failure> {
    if !cx.params.has("enable") {
        return Err(Failure::bad("Missing value for enable"));
    }
    let value = cx.params.value("enable");
    parse_bool(value).ok_or_else(|| Failure::bad(format!("Invalid value for enable: {value:?}")))
}

async fn set(cx: &Cx, service_id: Option<&str>, enable: bool) -> Result<Reply, Failure> {
    let set = cx.api.agent.local().set_maintenance(service_id, enable, cx.params.value("reason"), &cx.token).await;
    set.map_err(|error| match error {
        // Gone since it was looked up.
        LocalError::UnknownService(id) => no_service(&id),
        error => error.into(),
    })?;
    Ok(Reply::empty())
}

//! Registering on this agent: services and checks come and go by `PUT`.
//!
//! A body becomes the same definition a configuration file would; the store of local registrations validates it, keeps
//! it, and brings it into the catalog before the answer is given.

use serde_json::{Map, Value};
use usher_cluster::{access::Permission, local::LocalError};

use super::{check_of, service_in};
use crate::{
    definition::{self, Strictness},
    http::{
        body,
        context::Cx,
        reply::{Failure, Reply},
    },
};

/// `PUT /v1/agent/service/register`; `?replace-existing-checks` removes the checks it no longer has.
pub(in crate::http) async fn register_service(cx: Cx) -> Result<Reply, Failure> {
    let value = object(body::value(&cx.body).map_err(Failure::decode)?);
    let mut definition = definition::service_from_json(&value, Strictness::Api).map_err(Failure::decode)?;
    let replace = cx
        .params
        .switch("replace-existing-checks")
        .ok_or_else(|| Failure::bad("Invalid value for \"replace-existing-checks\""))?;
    cx.authorize(&Permission::ServiceWrite(&definition.name))?;
    if definition.token.is_empty() {
        definition.token.clone_from(&cx.token);
    }
    cx.api.agent.register_service(definition, replace).await?;
    Ok(Reply::empty())
}

/// `PUT /v1/agent/service/deregister/:id`; an unknown id is no error.
pub(in crate::http) async fn deregister_service(cx: Cx) -> Result<Reply, Failure> {
    if cx.tail.is_empty() {
        return Err(Failure::internal("ServiceID missing"));
    }
    let local = cx.api.agent.local();
    if let Some(service) = service_in(&local.state(), &cx.tail) {
        cx.authorize(&Permission::ServiceWrite(&service.name))?;
    }
    local.deregister_service(&cx.tail).await?;
    Ok(Reply::empty())
}

/// `PUT /v1/agent/check/register`.
pub(in crate::http) async fn register_check(cx: Cx) -> Result<Reply, Failure> {
    let value = object(body::value(&cx.body).map_err(Failure::decode)?);
    let mut check = definition::check_from_json(&value, Strictness::Api).map_err(Failure::decode)?;
    authorize_check(&cx, &check.service_id)?;
    if check.token.is_empty() {
        check.token.clone_from(&cx.token);
    }
    cx.api.agent.register_check(check).await?;
    Ok(Reply::empty())
}

/// `PUT /v1/agent/check/deregister/:id`; an unknown id is no error.
pub(in crate::http) async fn deregister_check(cx: Cx) -> Result<Reply, Failure> {
    if cx.tail.is_empty() {
        return Err(Failure::internal("CheckID missing"));
    }
    let local = cx.api.agent.local();
    if let Some(check) = check_of(&local.state(), &cx.tail) {
        authorize_check(&cx, &check.service_id)?;
    }
    local.deregister_check(&cx.tail).await?;
    Ok(Reply::empty())
}

/// A check belongs to its service, or to the node.
pub(super) fn authorize_check(cx: &Cx, service_id: &str) -> Result<(), Failure> {
    if service_id.is_empty() {
        return cx.authorize(&Permission::NodeWrite(&cx.api.agent.options().node_name));
    }
    let state = cx.api.agent.local().state();
    let Some(service) = service_in(&state, service_id) else {
        return Err(LocalError::UnknownService(service_id.to_owned()).into());
    };
    cx.authorize(&Permission::ServiceWrite(&service.name))
}

/// `null` says as much as an object without fields.
fn object(value: Value) -> Value {
    if value.is_null() { Value::Object(Map::new()) } else { value }
}

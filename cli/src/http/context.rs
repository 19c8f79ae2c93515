//! One request as its handler sees it: who asks, what for, and the only way to permissions and datacenters.
//!
//! A handler never looks at headers or calls the authorizer by itself. The route says what the whole request needs
//! (checked before the handler runs); what depends on names in the request goes through [`Cx::authorize`], and lists
//! through [`Cx::visible`], which leaves out what the token may not read.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use usher_cluster::{
    access::{NoPath, Permission, Route},
    catalog::model::Check,
};

use super::{Api, Options, forward::View, params::Params, reply::Failure};
use crate::filter::{Fields, Filter};

/// A request on its way through a handler.
pub(super) struct Cx {
    /// The agent and everything around it.
    pub(super) api: Arc<Api>,
    /// The settings when the request came.
    pub(super) options: Arc<Options>,
    /// The parameters after the question mark.
    pub(super) params: Params,
    /// The decoded path after the route's prefix; empty on exact routes.
    pub(super) tail: String,
    /// The caller's secret, or empty.
    pub(super) token: String,
    /// The `Cache-Control` header, or empty.
    pub(super) cache_control: String,
    /// The whole body.
    pub(super) body: Bytes,
    /// The view a client agent answers from.
    pub(super) view: Option<View>,
    /// Ends waiting when the agent stops.
    pub(super) shutdown: CancellationToken,
}

impl Cx {
    /// Passes if the caller has the permission, else 403.
    pub(super) fn authorize(&self, permission: &Permission<'_>) -> Result<(), Failure> {
        Ok(self.api.agent.authorize(&self.token, permission)?)
    }

    /// Leaves out of `items` what needs a permission the caller lacks.
    pub(super) fn visible<T>(&self, items: &mut Vec<T>, needs: impl for<'a> Fn(&'a T) -> Needed<'a>) {
        items.retain(|item| self.may(&needs(item)));
    }

    /// Whether the caller has everything needed.
    pub(super) fn may(&self, needed: &Needed<'_>) -> bool {
        let allows = |permission: &Permission<'_>| self.api.agent.authorize(&self.token, permission).is_ok();
        needed.node.is_none_or(|name| allows(&Permission::NodeRead(name)))
            && needed.service.is_none_or(|name| allows(&Permission::ServiceRead(name)))
    }

    /// The way to the datacenter the request names (`?dc=`).
    pub(super) fn route(&self) -> Result<Route, NoPath> {
        self.api.agent.router().route(self.params.value("dc"))
    }

    /// The way to `datacenter` if it is not empty, else to the one the request names.
    pub(super) fn route_to<'a>(&'a self, datacenter: &'a str) -> Result<&'a str, NoPath> {
        let datacenter = if datacenter.is_empty() { self.params.value("dc") } else { datacenter };
        let Route::Local = self.api.agent.router().route(datacenter)?;
        Ok(datacenter)
    }

    /// What `?filter=` asks for in a list whose items have these selectors.
    pub(super) fn filter<T>(&self, fields: Fields<T>) -> Result<Filter<T>, Failure> {
        // 500 is what clients know from Consul.
        let failed = |error| Failure::internal(format!("Failed to create boolean expression evaluator: {error}"));
        Filter::compile(self.params.value("filter"), fields).map_err(failed)
    }

    /// The same for a read of the catalog.
    pub(super) fn filter_of_read<T>(&self, fields: Fields<T>) -> Result<Filter<T>, Failure> {
        self.filter(fields).map_err(Failure::of_read)
    }

    /// The path's last part, or 400 with `missing`.
    pub(super) fn name(&self, missing: &str) -> Result<&str, Failure> {
        if self.tail.is_empty() {
            return Err(Failure::bad(missing));
        }
        Ok(&self.tail)
    }
}

/// What reading one item needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needed<'a> {
    /// The node to be read.
    pub(super) node: Option<&'a str>,
    /// The service to be read.
    pub(super) service: Option<&'a str>,
}

impl<'a> Needed<'a> {
    /// Reading a node.
    pub(super) fn node(name: &'a str) -> Self {
        Self { node: Some(name), service: None }
    }

    /// Reading a service.
    pub(super) fn service(name: &'a str) -> Self {
        Self { node: None, service: Some(name) }
    }

    /// Reading an instance on a node.
    pub(super) fn instance(node: &'a str, service: &'a str) -> Self {
        Self { node: Some(node), service: Some(service) }
    }

    /// Reading a check: its service if it has one, else its node.
    pub(super) fn check(check: &'a Check) -> Self {
        if check.service_name.is_empty() { Self::node(&check.node) } else { Self::service(&check.service_name) }
    }
}

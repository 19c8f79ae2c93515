//! Who may do what, and which datacenter is meant: the two questions every operation answers before it starts.
//!
//! An operation by HTTP, DNS or RPC names the [`Permission`] it needs and passes the one [`Authorizer`]; a read or
//! write names its datacenter and passes the one [`Router`]. Until access control is built [`AllowAll`] decides; until
//! datacenters are federated the router knows its own.

use std::sync::Arc;

/// What an operation needs. The text is the name of the resource it touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission<'a> {
    /// Read the agent on this host.
    AgentRead,
    /// Change or stop the agent on this host.
    AgentWrite,
    /// Read a node, or the list of nodes (empty name).
    NodeRead(&'a str),
    /// Register or remove a node.
    NodeWrite(&'a str),
    /// Read the operator's view of the cluster.
    OperatorRead,
    /// Change what operators look after: who votes, autopilot, gossip's keys.
    OperatorWrite,
    /// Read a service, or the list of services (empty name).
    ServiceRead(&'a str),
    /// Register or remove a service.
    ServiceWrite(&'a str),
}

/// Decides whether the holder of a token has a permission.
pub trait Authorizer: Send + Sync + 'static {
    /// `token` is the request's secret, empty for an anonymous one.
    fn allows(&self, token: &str, permission: &Permission<'_>) -> bool;
}

/// Allows everything: how a cluster without access control behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn allows(&self, _token: &str, _permission: &Permission<'_>) -> bool {
        true
    }
}

/// The operation's permission was refused. Clients match the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Permission denied")]
pub struct Denied;

/// No way is known to the datacenter that was asked for. Clients match the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("No path to datacenter")]
pub struct NoPath;

/// Finds the way to a datacenter.
#[derive(Clone, Debug)]
pub struct Router {
    local: Arc<str>,
}

/// Where a routed operation goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// This datacenter.
    Local,
}

impl Router {
    /// A router of the datacenter `local`.
    pub fn new(local: &str) -> Self {
        Self { local: Arc::from(local.to_ascii_lowercase()) }
    }

    /// The way to `datacenter`; empty means this one. Names are compared without regard to case.
    pub fn route(&self, datacenter: &str) -> Result<Route, NoPath> {
        if datacenter.is_empty() || datacenter.eq_ignore_ascii_case(&self.local) {
            return Ok(Route::Local);
        }
        Err(NoPath)
    }

    /// The name of this datacenter.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// Every datacenter known, nearest first.
    pub fn datacenters(&self) -> Vec<String> {
        vec![self.local.to_string()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_knows_its_own_datacenter() {
        let router = Router::new("DC1");
        for (datacenter, expected) in
            [("", Ok(Route::Local)), ("dc1", Ok(Route::Local)), ("Dc1", Ok(Route::Local)), ("dc2", Err(NoPath))]
        {
            assert_eq!(router.route(datacenter), expected, "{datacenter}");
        }
        assert_eq!(router.datacenters(), ["dc1"]);
        assert_eq!(NoPath.to_string(), "No path to datacenter");
    }
}

//! Which paths there are: for each its methods, what a caller needs, and its handler.
//!
//! Pure. A pattern that ends in a slash stands for everything below it, the longest one that fits wins, and paths are
//! cleaned first (`//` and `..` are redirected away), as Go's server does and Consul's clients know.

use std::pin::Pin;

use usher_cluster::catalog::Interest;

use super::{
    agent, catalog, catalog_write,
    context::Cx,
    health, operator,
    reply::{Failure, Reply},
    status,
};

/// What a handler's call becomes.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

/// What a caller must be allowed before the handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing: who leads is no secret.
    Nothing,
    /// Reading this agent.
    AgentRead,
    /// Telling this agent what to do.
    AgentWrite,
    /// The operator's view.
    OperatorRead,
    /// Changing what operators look after.
    OperatorWrite,
    /// Nothing as a whole: what the caller may not read is left out of the answer.
    Filtered,
    /// What the names in path and body say; the handler asks.
    Stated,
}

/// Which agent has the answer.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// The one asked.
    Here,
    /// A server: it has the whole catalog.
    Server,
    /// The leader alone.
    Leader,
    /// A server, or the view a client agent has of what the path's last part names.
    Part(fn(&str) -> Interest),
}

/// One path or all paths below one, with one method. A path that answers several has a route for each.
pub(super) struct Route {
    /// The path, or the part before everything below it, ending in a slash.
    pub(super) pattern: &'static str,
    /// The method it answers, besides `OPTIONS`.
    pub(super) method: &'static str,
    /// What a caller needs.
    pub(super) needs: Needs,
    /// Which agent has the answer.
    pub(super) place: Place,
    /// Who answers.
    pub(super) handler: fn(Cx) -> Answering,
}

impl Route {
    const fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// The route of the same path with this method.
    pub(super) fn of_method(&self, method: &str) -> Option<&'static Self> {
        self.siblings().find(|route| route.method == method)
    }

    /// Every method of the path.
    pub(super) fn methods(&self) -> Vec<&'static str> {
        self.siblings().map(|route| route.method).collect()
    }

    fn siblings(&self) -> impl Iterator<Item = &'static Self> {
        let pattern = self.pattern;
        ROUTES.iter().filter(move |route| route.pattern == pattern)
    }
}

const fn get(pattern: &'static str, needs: Needs, handler: fn(Cx) -> Answering) -> Route {
    Route { pattern, method: "GET", needs, place: Place::Here, handler }
}

const fn put(pattern: &'static str, needs: Needs, handler: fn(Cx) -> Answering) -> Route {
    Route { pattern, method: "PUT", needs, place: Place::Here, handler }
}

const fn post(pattern: &'static str, needs: Needs, handler: fn(Cx) -> Answering) -> Route {
    Route { pattern, method: "POST", needs, place: Place::Here, handler }
}

const fn delete(pattern: &'static str, needs: Needs, handler: fn(Cx) -> Answering) -> Route {
    Route { pattern, method: "DELETE", needs, place: Place::Here, handler }
}

/// Every route.
pub(super) static ROUTES: &[Route] = &[
    get("/v1/agent/self", Needs::AgentRead, |cx| Box::pin(agent::own::own(cx))),
    get("/v1/agent/host", Needs::OperatorRead, |cx| Box::pin(agent::host::host(cx))),
    get("/v1/agent/metrics", Needs::AgentRead, |cx| Box::pin(agent::metrics::metrics(cx))),
    get("/v1/agent/monitor", Needs::AgentRead, |cx| Box::pin(agent::monitor::monitor(cx))),
    get("/v1/agent/dns/explain", Needs::AgentRead, |cx| Box::pin(agent::dns::explain(cx))),
    get("/v1/agent/members", Needs::Filtered, |cx| Box::pin(agent::members(cx))),
    put("/v1/agent/join/", Needs::AgentWrite, |cx| Box::pin(agent::join(cx))),
    put("/v1/agent/force-leave/", Needs::AgentWrite, |cx| Box::pin(agent::force_leave(cx))),
    put("/v1/agent/leave", Needs::AgentWrite, |cx| Box::pin(agent::leave(cx))),
    put("/v1/agent/reload", Needs::AgentWrite, |cx| Box::pin(agent::reload(cx))),
    get("/v1/agent/services", Needs::Filtered, |cx| Box::pin(agent::services::services(cx))),
    get("/v1/agent/service/", Needs::Stated, |cx| Box::pin(agent::services::service(cx))),
    get("/v1/agent/checks", Needs::Filtered, |cx| Box::pin(agent::services::checks(cx))),
    get("/v1/agent/health/service/id/", Needs::Filtered, |cx| Box::pin(agent::health::by_id(cx))),
    get("/v1/agent/health/service/name/", Needs::Filtered, |cx| Box::pin(agent::health::by_name(cx))),
    put("/v1/agent/service/register", Needs::Stated, |cx| Box::pin(agent::registration::register_service(cx))),
    put("/v1/agent/service/deregister/", Needs::Stated, |cx| Box::pin(agent::registration::deregister_service(cx))),
    put("/v1/agent/service/maintenance/", Needs::Stated, |cx| Box::pin(agent::maintenance::service(cx))),
    put("/v1/agent/service/renew/", Needs::Stated, |cx| Box::pin(agent::reports::renew(cx))),
    put("/v1/agent/maintenance", Needs::Stated, |cx| Box::pin(agent::maintenance::node(cx))),
    put("/v1/agent/check/register", Needs::Stated, |cx| Box::pin(agent::registration::register_check(cx))),
    put("/v1/agent/check/deregister/", Needs::Stated, |cx| Box::pin(agent::registration::deregister_check(cx))),
    put("/v1/agent/check/pass/", Needs::Stated, |cx| Box::pin(agent::reports::pass(cx))),
    put("/v1/agent/check/warn/", Needs::Stated, |cx| Box::pin(agent::reports::warn(cx))),
    put("/v1/agent/check/fail/", Needs::Stated, |cx| Box::pin(agent::reports::fail(cx))),
    put("/v1/agent/check/update/", Needs::Stated, |cx| Box::pin(agent::reports::update(cx))),
    get("/v1/catalog/datacenters", Needs::Nothing, |cx| Box::pin(catalog::datacenters(cx))),
    get("/v1/catalog/nodes", Needs::Filtered, |cx| Box::pin(catalog::nodes(cx))).at(Place::Server),
    get("/v1/catalog/services", Needs::Filtered, |cx| Box::pin(catalog::services(cx))).at(Place::Server),
    get("/v1/catalog/service/", Needs::Filtered, |cx| Box::pin(catalog::service(cx)))
        .at(Place::Part(Interest::service)),
    get("/v1/catalog/node/", Needs::Filtered, |cx| Box::pin(catalog::node(cx))).at(Place::Part(Interest::node)),
    get("/v1/catalog/node-services/", Needs::Filtered, |cx| Box::pin(catalog::node_services(cx)))
        .at(Place::Part(Interest::node)),
    put("/v1/catalog/register", Needs::Stated, |cx| Box::pin(catalog_write::register(cx))),
    put("/v1/catalog/deregister", Needs::Stated, |cx| Box::pin(catalog_write::deregister(cx))),
    get("/v1/health/node/", Needs::Filtered, |cx| Box::pin(health::node(cx))).at(Place::Part(Interest::node)),
    get("/v1/health/checks/", Needs::Filtered, |cx| Box::pin(health::checks(cx))).at(Place::Server),
    get("/v1/health/state/", Needs::Filtered, |cx| Box::pin(health::state(cx))).at(Place::Server),
    get("/v1/health/service/", Needs::Filtered, |cx| Box::pin(health::service(cx))).at(Place::Part(Interest::service)),
    get("/v1/status/leader", Needs::Nothing, |cx| Box::pin(status::leader(cx))).at(Place::Server),
    get("/v1/status/peers", Needs::Nothing, |cx| Box::pin(status::peers(cx))).at(Place::Server),
    get("/v1/operator/raft/configuration", Needs::OperatorRead, |cx| Box::pin(status::raft_configuration(cx)))
        .at(Place::Server),
    delete("/v1/operator/raft/peer", Needs::OperatorWrite, |cx| Box::pin(operator::remove_peer(cx))).at(Place::Leader),
    get("/v1/operator/autopilot/configuration", Needs::OperatorRead, |cx| Box::pin(operator::autopilot(cx)))
        .at(Place::Server),
    put("/v1/operator/autopilot/configuration", Needs::OperatorWrite, |cx| Box::pin(operator::set_autopilot(cx))),
    get("/v1/operator/autopilot/health", Needs::OperatorRead, |cx| Box::pin(operator::health(cx))).at(Place::Leader),
    get("/v1/operator/keyring", Needs::OperatorRead, |cx| Box::pin(operator::list_keys(cx))),
    post("/v1/operator/keyring", Needs::OperatorWrite, |cx| Box::pin(operator::install_key(cx))),
    put("/v1/operator/keyring", Needs::OperatorWrite, |cx| Box::pin(operator::use_key(cx))),
    delete("/v1/operator/keyring", Needs::OperatorWrite, |cx| Box::pin(operator::remove_key(cx))),
];

/// Where a path leads.
pub(super) enum Found<'a> {
    /// To a route, with the part of the path after its pattern.
    Route(&'static Route, &'a str),
    /// To the same path spelled properly.
    Elsewhere(String),
    /// Nowhere.
    Nothing,
}

/// Looks up a decoded path.
pub(super) fn find(path: &str) -> Found<'_> {
    let cleaned = clean(path);
    if cleaned != path {
        return Found::Elsewhere(cleaned);
    }
    let fits = |route: &&Route| match route.pattern.ends_with('/') {
        true => path.starts_with(route.pattern),
        false => path == route.pattern,
    };
    if let Some(route) = ROUTES.iter().filter(fits).max_by_key(|route| route.pattern.len()) {
        return Found::Route(route, path.strip_prefix(route.pattern).unwrap_or_default());
    }
    let below = format!("{path}/");
    if ROUTES.iter().any(|route| route.pattern == below) {
        return Found::Elsewhere(below);
    }
    Found::Nothing
}

/// A path without empty, `.` and `..` parts; a slash at its end stays.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut cleaned = format!("/{}", parts.join("/"));
    if path.ends_with('/') && cleaned != "/" {
        cleaned.push('/');
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Found, ROUTES, find};

    fn told(path: &str) -> String {
        match find(path) {
            Found::Route(route, tail) => format!("{} {} {tail}", route.method, route.pattern),
            Found::Elsewhere(path) => format!("to {path}"),
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn paths_lead_where_gos_server_leads_them() {
        for (path, expected) in [
            ("/v1/agent/self", "GET /v1/agent/self "),
            ("/v1/agent/self/", "nothing"),
            ("/v1/agent/self/x", "nothing"),
            ("/v1/agent/service/web", "GET /v1/agent/service/ web"),
            ("/v1/agent/service/", "GET /v1/agent/service/ "),
            ("/v1/agent/service", "to /v1/agent/service/"),
            ("/v1/agent/service/register", "PUT /v1/agent/service/register "),
            ("/v1/agent/service/register/", "GET /v1/agent/service/ register/"),
            ("/v1/agent/service/deregister/web", "PUT /v1/agent/service/deregister/ web"),
            ("/v1/agent/service/maintenance/web", "PUT /v1/agent/service/maintenance/ web"),
            ("/v1/agent/maintenance", "PUT /v1/agent/maintenance "),
            ("/v1/agent/maintenance/", "nothing"),
            ("/v1/agent/check/pass/service:web:1", "PUT /v1/agent/check/pass/ service:web:1"),
            ("/v1/agent/check/pass/a/b", "PUT /v1/agent/check/pass/ a/b"),
            ("/v1/agent/service/deregister", "GET /v1/agent/service/ deregister"),
            ("/v1/catalog/service/a/b", "GET /v1/catalog/service/ a/b"),
            ("/v1/health/state/any", "GET /v1/health/state/ any"),
            ("//v1/agent/self", "to /v1/agent/self"),
            ("/v1//catalog/nodes", "to /v1/catalog/nodes"),
            ("/v1/../v1/catalog/nodes", "to /v1/catalog/nodes"),
            ("/v1/catalog/service/../nodes", "to /v1/catalog/nodes"),
            ("/v1/catalog/service/a//", "to /v1/catalog/service/a/"),
            ("/v1", "nothing"),
            ("/v1/", "nothing"),
            ("/v1/catalog", "nothing"),
            ("/v1/catalog/", "nothing"),
            ("/v1/health/bogus/x", "nothing"),
            ("/v2/agent/self", "nothing"),
            ("/", "nothing"),
            ("", "to /"),
            ("*", "to /*"),
        ] {
            assert_eq!(told(path), expected, "{path:?}");
        }
    }

    #[test]
    fn a_path_may_answer_several_methods() {
        let Found::Route(route, _) = find("/v1/operator/keyring") else { panic!("it is a path") };
        assert_eq!(route.methods(), ["GET", "POST", "PUT", "DELETE"]);
        assert_eq!(route.of_method("DELETE").map(|route| route.method), Some("DELETE"));
        assert!(route.of_method("PATCH").is_none());
    }

    #[test]
    fn patterns_are_distinct_and_well_formed() {
        let mut seen = HashSet::new();
        for route in ROUTES {
            assert!(route.pattern.starts_with("/v1/"), "{}", route.pattern);
            assert!(seen.insert((route.pattern, route.method)), "{} {} twice", route.method, route.pattern);
        }
    }
}

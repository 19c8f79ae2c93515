//! `/v1/agent/health/service/…`: a service's health in one status code, for load balancers.

use std::collections::HashMap;

use http::StatusCode;
use usher_cluster::{
    catalog::model::{Check, Service, Status},
    local::LocalState,
};

use super::{
    service_in,
    views::{AgentCheckView, AgentServiceView, ServiceHealthView},
};
use crate::http::{
    context::{Cx, Needed},
    maintenance,
    reply::{Failure, Reply},
};

/// The worst of a service's checks, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Passing,
    Warning,
    Critical,
    Maintenance,
}

impl Health {
    fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Maintenance => maintenance::STATUS,
        }
    }

    fn code(self) -> StatusCode {
        match self {
            Self::Passing => StatusCode::OK,
            Self::Warning => StatusCode::TOO_MANY_REQUESTS,
            Self::Critical | Self::Maintenance => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn of(check: &Check) -> Self {
        if maintenance::is_maintenance(&check.id) {
            return Self::Maintenance;
        }
        match check.status {
            Status::Critical => Self::Critical,
            Status::Warning => Self::Warning,
            Status::Passing | Status::Other(_) => Self::Passing,
        }
    }
}

/// `GET /v1/agent/health/service/id/:id`.
pub(in crate::http) async fn by_id(cx: Cx) -> Result<Reply, Failure> {
    if cx.tail.is_empty() {
        return Err(Failure::internal("Bad request: Missing serviceID"));
    }
    let state = cx.api.agent.local().state();
    let found = service_in(&state, &cx.tail).filter(|service| cx.may(&Needed::service(&service.name)));
    let Some(service) = found else {
        let reason = format!("ServiceId {} not found", cx.tail);
        // As in Consul this one is JSON in either format.
        let reply = match cx.params.value("format") {
            "text" => Reply::json(&reason)?,
            _ => Reply::json(&ServiceHealthView { aggregated_status: "critical", service: None, checks: None })?,
        };
        return Ok(reply.with_status(StatusCode::NOT_FOUND).with_header("x-consul-reason", reason));
    };
    let checks = Checks::of(&state);
    let (health, view) = of_service(&checks, service);
    answer(&cx, health.code(), health.as_str().to_owned(), &view)
}

/// `GET /v1/agent/health/service/name/:name`: every instance here, and the worst of them.
pub(in crate::http) async fn by_name(cx: Cx) -> Result<Reply, Failure> {
    if cx.tail.is_empty() {
        return Err(Failure::internal("Bad request: Missing service Name"));
    }
    let state = cx.api.agent.local().state();
    let checks = Checks::of(&state);
    let found: Vec<_> = state
        .services
        .values()
        .filter(|service| service.name.eq_ignore_ascii_case(&cx.tail) && cx.may(&Needed::service(&service.name)))
        .map(|service| of_service(&checks, service))
        .collect();
    let Some(worst) = found.iter().map(|(health, _)| *health).max() else {
        let reason = format!("ServiceName {} Not Found", cx.tail);
        return answer(&cx, StatusCode::NOT_FOUND, reason, &[(); 0]);
    };
    let views: Vec<_> = found.into_iter().map(|(_, view)| view).collect();
    answer(&cx, worst.code(), worst.as_str().to_owned(), &views)
}

/// JSON, or with `?format=text` the reason alone.
fn answer(cx: &Cx, status: StatusCode, reason: String, view: &impl serde::Serialize) -> Result<Reply, Failure> {
    let reply = match cx.params.value("format") {
        "text" => Reply::text("text/plain", reason.clone()),
        _ => Reply::json(view)?,
    };
    Ok(reply.with_status(status).with_header("x-consul-reason", reason))
}

/// The checks of this agent by the service they are of, so that many services are looked at in one go.
struct Checks<'a> {
    of_node: Vec<&'a Check>,
    of_services: HashMap<&'a str, Vec<&'a Check>>,
}

impl<'a> Checks<'a> {
    fn of(state: &'a LocalState) -> Self {
        let mut checks = Self { of_node: Vec::new(), of_services: HashMap::new() };
        for check in state.checks.values() {
            match check.service_id.as_str() {
                "" => checks.of_node.push(check),
                service => checks.of_services.entry(service).or_default().push(check),
            }
        }
        checks
    }
}

/// The health of one service: its own checks and those of the node decide.
fn of_service<'a>(checks: &Checks<'a>, service: &'a Service) -> (Health, ServiceHealthView<'a>) {
    let own = checks.of_services.get(service.id.as_str()).into_iter().flatten();
    let checks: Vec<&Check> = checks.of_node.iter().chain(own).copied().collect();
    let health = checks.iter().map(|check| Health::of(check)).max().unwrap_or(Health::Passing);
    let view = ServiceHealthView {
        aggregated_status: health.as_str(),
        service: Some(AgentServiceView::from(service)),
        checks: Some(checks.into_iter().map(AgentCheckView::from).collect()),
    };
    (health, view)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use usher_cluster::{
        catalog::model::{Check, Service, Status},
        local::LocalState,
    };

    use super::{Checks, Health, of_service};

    fn health(checks: &[(&str, &str, Status)]) -> Health {
        let service = Arc::new(Service { id: "w1".into(), name: "web".into(), ..Service::default() });
        let checks = checks.iter().map(|(id, service_id, status)| {
            let check = Check {
                id: (*id).to_owned(),
                service_id: (*service_id).to_owned(),
                status: status.clone(),
                ..Check::default()
            };
            ((*id).to_owned(), Arc::new(check))
        });
        let services = [("w1".to_owned(), Arc::clone(&service))].into_iter().collect();
        let state = LocalState { services, checks: checks.collect() };
        of_service(&Checks::of(&state), &service).0
    }

    #[test]
    fn the_worst_of_its_own_and_the_nodes_checks() {
        use Status::{Critical, Passing, Warning};
        assert_eq!(health(&[]), Health::Passing);
        assert_eq!(health(&[("a", "w1", Passing), ("b", "other", Critical)]), Health::Passing);
        assert_eq!(health(&[("a", "w1", Passing), ("b", "", Warning)]), Health::Warning);
        assert_eq!(health(&[("a", "w1", Critical), ("b", "w1", Warning)]), Health::Critical);
        assert_eq!(health(&[("_node_maintenance", "", Critical)]), Health::Maintenance);
        assert_eq!(health(&[("_service_maintenance:w1", "w1", Critical)]), Health::Maintenance);
    }

    #[test]
    fn codes() {
        assert_eq!(Health::Passing.code(), 200);
        assert_eq!(Health::Warning.code(), 429);
        assert_eq!(Health::Critical.code(), 503);
        assert_eq!(Health::Maintenance.code(), 503);
    }
}

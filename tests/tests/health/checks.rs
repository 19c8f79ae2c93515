//! What the tests of this suite say about checks: register, look, wait.

use serde_json::{Value, json};
use usher_tests::{agent::Agent, http::Request, poll::eventually};

/// Registers a service with one check, whose id is `<service>-check`.
pub(crate) fn register(agent: &Agent, service: &str, check: Value) {
    agent.put_ok("/v1/agent/service/register", &definition(service, check));
}

/// A service with one check, whose id is `<service>-check`.
pub(crate) fn definition(service: &str, mut check: Value) -> Value {
    check["CheckID"] = json!(id(service));
    json!({"Name": service, "Port": 80, "Check": check})
}

/// The id of the check of a service that was registered here.
pub(crate) fn id(service: &str) -> String {
    format!("{service}-check")
}

/// A check with a TTL that its program need not report to while a test runs.
pub(crate) fn long_ttl() -> Value {
    json!({"TTL": "10m"})
}

/// Reports a result: `pass`, `warn` or `fail`.
pub(crate) fn report(agent: &Agent, service: &str, verb: &str, note: &str) {
    let target = format!("/v1/agent/check/{verb}/{}?note={note}", id(service));
    let response = agent.http().send(&Request::new("PUT", &target)).unwrap();
    assert_eq!(response.status, 200, "{target}: {}", response.text());
}

/// A check as its agent has it.
pub(crate) fn check(agent: &Agent, id: &str) -> Value {
    agent.get("/v1/agent/checks").json()[id].clone()
}

/// A check of a service as the catalog has it.
pub(crate) fn in_catalog(agent: &Agent, service: &str) -> Value {
    let checks = agent.get(&format!("/v1/health/checks/{service}")).json();
    let id = id(service);
    let found = checks.as_array().and_then(|checks| checks.iter().find(|check| check["CheckID"] == id.as_str()));
    found.cloned().unwrap_or(Value::Null)
}

/// What moved the check in the catalog last: the same as before means that nothing did in between.
pub(crate) fn moved_by(agent: &Agent, service: &str) -> u64 {
    let check = in_catalog(agent, service);
    check["ModifyIndex"].as_u64().unwrap_or_else(|| panic!("{service} has a check in the catalog: {check}"))
}

/// Waits until the catalog has this status of the service's check, and gives the check.
pub(crate) fn becomes(agent: &Agent, service: &str, status: &str) -> Value {
    eventually(&format!("{service} {status}"), || match in_catalog(agent, service) {
        check if check["Status"] == status => Ok(check),
        other => Err(other),
    })
}

/// Waits until the service is answered by DNS and counts as passing.
pub(crate) fn answered(agent: &Agent, service: &str) {
    sees(agent, service, 1);
}

/// Waits until the service is neither answered by DNS nor counts as passing.
pub(crate) fn not_answered(agent: &Agent, service: &str) {
    sees(agent, service, 0);
}

fn sees(agent: &Agent, service: &str, instances: usize) {
    eventually(&format!("{instances} instances of {service}"), || {
        let dns = agent.answer(&format!("{service}.service.consul A"));
        let passing = agent.get(&format!("/v1/health/service/{service}?passing")).json();
        let counts = (dns.len(), passing.as_array().map_or(0, Vec::len));
        if counts == (instances, instances) {
            Ok(())
        } else {
            Err(format!("{counts:?} {}", in_catalog(agent, service)))
        }
    });
}

/// Waits until the agent and its catalog have no such service.
pub(crate) fn is_gone(agent: &Agent, service: &str) {
    eventually(&format!("no {service}"), || {
        let here = agent.get("/v1/agent/services").json();
        let there = agent.get(&format!("/v1/catalog/service/{service}")).json();
        let is_here = here.as_object().is_none_or(|here| here.contains_key(service));
        if !is_here && there == json!([]) { Ok(()) } else { Err(format!("{here} {there}")) }
    });
}

/// The index of the last entry of the log.
pub(crate) fn log_index(agent: &Agent) -> u64 {
    let told = agent.get("/v1/agent/self").json()["Stats"]["raft"]["last_log_index"].clone();
    told.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no index of the log: {told}"))
}

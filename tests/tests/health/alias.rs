//! Checks that follow another service or a node, of this agent or elsewhere.

use serde_json::json;
use usher_tests::{
    agent::Builder,
    cluster::{Cluster, Host},
    poll::eventually,
};

use crate::checks::{answered, becomes, definition, id, long_ttl, not_answered, register, report};

#[test]
fn a_service_follows_another_of_its_agent() {
    let agent = Builder::dev().start();
    register(&agent, "db", long_ttl());
    register(&agent, "web", json!({"AliasService": "db"}));
    becomes(&agent, "web", "critical");
    report(&agent, "db", "pass", "");
    answered(&agent, "web");
    report(&agent, "db", "warn", "");
    becomes(&agent, "web", "warning");
    report(&agent, "db", "pass", "");
    answered(&agent, "web");
    // What is not there any more is not healthy.
    agent.put_ok("/v1/agent/service/deregister/db", &json!({}));
    not_answered(&agent, "web");
    register(&agent, "db", json!({"TTL": "10m", "Status": "passing"}));
    answered(&agent, "web");
}

fn status(host: &Host, service: &str, expected: &str) {
    eventually(&format!("{service} {expected}"), || {
        let checks = host.try_json(&format!("/v1/health/checks/{service}"))?;
        let found = checks.as_array().and_then(|checks| checks.iter().find(|it| it["CheckID"] == id(service).as_str()));
        if found.is_some_and(|check| check["Status"] == expected) { Ok(()) } else { Err(checks.to_string()) }
    });
}

#[test]
fn a_service_follows_another_host() {
    let mut cluster = Cluster::loopback().servers(1).clients(2);
    cluster.formed();
    cluster["c2"].put("/v1/agent/service/register", &definition("db", long_ttl()));
    let one = json!({"AliasNode": "c2", "AliasService": "db"});
    cluster["c1"].put("/v1/agent/service/register", &definition("web", one));
    cluster["c1"].put("/v1/agent/service/register", &definition("node", json!({"AliasNode": "c2"})));
    status(&cluster["s1"], "web", "critical");
    // A node is followed for itself: what its services are like does not count.
    cluster["s1"].sees_service("node", &["c1"]);
    cluster["c2"].put("/v1/agent/check/pass/db-check", &json!({}));
    cluster["s1"].sees_service("web", &["c1"]);
    // The other host dies: its own check tells.
    cluster["c2"].kill();
    status(&cluster["s1"], "node", "critical");
    status(&cluster["s1"], "web", "critical");
}

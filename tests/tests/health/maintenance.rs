//! Maintenance: a service or a whole node is taken out on purpose, and stays out until it is put back.

use serde_json::json;
use usher_tests::{
    agent::{Agent, Builder},
    binary::is_ours,
    http::Request,
};

use crate::checks::{answered, check, not_answered};

#[test]
fn a_service_is_taken_out_over_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let builder = Builder::server(data.path());
    let mut agent = builder.start();
    for name in ["web", "db"] {
        agent.put_ok("/v1/agent/service/register", &json!({"Name": name, "Port": 80}));
        answered(&agent, name);
    }
    agent.put_ok("/v1/agent/service/maintenance/web?enable=true&reason=new+disk", &json!({}));
    let said = check(&agent, "_service_maintenance:web");
    assert_eq!((&said["Status"], &said["Notes"]), (&json!("critical"), &json!("new disk")), "{said}");
    not_answered(&agent, "web");
    answered(&agent, "db");

    agent.kill();
    let agent = builder.start();
    not_answered(&agent, "web");
    answered(&agent, "db");
    agent.put_ok("/v1/agent/service/maintenance/web?enable=false", &json!({}));
    answered(&agent, "web");
    let unknown = agent.put("/v1/agent/service/maintenance/nosuch?enable=true", &json!({}));
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    for target in ["/v1/agent/service/maintenance/web", "/v1/agent/service/maintenance/web?enable=perhaps"] {
        let response = agent.http().send(&Request::new("PUT", target)).unwrap();
        assert_eq!(response.status, 400, "{target}: {}", response.text());
    }
}

/// What the API adds to a service that a file declares is kept as well.
#[test]
fn a_service_of_a_file_is_taken_out_over_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let file =
        json!({"service": {"name": "web", "port": 80, "check": {"id": "own", "ttl": "1h", "status": "passing"}}});
    let builder = Builder::server(data.path()).config(file);
    let mut agent = builder.start();
    answered(&agent, "web");
    let extra = json!({"Name": "extra", "TTL": "1h", "Status": "passing", "ServiceID": "web"});
    agent.put_ok("/v1/agent/check/register", &extra);
    agent.put_ok("/v1/agent/service/maintenance/web?enable=true", &json!({}));
    not_answered(&agent, "web");
    let checks = |agent: &Agent| -> Vec<String> {
        let checks = agent.get("/v1/agent/checks").json();
        checks.as_object().into_iter().flatten().map(|(id, _)| id.clone()).collect()
    };
    let before = checks(&agent);
    assert_eq!(before.len(), 3, "{before:?}");
    for _ in 0..2 {
        agent.kill();
        agent = builder.start();
        assert_eq!(checks(&agent), before);
        not_answered(&agent, "web");
    }
}

#[test]
fn a_node_is_taken_out_by_command() {
    let agent = Builder::dev().start();
    for name in ["web", "db"] {
        agent.put_ok("/v1/agent/service/register", &json!({"Name": name, "Port": 80}));
        answered(&agent, name);
    }
    let run = |words: &[&str]| {
        let ended = agent.cli(words);
        assert_eq!(ended.code, 0, "{words:?}: {}{}", ended.out(), ended.err());
        ended.out()
    };
    run(&["maint", "-enable", "-reason=moving"]);
    not_answered(&agent, "web");
    not_answered(&agent, "db");
    let told = run(&["maint"]);
    assert!(told.contains("moving"), "{told}");
    run(&["maint", "-disable"]);
    answered(&agent, "web");
    run(&["maint", "-enable", "-service=db"]);
    not_answered(&agent, "db");
    answered(&agent, "web");
    run(&["maint", "-disable", "-service=db"]);
    answered(&agent, "db");
    let told = run(&["maint"]);
    assert!(!told.contains("_maintenance"), "{told}");
    if is_ours() {
        assert_ne!(agent.cli(&["maint", "-enable", "-service=nosuch"]).code, 0);
    }
}

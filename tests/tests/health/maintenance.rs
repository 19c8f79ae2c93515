//! Maintenance: a service or a whole node is taken out on purpose, and stays out until it is put back.

use serde_json::json;
use usher_tests::{agent::Builder, binary::is_ours, http::Request};

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

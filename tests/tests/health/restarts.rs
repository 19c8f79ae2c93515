//! What is known of checks outlives kill -9.

use std::path::Path;

use serde_json::{Value, json};
use usher_tests::{agent::Builder, backends::http::Http, binary::is_ours, poll::eventually};

use crate::checks::{answered, becomes, check, id, long_ttl, moved_by, not_answered, register, report};

/// Waits until this result is on disk: what no program waits for is written soon, and lost if the agent dies before.
fn kept(data: &Path, service: &str, status: &str) {
    if !is_ours() {
        return; // Consul writes at once
    }
    eventually(&format!("{service} is kept as {status}"), || {
        let text = std::fs::read_to_string(data.join("check-results")).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.split_once(' ')?.1).ok());
        let last = lines.rfind(|line| line["result"]["check"] == id(service));
        if last.is_some_and(|last| last["result"]["result"]["status"] == status) { Ok(()) } else { Err(text) }
    });
}

#[test]
fn reports_are_remembered() {
    let data = tempfile::tempdir().unwrap();
    let builder = Builder::server(data.path());
    let mut agent = builder.start();
    for (name, verb) in [("well", "pass"), ("warned", "warn"), ("ill", "fail")] {
        register(&agent, name, long_ttl());
        report(&agent, name, verb, &format!("said-{name}"));
    }
    register(&agent, "short", json!({"TTL": "1s"}));
    report(&agent, "short", "pass", "");
    answered(&agent, "short");
    not_answered(&agent, "short");
    answered(&agent, "well");
    becomes(&agent, "warned", "warning");
    becomes(&agent, "ill", "critical");
    kept(data.path(), "short", "critical");
    let before = ["well", "warned"].map(|name| moved_by(&agent, name));
    // What was acknowledged is kept, however soon the end comes.
    report(&agent, "ill", "pass", "");
    report(&agent, "ill", "fail", "said-ill");
    agent.kill();
    let agent = builder.start();
    for (name, status) in [("well", "passing"), ("warned", "warning"), ("ill", "critical"), ("short", "critical")] {
        let check = check(&agent, &id(name));
        assert_eq!(check["Status"], status, "{check}");
        if name != "short" {
            assert_eq!(check["Output"], format!("said-{name}"), "{check}");
        }
    }
    answered(&agent, "well");
    assert_eq!(["well", "warned"].map(|name| moved_by(&agent, name)), before, "nothing was ever different");
}

/// Checks that look for themselves are what they were until they have looked.
#[test]
fn a_restart_makes_nobody_ill() {
    let data = tempfile::tempdir().unwrap();
    let builder = Builder::server(data.path());
    let mut agent = builder.start();
    let server = Http::start();
    register(&agent, "web", json!({"HTTP": server.url("/"), "Interval": "1s"}));
    answered(&agent, "web");
    kept(data.path(), "web", "passing");
    let before = moved_by(&agent, "web");
    agent.kill();
    let agent = builder.start();
    let count = server.count();
    eventually("it looks again", || if server.count() > count { Ok(()) } else { Err(()) });
    answered(&agent, "web");
    assert_eq!(moved_by(&agent, "web"), before);
}

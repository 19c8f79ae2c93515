//! Definitions in files: a reload adds, changes and removes what differs, and leaves the rest alone.

use std::path::Path;

use serde_json::{Value, json};
use usher_tests::{
    agent::{Agent, Builder},
    backends::http::Http,
    poll::eventually,
};

use crate::checks::{answered, check, definition, id, is_gone, long_ttl, moved_by, not_answered, register, report};

fn write(folder: &Path, services: &[Value]) {
    let text = json!({ "services": services }).to_string();
    let new = folder.join("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, folder.join("services.json")).unwrap();
}

fn service(name: &str, mut check: Value) -> Value {
    check["id"] = json!(id(name));
    json!({"name": name, "port": 80, "check": check})
}

fn reload(agent: &Agent) {
    let reloaded = agent.cli(&["reload"]);
    assert_eq!(reloaded.code, 0, "{}", reloaded.err());
}

#[test]
fn a_reload_changes_what_differs_and_keeps_the_rest() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (old, new) = (Http::start(), Http::start());
    new.status(500);
    let http = |server: &Http| json!({"http": server.url("/"), "interval": "1s"});
    let ttl = json!({"ttl": "10m"});
    write(
        folder.path(),
        &[service("kept", ttl.clone()), service("moved", http(&old)), service("dropped", ttl.clone())],
    );
    let agent = Builder::server(data.path()).flag(&format!("-config-dir={}", folder.path().display())).start();
    for name in ["kept", "dropped"] {
        report(&agent, name, "pass", "well");
        answered(&agent, name);
    }
    register(&agent, "by-api", long_ttl());
    report(&agent, "by-api", "pass", "well");
    answered(&agent, "by-api");
    answered(&agent, "moved");
    let before = ["kept", "by-api"].map(|name| moved_by(&agent, name));

    write(folder.path(), &[service("kept", ttl.clone()), service("moved", http(&new)), service("added", ttl)]);
    reload(&agent);
    is_gone(&agent, "dropped");
    not_answered(&agent, "moved");
    assert!(new.count() > 0, "the new address is asked");
    let asked = old.count();
    report(&agent, "added", "pass", "");
    answered(&agent, "added");
    assert_eq!(["kept", "by-api"].map(|name| moved_by(&agent, name)), before);
    assert_eq!(check(&agent, &id("kept"))["Output"], "well");
    let runs = new.count();
    eventually("more runs", || if new.count() > runs + 1 { Ok(()) } else { Err(()) });
    assert!(old.count() <= asked + 1, "the old address is left alone");
}

#[test]
fn checks_are_replaced_only_when_asked_for() {
    let agent = Builder::dev().start();
    let checks = |names: &[&str]| {
        let checks: Vec<Value> =
            names.iter().map(|name| json!({"CheckID": name, "Name": name, "TTL": "10m"})).collect();
        json!({"Name": "web", "Port": 80, "Checks": checks})
    };
    let there = || {
        let checks = agent.get("/v1/agent/checks").json();
        let mut names: Vec<String> = checks.as_object().map(|it| it.keys().cloned().collect()).unwrap_or_default();
        names.sort();
        names
    };
    agent.put_ok("/v1/agent/service/register", &checks(&["a", "b"]));
    agent.put_ok("/v1/agent/check/pass/a", &json!({}));
    agent.put_ok("/v1/agent/service/register", &checks(&["a", "c"]));
    assert_eq!(there(), ["a", "b", "c"]);
    assert_eq!(check(&agent, "a")["Status"], "passing", "a check that stays keeps its status");
    agent.put_ok("/v1/agent/service/register?replace-existing-checks=true", &checks(&["a"]));
    assert_eq!(there(), ["a"]);
    assert_eq!(check(&agent, "a")["Status"], "passing");
    agent.put_ok("/v1/agent/service/register?replace-existing-checks=true", &definition("web", long_ttl()));
    assert_eq!(there(), [id("web")]);
}

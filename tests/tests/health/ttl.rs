//! Checks that programs report to.

use serde_json::json;
use usher_tests::{
    agent::{Agent, Builder},
    binary::is_ours,
    http::Request,
    poll::eventually,
};

use crate::checks::{answered, becomes, check, id, long_ttl, moved_by, not_answered, register, report};

fn put(agent: &Agent, target: &str, body: &str) -> (u16, String) {
    let response = agent.http().send(&Request::new("PUT", target).body(body)).unwrap();
    (response.status, response.text())
}

#[test]
fn reports_decide_until_the_time_is_over() {
    let agent = Builder::dev().start();
    register(&agent, "web", json!({"TTL": "1500ms"}));
    assert_eq!(becomes(&agent, "web", "critical")["Output"], "");
    report(&agent, "web", "pass", "fine");
    answered(&agent, "web");
    let output = check(&agent, &id("web"))["Output"].clone();
    assert_eq!(output, "fine");
    // Nobody reports any more.
    let expired = becomes(&agent, "web", "critical");
    assert!(expired["Output"].as_str().is_some_and(|output| output.contains("TTL expired")), "{expired}");
    not_answered(&agent, "web");
    let body = json!({"Status": "warning", "Output": "not well"}).to_string();
    assert_eq!(put(&agent, &format!("/v1/agent/check/update/{}", id("web")), &body), (200, String::new()));
    assert_eq!(becomes(&agent, "web", "warning")["Output"], "not well");
    // A warning is answered, but does not count as passing.
    assert_eq!(agent.answer("web.service.consul A").len(), 1);
    assert_eq!(agent.get("/v1/health/service/web?passing").json(), json!([]));
}

#[test]
fn reports_for_what_is_no_such_check_are_refused() {
    let agent = Builder::dev().start();
    register(&agent, "tcp", json!({"TCP": "127.0.0.1:1", "Interval": "10m"}));
    register(&agent, "web", long_ttl());
    for target in ["/v1/agent/check/pass/nosuch", "/v1/agent/check/fail/tcp-check"] {
        let (status, text) = put(&agent, target, "");
        assert!(status >= 400 && text.contains("does not have associated TTL"), "{target}: {status} {text}");
    }
    let (status, text) = put(&agent, "/v1/agent/check/update/web-check", r#"{"Status": "fine"}"#);
    assert_eq!((status, text.contains("Invalid check status: 'fine'")), (400, true), "{text}");
}

/// A machine that stood still (or was starved) is no reason to call its services ill: their programs could not report.
#[test]
fn an_agent_that_was_held_gives_everybody_time_to_report() {
    if !is_ours() {
        return;
    }
    let (mut held, clock) = (Builder::dev().start(), Builder::dev().start());
    for agent in [&held, &clock] {
        register(agent, "web", json!({"TTL": "2s"}));
        report(agent, "web", "pass", "");
        becomes(agent, "web", "passing");
    }
    let before = moved_by(&held, "web");
    report(&held, "web", "pass", "");
    held.signal(rustix::process::Signal::STOP);
    // The same check on an agent that goes on tells that the time is over.
    report(&clock, "web", "pass", "");
    becomes(&clock, "web", "critical");
    held.signal(rustix::process::Signal::CONT);
    report(&held, "web", "pass", "");
    assert_eq!(moved_by(&held, "web"), before, "{}", becomes(&held, "web", "passing"));
    // It has not forgotten to look at the clock.
    becomes(&held, "web", "critical");
}

/// Late reports only, never a flood: programs that report much more often than needed.
#[test]
fn output_alone_reaches_the_catalog_now_and_then() {
    let agent = Builder::dev().config(json!({"check_update_interval": "1h"})).start();
    register(&agent, "web", long_ttl());
    report(&agent, "web", "pass", "first");
    becomes(&agent, "web", "passing");
    let before = moved_by(&agent, "web");
    for count in 0..50 {
        report(&agent, "web", "pass", &format!("count-{count}"));
    }
    assert_eq!(check(&agent, &id("web"))["Output"], "count-49", "the agent knows the newest");
    assert_eq!(moved_by(&agent, "web"), before);
    report(&agent, "web", "warn", "now");
    assert_eq!(becomes(&agent, "web", "warning")["Output"], "now", "with the status it goes at once");

    let agent = Builder::dev().config(json!({"check_update_interval": "1s"})).start();
    register(&agent, "web", long_ttl());
    report(&agent, "web", "pass", "first");
    becomes(&agent, "web", "passing");
    report(&agent, "web", "pass", "second");
    eventually("the output of the catalog", || match becomes(&agent, "web", "passing")["Output"].as_str() {
        Some("second") => Ok(()),
        other => Err(other.map(str::to_owned)),
    });
}

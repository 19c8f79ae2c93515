//! What is counted and logged of questions.

use std::time::Duration;

use serde_json::{Value, json};
use usher_tests::agent::{Agent, Builder};
use usher_tests::poll::within;

/// Counts are passed on every ten seconds.
const PATIENCE: Duration = Duration::from_secs(40);

fn agent(config: Value) -> Agent {
    let agent = Builder::dev().config(config).start();
    agent.put_ok("/v1/catalog/register", &json!({"Node": "n1", "Address": "10.0.0.1", "Service": {"Service": "web"}}));
    agent
}

#[test]
fn questions_are_counted_for_prometheus() {
    let agent = agent(json!({}));
    for question in ["web.service.consul A", "web.service.consul SRV", "web.service.consul AAAA", "no.service.consul A"]
    {
        agent.dns(question);
    }
    let wanted = [
        "consul_dns_queries{transport=\"udp\",type=\"A\"} 2",
        "consul_dns_queries{transport=\"udp\",type=\"SRV\"} 1",
        "consul_dns_replies{transport=\"udp\",rcode=\"noerror\"} 3",
        "consul_dns_replies{transport=\"udp\",rcode=\"nxdomain\"} 1",
        "consul_dns_latency_bucket{transport=\"udp\",le=\"+Inf\"} 4",
        "consul_dns_service_queries{service=\"web\"} 3",
        "consul_dns_service_negative{service=\"web\"} 1",
    ];
    within(PATIENCE, || {
        let told = agent.get("/v1/agent/metrics?format=prometheus").text();
        let missing = wanted.iter().find(|line| !told.lines().any(|told| told == **line));
        missing.map_or(Ok(()), |line| Err(format!("{line} is not in\n{told}")))
    })
    .unwrap();
}

#[test]
fn questions_are_logged_if_that_is_wanted() {
    let quiet = agent(json!({}));
    quiet.dns("web.service.consul A");
    let told = agent(json!({"dns_config": {"log_queries": true}}));
    told.dns("WEB.service.consul A");
    let line = told.printed("DNS query");
    for part in ["name=WEB.service.consul.", "type=A", "rcode=0", "answers=1"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(!quiet.output().contains("DNS query"));
}

//! `usher dns explain`: the whole way of a question, from the agent that answers it.

use serde_json::json;
use usher_tests::agent::Builder;

#[test]
fn who_was_left_out_and_why() {
    let agent = Builder::dev().start();
    let instance = |node: &str, address: &str, status: &str, output: &str| {
        json!({
            "Node": node,
            "Address": address,
            "Service": {"Service": "web", "Port": 80, "Tags": ["v1"]},
            "Check": {"CheckID": "alive", "Status": status, "Output": output, "ServiceID": "web"},
        })
    };
    agent.put_ok("/v1/catalog/register", &instance("n1", "10.0.0.1", "passing", ""));
    agent.put_ok("/v1/catalog/register", &instance("n2", "10.0.0.2", "critical", "connect refused\nmore"));
    let said = agent.cli(&["dns", "explain", "v1.web.service.consul"]).out();
    let wanted = [
        "Question:  v1.web.service.consul. A",
        "Read as:   instances of service \"web\" with the tag \"v1\"",
        "           the catalog has 2 instances of it",
        "           1 of 2 instances may be answered",
        "n1    web  10.0.0.1:80  yes         weight 1",
        "n2    web  10.0.0.2:80  no          critical: check \"alive\": connect refused",
        "    answer v1.web.service.consul. 0 A 10.0.0.1",
    ];
    for line in wanted {
        assert!(said.lines().any(|said| said == line), "{line:?} is not in\n{said}");
    }
    let said = agent.cli(&["dns", "explain", "nosuch.service.consul", "SRV"]).out();
    assert!(said.contains("the catalog has no service \"nosuch\""), "{said}");
    assert!(said.contains("Reason:    no service \"nosuch\" (code 0)"), "{said}");
    let said = agent.cli(&["dns", "explain", "a..b"]).err();
    assert!(said.contains("\"a..b\" is not a DNS name"), "{said}");
}

#[test]
fn tier_and_end_of_an_instance_are_registered_and_shown() {
    let agent = Builder::dev().config(json!({"dns_config": {"service_ttl": {"*": "60s"}}})).start();
    let register = ["services", "register", "-name=web", "-address=10.0.0.1", "-port=80", "-priority=7"];
    assert_eq!(agent.cli(&register).out(), "Registered service: web\n");
    agent.put_ok("/v1/agent/service/register", &json!({"ID": "api", "Name": "api", "Address": "10.0.0.2"}));
    assert_eq!(agent.answer("web.service.consul SRV"), ["web.service.consul. 60 SRV 7 1 80 0a000001.addr.dc1.consul."]);
    let shown = agent.get("/v1/agent/service/web").json();
    assert_eq!((&shown["Priority"], &shown["Draining"]), (&json!(7), &json!(null)));
    let again: Vec<&str> = register.into_iter().chain(["-draining"]).collect();
    assert_eq!(agent.cli(&again).out(), "Registered service: web\n");
    assert_eq!(agent.answer("web.service.consul SRV"), ["web.service.consul. 1 SRV 7 0 80 0a000001.addr.dc1.consul."]);
    let shown = agent.get("/v1/catalog/service/web").json();
    assert_eq!((&shown[0]["ServicePriority"], &shown[0]["ServiceDraining"]), (&json!(7), &json!(true)));
    let other = agent.get("/v1/catalog/service/api").json();
    assert_eq!((&other[0]["ServicePriority"], &other[0]["ServiceDraining"]), (&json!(null), &json!(null)));
    let refused = agent.cli(&["services", "register", "-name=web", "-priority=70000"]).err();
    assert!(refused.contains("Invalid priority 70000: it is 0 to 65535"), "{refused}");
}

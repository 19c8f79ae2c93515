//! Every kind of check (aliases have tests of their own) sees its backend well, ill and well again, and DNS and `?passing`
//! follow.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use usher_tests::{
    agent::{Agent, Builder},
    backends::{
        Acceptor,
        dns::Dns,
        docker::Docker,
        grpc::{Grpc, Health},
        http::Http,
        script::{FAIL, PASS, Script},
        silent,
        tls::Authority,
        udp::Udp,
    },
    binary::is_ours,
};

use crate::checks::{answered, becomes, definition, long_ttl, not_answered, register, report};

/// Something a check looks at.
trait Backend {
    /// The check that looks at it.
    fn check(&self) -> Value;
    /// Makes it ill, or well.
    fn set(&self, agent: &Agent, well: bool);
}

impl<F: Fn(&Agent, bool)> Backend for (Value, F) {
    fn check(&self) -> Value {
        let mut check = self.0.clone();
        if check.get("TTL").is_none() {
            check["Interval"] = json!("1s");
        }
        check
    }

    fn set(&self, agent: &Agent, well: bool) {
        self.1(agent, well);
    }
}

fn at(acceptor: &Acceptor, is_up: bool) {
    if is_up { acceptor.up() } else { acceptor.down() }
}

fn grpc(server: Grpc, service: &'static str, mut check: Value) -> impl Backend {
    let suffix = if service.is_empty() { String::new() } else { format!("/{service}") };
    check["GRPC"] = json!(format!("{}{suffix}", server.acceptor().address()));
    server.set(service, Health::Serving);
    (check, move |_: &Agent, well| server.set(service, if well { Health::Serving } else { Health::NotServing }))
}

fn http(server: Http, check: Value) -> impl Backend {
    let mut check = check;
    check["HTTP"] = json!(server.url("/health"));
    (check, move |_: &Agent, well| server.status(if well { 200 } else { 500 }))
}

fn tcp() -> impl Backend {
    let server = silent();
    (json!({"TCP": server.address().to_string()}), move |_: &Agent, well| at(&server, well))
}

fn udp() -> impl Backend {
    let server = Udp::silent();
    let check = json!({"UDP": server.address().to_string(), "Timeout": "1s"});
    (check, move |_: &Agent, well| if well { server.up() } else { server.down() })
}

fn h2ping(server: Grpc, mut check: Value) -> impl Backend {
    check["H2Ping"] = json!(server.acceptor().address().to_string());
    (check, move |_: &Agent, well| at(server.acceptor(), well))
}

/// A name whose address is another one when it is ill.
fn dns() -> impl Backend {
    let server = Dns::start();
    let check = json!({
        "DNS": "db.test", "DNSServer": server.udp().address().to_string(), "DNSType": "A", "DNSExpect": ["192.0.2.1"],
    });
    let set = move |well| server.set("db.test", &[Ipv4Addr::new(192, 0, 2, if well { 1 } else { 2 })]);
    set(true);
    (check, move |_: &Agent, well| set(well))
}

fn script() -> impl Backend {
    let script = Script::new(PASS);
    (json!({"Args": [script.path()]}), move |_: &Agent, well| script.set(if well { PASS } else { FAIL }))
}

fn docker(engine: Docker) -> impl Backend {
    engine.set("c1", 0, "well");
    let check = json!({"DockerContainerID": "c1", "Shell": "/bin/sh", "Args": ["health", "-v"]});
    (check, move |_: &Agent, well| {
        engine.set("c1", if well { 0 } else { 2 }, if well { "well" } else { "ill" });
        assert!(engine.runs().iter().all(|run| run.command.contains(&"health".to_owned())), "{:?}", engine.runs());
    })
}

/// The kinds that Consul has.
fn common(authority: &Authority, engine: Docker) -> Vec<(&'static str, Box<dyn Backend>)> {
    let skip = || json!({"TLSSkipVerify": true});
    let grpc_tls = json!({"GRPCUseTLS": true, "TLSSkipVerify": true});
    vec![
        (
            "ttl",
            Box::new((long_ttl(), |agent: &Agent, well| {
                report(agent, "ttl", if well { "pass" } else { "fail" }, "said");
            })),
        ),
        ("http", Box::new(http(Http::start(), json!({})))),
        ("https", Box::new(http(Http::start_tls(authority), skip()))),
        ("tcp", Box::new(tcp())),
        ("grpc", Box::new(grpc(Grpc::start(), "", json!({})))),
        ("grpc-named", Box::new(grpc(Grpc::start(), "db", json!({})))),
        ("grpc-tls", Box::new(grpc(Grpc::start_tls(authority), "", grpc_tls))),
        ("script", Box::new(script())),
        ("docker", Box::new(docker(engine))),
    ]
}

/// Those that came later, and ours.
fn newer(authority: &Authority) -> Vec<(&'static str, Box<dyn Backend>)> {
    vec![
        ("udp", Box::new(udp())),
        ("h2ping", Box::new(h2ping(Grpc::start(), json!({"H2PingUseTLS": false})))),
        ("h2ping-tls", Box::new(h2ping(Grpc::start_tls(authority), json!({"TLSSkipVerify": true})))),
        ("dns", Box::new(dns())),
    ]
}

#[test]
fn every_kind_follows_its_backend() {
    let authority = Authority::new();
    let engine = Docker::start();
    let agent = Builder::dev().config(json!({"enable_script_checks": true})).env("DOCKER_HOST", &engine.host()).start();
    let mut kinds = common(&authority, engine);
    if is_ours() {
        kinds.extend(newer(&authority));
    }
    for (name, backend) in &kinds {
        register(&agent, name, backend.check());
    }
    for well in [true, false, true] {
        kinds.iter().for_each(|(_, backend)| backend.set(&agent, well));
        for (name, _) in &kinds {
            if well {
                answered(&agent, name);
            } else {
                not_answered(&agent, name);
                becomes(&agent, name, "critical");
            }
        }
    }
    for (name, _) in &kinds {
        let output = becomes(&agent, name, "passing")["Output"].clone();
        assert!(output.as_str().is_some_and(|output| !output.is_empty()), "{name} says something: {output}");
    }
}

#[test]
fn without_an_engine_a_container_is_ill_and_the_reason_is_told() {
    let settings = json!({"enable_script_checks": true});
    let agent = Builder::dev().config(settings).env("DOCKER_HOST", "unix:///nowhere/docker.sock").start();
    let check = json!({
        "DockerContainerID": "c1", "Shell": "/bin/sh", "Args": ["true"], "Interval": "1s", "Status": "passing",
    });
    register(&agent, "web", check);
    let output = becomes(&agent, "web", "critical")["Output"].clone();
    assert!(output.as_str().is_some_and(|output| output.contains("/nowhere/docker.sock")), "{output}");
    let lost = json!({"DockerContainerID": "c1", "Args": [], "Interval": "1s"});
    let refused = agent.put("/v1/agent/service/register", &definition("lost", lost));
    assert_ne!(refused.status, 200, "a container check runs something");
}

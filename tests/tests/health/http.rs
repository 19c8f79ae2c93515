//! HTTP checks: what is sent, what an answer means, and servers that misbehave.

use serde_json::json;
use usher_tests::{
    agent::Builder,
    backends::{
        http::{Http, Mode},
        tls::Authority,
    },
    binary::is_ours,
    poll::eventually,
};

use crate::checks::{answered, becomes, check, id, register};

#[test]
fn statuses_are_judged() {
    let agent = Builder::dev().start();
    let server = Http::start();
    let table = [
        ("s200", 200, "passing"),
        ("s204", 204, "passing"),
        ("s299", 299, "passing"),
        ("s304", 304, "critical"),
        ("s400", 400, "critical"),
        ("s429", 429, "warning"),
        ("s503", 503, "critical"),
    ];
    for (name, status, _) in table {
        server.set_at(&format!("/{status}"), Mode::Status(status, String::new()));
        register(
            &agent,
            name,
            json!({"HTTP": server.url(&format!("/{status}")), "Interval": "1s", "Status": "passing"}),
        );
    }
    for (name, status, expected) in table {
        let said = status.to_string();
        eventually(name, || match check(&agent, &id(name)) {
            check if check["Status"] == expected && check["Output"].as_str().is_some_and(|it| it.contains(&said)) => {
                Ok(())
            }
            other => Err(other),
        });
    }
}

#[test]
fn method_headers_and_body_are_sent() {
    let agent = Builder::dev().start();
    let server = Http::start();
    server.set(Mode::Echo);
    let method = json!({
        "HTTP": server.url("/x?y=z"), "Method": "POST", "Header": {"X-Own": ["one"], "Host": ["other.test"]},
        "Body": "are you well?", "Interval": "1s",
    });
    register(&agent, "web", method);
    answered(&agent, "web");
    let seen = server.seen()[0].clone();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/x?y=z"));
    assert_eq!(seen.headers.get("x-own").map(String::as_str), Some("one"));
    assert_eq!(seen.headers.get("host").map(String::as_str), Some("other.test"));
    assert!(seen.headers.get("user-agent").is_some_and(|agent| !agent.is_empty()), "{seen}");
    if is_ours() {
        // Consul 1.8 knows no body in a check.
        assert_eq!(seen.body, b"are you well?", "{seen}");
    }
    let output = becomes(&agent, "web", "passing")["Output"].clone();
    assert!(output.as_str().is_some_and(|output| output.contains("POST /x?y=z")), "{output}");
}

#[test]
fn redirects_are_followed_unless_told_otherwise() {
    let agent = Builder::dev().start();
    let (front, back) = (Http::start(), Http::start());
    front.set(Mode::Redirect(back.url("/deep")));
    register(&agent, "web", json!({"HTTP": front.url("/"), "Interval": "1s"}));
    answered(&agent, "web");
    assert_eq!(back.seen()[0].target, "/deep");
    if is_ours() {
        register(&agent, "strict", json!({"HTTP": front.url("/"), "DisableRedirects": true, "Interval": "1s"}));
        eventually("a redirect is no success", || match check(&agent, &id("strict")) {
            check if check["Output"].as_str().is_some_and(|output| output.contains("302")) => Ok(()),
            other => Err(other),
        });
    }
    // One that leads back to itself ends.
    front.set(Mode::Redirect(front.url("/")));
    becomes(&agent, "web", "critical");
}

#[test]
fn certificates_are_verified() {
    let authority = Authority::new();
    // Consul expects the agent's own name in the certificate unless told another.
    let settings =
        json!({"ca_file": authority.file(), "enable_agent_tls_for_checks": true, "server_name": "localhost"});
    let (trusting, doubting) = (Builder::dev().config(settings).start(), Builder::dev().start());
    let server = Http::start_tls(&authority);
    let own = json!({"HTTP": server.url("/"), "Interval": "1s"});
    register(&trusting, "web", own.clone());
    register(&doubting, "web", own.clone());
    answered(&trusting, "web");
    eventually("an unknown authority", || match check(&doubting, &id("web"))["Output"].as_str() {
        Some(output) if output.to_lowercase().contains("certificate") => Ok(()),
        other => Err(other.map(str::to_owned)),
    });
    if is_ours() {
        // Consul 1.8 takes no name for one check.
        let mut other = own;
        other["TLSServerName"] = json!("other.test");
        register(&trusting, "other", other);
        eventually("a certificate for another name", || match check(&trusting, &id("other"))["Output"].as_str() {
            Some(output) if output.contains("other.test") => Ok(()),
            other => Err(other.map(str::to_owned)),
        });
    }
}

#[test]
fn servers_that_misbehave_hold_nothing_up() {
    let agent = Builder::dev().start();
    let server = Http::start();
    for (path, mode) in [("/hang", Mode::Hang), ("/slow", Mode::Slow), ("/flood", Mode::Flood)] {
        server.set_at(path, mode);
        let check = json!({"HTTP": server.url(path), "Interval": "1s", "Timeout": "1s", "Status": "passing"});
        register(&agent, &path[1..], check);
    }
    register(&agent, "web", json!({"HTTP": server.url("/"), "Interval": "1s", "Timeout": "1s"}));
    becomes(&agent, "hang", "critical");
    answered(&agent, "web");
    for name in ["slow", "flood"] {
        let output = eventually("a result", || match check(&agent, &id(name))["Output"].as_str() {
            Some(output) if !output.is_empty() => Ok(output.to_owned()),
            other => Err(other.map(str::to_owned)),
        });
        assert!(output.len() < 5_000, "{name}: {} bytes", output.len());
    }
    let before = agent.resident();
    let runs = server.count();
    eventually("more runs", || if server.count() > runs + 12 { Ok(()) } else { Err(server.count()) });
    let grown = agent.resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
}

#[test]
fn output_is_kept_to_its_limit() {
    let agent = Builder::dev().start();
    let server = Http::start();
    server.set(Mode::Status(200, "x".repeat(10_000)));
    let names = if is_ours() { &["usual", "small"][..] } else { &["usual"][..] };
    for name in names {
        let mut check = json!({"HTTP": server.url("/"), "Interval": "1s"});
        if *name == "small" {
            check["OutputMaxSize"] = json!(100);
        }
        register(&agent, name, check);
        let output = becomes(&agent, name, "passing")["Output"].clone();
        let kept = output.as_str().map_or(0, |output| output.matches('x').count());
        let limit = if *name == "small" { 100 } else { 4096 };
        assert!((limit / 2..=limit + 1).contains(&kept), "{name}: {kept} of the body in {output}");
    }
}

#[test]
fn runs_of_one_check_do_not_overlap() {
    let agent = Builder::dev().start();
    let server = Http::start();
    server.set(Mode::Hang);
    register(&agent, "web", json!({"HTTP": server.url("/"), "Interval": "1s", "Timeout": "1500ms"}));
    eventually("several runs", || if server.count() >= 3 { Ok(()) } else { Err(server.count()) });
    assert_eq!(server.most_at_once(), 1);
}

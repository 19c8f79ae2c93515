//! Checks while servers come and go: what happens among them is no news about a service.

use serde_json::{Value, json};
use usher_tests::{
    backends::http::Http,
    cluster::{Cluster, Host},
    poll::eventually,
};

use crate::checks::{definition, id, long_ttl};

/// The service's check as this host's catalog has it.
fn check(host: &Host, service: &str) -> Result<Value, String> {
    let checks = host.try_json(&format!("/v1/health/checks/{service}?stale"))?;
    let id = id(service);
    let found = checks.as_array().and_then(|checks| checks.iter().find(|check| check["CheckID"] == id.as_str()));
    found.cloned().ok_or_else(|| format!("{}: no check of {service}: {checks}", host.name))
}

#[test]
fn a_change_of_the_leader_makes_nobody_ill() {
    let mut cluster = Cluster::loopback().servers(3).clients(1);
    cluster.formed();
    let backend = Http::start();
    let staying = cluster.follower();
    let at = ["c1", &staying].map(str::to_owned);
    for host in &at {
        let http = json!({"HTTP": backend.url("/"), "Interval": "1s"});
        cluster[host].put("/v1/agent/service/register", &definition(&format!("http-{host}"), http));
        cluster[host].put("/v1/agent/service/register", &definition(&format!("ttl-{host}"), long_ttl()));
        cluster[host].put(&format!("/v1/agent/check/pass/ttl-{host}-check"), &json!({}));
    }
    let services: Vec<String> = at.iter().flat_map(|host| [format!("http-{host}"), format!("ttl-{host}")]).collect();
    let passing = |cluster: &Cluster| -> Vec<u64> {
        let moved = |service: &String| {
            eventually("passing", || match check(&cluster[&staying], service)? {
                check if check["Status"] == "passing" => Ok(check["ModifyIndex"].as_u64().unwrap_or(0)),
                other => Err(other.to_string()),
            })
        };
        services.iter().map(moved).collect()
    };
    let before = passing(&cluster);
    for _ in 0..2 {
        let leader = cluster.leader();
        if leader == staying {
            cluster[&leader].freeze();
        } else {
            cluster[&leader].kill();
        }
        let others: Vec<String> = cluster.running_servers().into_iter().filter(|name| *name != leader).collect();
        eventually("another leader", || cluster[&others[0]].try_register_elsewhere("after"));
        let (count, wanted) = (backend.count(), 4);
        eventually("runs meanwhile", || if backend.count() > count + wanted { Ok(()) } else { Err(()) });
        if leader == staying {
            cluster[&leader].thaw();
        } else {
            cluster[&leader].start();
        }
        cluster.formed();
    }
    assert_eq!(passing(&cluster), before, "nothing of these checks was written");
}

/// Without a leader results are kept, and come into the catalog when there is one again.
#[test]
fn what_happens_without_a_leader_is_told_later() {
    let mut cluster = Cluster::loopback().servers(3).clients(1);
    cluster.formed();
    cluster["c1"].put("/v1/agent/service/register", &definition("web", long_ttl()));
    cluster["c1"].put("/v1/agent/check/pass/web-check", &json!({}));
    cluster["s1"].sees_service("web", &["c1"]);
    for name in ["s2", "s3"] {
        cluster[name].kill();
    }
    eventually("no leader", || match cluster["s1"].try_get("/v1/catalog/nodes")?.status {
        500 => Ok(()),
        other => Err(format!("{other}")),
    });
    cluster["c1"].put("/v1/agent/check/fail/web-check?note=broken", &json!({}));
    let known = cluster["c1"].json("/v1/agent/checks")["web-check"].clone();
    assert_eq!((&known["Status"], &known["Output"]), (&json!("critical"), &json!("broken")));
    for name in ["s2", "s3"] {
        cluster[name].start();
    }
    eventually("it is told", || match check(&cluster["s1"], "web")? {
        check if check["Status"] == "critical" && check["Output"] == "broken" => Ok(()),
        other => Err(other.to_string()),
    });
}

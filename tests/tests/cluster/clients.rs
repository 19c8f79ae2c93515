//! Client agents: they keep their own registrations, forward the rest, and answer DNS from what servers push to them.

use serde_json::json;
use usher_tests::{cluster::Cluster, poll::eventually};

#[test]
fn a_client_registers_and_everybody_finds_it() {
    let cluster = Cluster::loopback().servers(3).clients(2);
    cluster.formed();
    cluster["c1"].register("web", 80);
    let address = cluster.address("c1").to_string();
    cluster.answered_everywhere("web.service.consul A", &[&address]);
    cluster.answered_everywhere("c1.node.consul A", &[&address]);
    for name in ["c1", "c2", "s1"] {
        cluster[name].sees_service("web", &["c1"]);
    }
    // Written at one client, read at another, at once: both go through the leader.
    cluster["c1"].try_register_elsewhere("db").unwrap();
    let found = cluster["c2"].json("/v1/catalog/service/db?consistent");
    assert_eq!(found[0]["ServiceName"], "db", "{found}");
}

/// What was asked for once is followed: changes made elsewhere arrive by themselves.
#[test]
fn a_client_follows_changes_made_elsewhere() {
    let cluster = Cluster::loopback().servers(3).clients(2);
    cluster.formed();
    let (first, second) = (cluster.address("c1").to_string(), cluster.address("s2").to_string());
    cluster["c2"].answered("web.service.consul A", &[]);
    cluster["c1"].register("web", 80);
    cluster["c2"].answered("web.service.consul A", &[&first]);
    cluster["s2"].register("web", 81);
    cluster["c2"].answered("web.service.consul A", &[&first, &second]);
    cluster["c2"].sees_service("web", &["c1", "s2"]);
    cluster["c1"].put("/v1/agent/service/deregister/web", &json!({}));
    cluster["c2"].answered("web.service.consul A", &[&second]);
    cluster["c2"].sees_service("web", &["s2"]);
}

#[test]
fn a_client_outlives_the_death_of_its_server() {
    let mut cluster = Cluster::loopback().servers(3).clients(1);
    cluster.formed();
    cluster["c1"].register("web", 80);
    let address = cluster.address("c1").to_string();
    cluster["c1"].answered("web.service.consul A", &[&address]);
    // Whichever server it asks: each dies once, and is back before the next one does.
    for name in ["s1", "s2", "s3"] {
        cluster[name].kill();
        assert_eq!(cluster["c1"].answers("web.service.consul A").unwrap().len(), 1, "answered while {name} is dead");
        eventually("a write through the client", || cluster["c1"].try_register_elsewhere(&format!("without-{name}")));
        cluster["c1"].answered(&format!("without-{name}.service.consul A"), &["10.9.9.9"]);
        cluster["c1"].sees_service("web", &["c1"]);
        cluster[name].start();
        cluster.formed();
    }
}

#[test]
fn a_client_answers_dns_without_any_server() {
    let mut cluster = Cluster::loopback().servers(1).clients(1);
    cluster.formed();
    cluster["c1"].register("web", 80);
    let address = cluster.address("c1").to_string();
    cluster["c1"].answered("web.service.consul A", &[&address]);
    cluster["s1"].kill();
    if usher_tests::binary::is_ours() {
        // The reference answers SERVFAIL here: it keeps nothing.
        assert_eq!(cluster["c1"].answers("web.service.consul A").unwrap().len(), 1);
    }
    cluster["s1"].start();
    eventually("a write again", || cluster["c1"].try_register_elsewhere("after"));
    cluster["c1"].answered("after.service.consul A", &["10.9.9.9"]);
}

#[test]
fn registrations_outlive_the_agent() {
    let mut cluster = Cluster::loopback().servers(1).clients(1);
    cluster.formed();
    cluster["c1"].register("web", 80);
    cluster["c1"].register("api", 81);
    cluster["c1"].put("/v1/agent/service/deregister/api", &json!({}));
    let address = cluster.address("c1").to_string();
    cluster["c1"].kill();
    cluster["c1"].start();
    cluster.formed();
    cluster.answered_everywhere("web.service.consul A", &[&address]);
    cluster.answered_everywhere("api.service.consul A", &[]);
    let services = cluster["c1"].json("/v1/agent/services");
    assert!(services.get("web").is_some() && services.get("api").is_none(), "{services}");
}

/// Anti-entropy: the agent's own registrations come back, agentless ones are left alone.
#[test]
fn what_differs_in_the_catalog_is_put_right() {
    let mut cluster = Cluster::loopback().servers(1).clients(1);
    cluster.formed();
    cluster["c1"].register("web", 80);
    cluster["s1"].try_register_elsewhere("agentless").unwrap();
    cluster["s1"].sees_service("web", &["c1"]);
    cluster["s1"].put("/v1/catalog/deregister", &json!({"Node": "c1", "ServiceID": "web"}));
    cluster["s1"].put("/v1/catalog/register", &json!({"Node": "c1", "Address": cluster.address("c1").to_string(), "SkipNodeUpdate": true, "Service": {"Service": "stranger"}}));
    // At its start at the latest an agent compares.
    cluster["c1"].kill();
    cluster["c1"].start();
    cluster["s1"].sees_service("web", &["c1"]);
    cluster["s1"].sees_service("stranger", &[]);
    cluster["s1"].answered("agentless.service.consul A", &["10.9.9.9"]);
}

#[test]
fn the_instances_of_a_dead_host_vanish_and_come_back() {
    let mut cluster = Cluster::loopback().servers(3).clients(2);
    cluster.formed();
    for name in ["c1", "c2"] {
        cluster[name].register("web", 80);
    }
    let (first, second) = (cluster.address("c1").to_string(), cluster.address("c2").to_string());
    cluster.answered_everywhere("web.service.consul A", &[&first, &second]);
    cluster["c2"].kill();
    cluster.answered_everywhere("web.service.consul A", &[&first]);
    let checks = cluster["s1"].json("/v1/health/node/c2");
    assert_eq!(checks[0]["Status"], "critical", "{checks}");
    cluster["c2"].start();
    cluster.answered_everywhere("web.service.consul A", &[&first, &second]);
}

/// A program registers where it runs while there is no leader: kept, told in the log, and synchronised later.
#[test]
fn a_registration_without_a_leader_is_kept_and_comes_later() {
    let mut cluster = Cluster::loopback().servers(1).clients(1);
    cluster.formed();
    cluster["s1"].kill();
    // Whether the program is told of a success or not: it is kept.
    let _either = cluster["c1"].try_put("/v1/agent/service/register", &json!({"Name": "web", "Port": 80}));
    let services = cluster["c1"].json("/v1/agent/services");
    assert!(services.get("web").is_some(), "{services}");
    cluster["s1"].start();
    cluster["s1"].sees_service("web", &["c1"]);
}

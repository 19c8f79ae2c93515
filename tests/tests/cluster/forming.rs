//! How a cluster comes to be: once, with those who were waited for, and more servers later.

use std::collections::BTreeSet;

use serde_json::json;
use usher_tests::{
    cluster::{Cluster, Role},
    poll::eventually,
};

#[test]
fn three_servers_found_one_cluster() {
    let cluster = Cluster::loopback().servers(3);
    cluster.formed();
    let leader = cluster.leader();
    cluster[&leader].try_register_elsewhere("web").unwrap();
    cluster.answered_everywhere("web.service.consul A", &["10.9.9.9"]);
    cluster.answered_everywhere(
        "consul.service.consul A",
        &["s1", "s2", "s3"].map(|name| cluster.address(name).to_string()).each_ref().map(String::as_str),
    );
}

/// Two alone wait for the third; founded, a restart of all founds nothing new.
#[test]
fn a_cluster_is_founded_once() {
    let mut cluster = Cluster::loopback();
    for name in ["s1", "s2"] {
        cluster.add(name, Role::Server { founders: 3 }, json!({}));
    }
    cluster.members(&["s1", "s2"], &[("s1", "alive"), ("s2", "alive")]);
    assert!(cluster.try_leader().is_err(), "two of three expected servers found nothing");
    cluster.add("s3", Role::Server { founders: 3 }, json!({}));
    cluster.formed();
    let leader = cluster.leader();
    cluster[&leader].try_register_elsewhere("web").unwrap();

    // One that comes to a founded cluster with the same expectation is taken in, and founds none of its own.
    cluster.add("s4", Role::Server { founders: 3 }, json!({"autopilot": {"server_stabilization_time": "1s"}}));
    cluster.voters(4);
    cluster["s4"].answered("web.service.consul A", &["10.9.9.9"]);
    let leaders: BTreeSet<String> = cluster
        .hosts()
        .iter()
        .map(|host| host.json("/v1/status/leader").as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(leaders.len(), 1, "{leaders:?}");
}

#[test]
fn more_servers_join_and_vote() {
    let settings = json!({"autopilot": {"server_stabilization_time": "1s"}});
    let mut cluster = Cluster::loopback().with(settings).servers(3);
    cluster.formed();
    let leader = cluster.leader();
    for number in 0..50 {
        cluster[&leader].try_register_elsewhere(&format!("before{number}")).unwrap();
    }
    for name in ["s4", "s5"] {
        cluster.add(name, Role::Server { founders: 0 }, json!({}));
    }
    cluster.formed();
    for name in ["s4", "s5"] {
        cluster[name].answered("before49.service.consul A", &["10.9.9.9"]);
    }
    // Two of five may die.
    for name in ["s1", "s2"] {
        cluster[name].kill();
    }
    let leader = cluster.leader();
    eventually("a write with three of five", || cluster[&leader].try_register_elsewhere("after"));
    cluster.answered_everywhere("after.service.consul A", &["10.9.9.9"]);
}

#[test]
fn one_server_grows_to_three() {
    let settings = json!({"autopilot": {"server_stabilization_time": "1s"}});
    let mut cluster = Cluster::loopback().with(settings);
    cluster.add("s1", Role::Server { founders: 1 }, json!({}));
    cluster.formed();
    cluster["s1"].try_register_elsewhere("web").unwrap();
    for name in ["s2", "s3"] {
        cluster.add(name, Role::Server { founders: 0 }, json!({}));
    }
    cluster.formed();
    cluster.answered_everywhere("web.service.consul A", &["10.9.9.9"]);
    cluster["s1"].kill();
    let leader = cluster.leader();
    eventually("a write without the founder", || cluster[&leader].try_register_elsewhere("after"));
}

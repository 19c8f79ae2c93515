//! Who is there, as members and commands tell it: joining, leaving, being made to leave, and being taken for another.

use rustix::process::Signal;
use serde_json::json;
use usher_tests::{
    binary,
    cluster::{Cluster, Host, Role},
    poll::eventually,
};

#[test]
fn members_in_columns() {
    let cluster = Cluster::loopback().servers(1).clients(1);
    cluster.formed();
    cluster.members(&["s1", "c1"], &[("s1", "alive"), ("c1", "alive")]);
    for asked in ["s1", "c1"] {
        let text = cluster[asked].cli_ok(&["members"]);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"]);
        let (server, client) = (&rows[1], &rows[2]);
        let at = |name: &str| format!("{}:8301", cluster.address(name));
        assert_eq!(server[..4], ["s1", &at("s1"), "alive", "server"], "{text}");
        assert_eq!(server[5..], ["2", "dc1", "<all>"], "{text}");
        assert_eq!(client[..4], ["c1", &at("c1"), "alive", "client"], "{text}");
        assert_eq!(client[5..], ["2", "dc1", "<default>"], "{text}");
        let detailed = cluster[asked].cli_ok(&["members", "-detailed"]);
        let line = |name: &str| detailed.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        for tag in ["role=consul", "port=8300", "dc=dc1", "vsn=2", "raft_vsn=3", "wan_join_port=8302"] {
            assert!(line("s1").contains(tag), "{tag}: {detailed}");
        }
        assert!(line("c1").contains("role=node") && !line("c1").contains("port="), "{detailed}");
        assert_eq!(cluster[asked].cli(&["members", "-status=failed"]).code, 2);
    }
    let wan = cluster["s1"].cli_ok(&["members", "-wan"]);
    assert!(wan.contains(&format!("s1.dc1  {}:8302", cluster.address("s1"))), "{wan}");
    assert_eq!(cluster["c1"].cli(&["members", "-wan"]).code, 2);
}

#[test]
fn join_by_command() {
    let mut cluster = Cluster::loopback().with(json!({"retry_join": null}));
    cluster.add("s1", Role::Server { founders: 1 }, json!({"retry_join": null}));
    cluster.add("c1", Role::Client, json!({"retry_join": null}));
    eventually("the agents run", || cluster["c1"].try_members().and_then(|_| cluster["s1"].try_members()));
    let nobody = "127.1.1.1";
    let refused = cluster["c1"].cli(&["join", nobody]);
    assert_eq!(refused.code, 1, "{}", refused.out());
    assert!(refused.err().contains("Error joining address '127.1.1.1'"), "{}", refused.err());
    let server = cluster.address("s1").to_string();
    let text = cluster["c1"].cli_ok(&["join", &server]);
    assert_eq!(text, "Successfully joined cluster by contacting 1 nodes.\n");
    cluster.members(&["s1", "c1"], &[("s1", "alive"), ("c1", "alive")]);
    cluster.formed();
}

#[test]
fn leaving_is_known_at_once() {
    let mut cluster = Cluster::loopback().servers(3).clients(1);
    cluster.formed();
    cluster["c1"].register("web", 80);
    cluster["s1"].sees_service("web", &["c1"]);
    let told = cluster["c1"].cli_ok(&["leave"]);
    assert_eq!(told, "Graceful leave complete\n");
    assert!(cluster["c1"].wait().success());
    cluster.members(&["s1", "s2", "s3"], &[("s1", "alive"), ("s2", "alive"), ("s3", "alive"), ("c1", "left")]);
    // An agent of the reference that leaves soon after its start registers itself once more on its way out.
    for name in ["s1", "s2", "s3"].into_iter().filter(|_| binary::is_ours()) {
        cluster[name].sees_service("web", &[]);
        eventually("the node is gone from the catalog", || match cluster[name].try_json("/v1/catalog/node/c1")? {
            node if node.is_null() => Ok(()),
            node => Err(node.to_string()),
        });
    }
    // It comes back with what it had.
    cluster["c1"].start();
    cluster["s1"].sees_service("web", &["c1"]);
}

/// A leader that leaves hands over, and is out of the voters.
#[test]
fn a_server_that_leaves_is_no_voter() {
    let mut cluster = Cluster::loopback().servers(3);
    cluster.formed();
    let leader = cluster.leader();
    cluster[&leader].cli_ok(&["leave"]);
    assert!(cluster[&leader].wait().success());
    cluster.voters(2);
    let next = cluster.leader();
    assert_ne!(next, leader);
    eventually("a write", || cluster[&next].try_register_elsewhere("after"));
    cluster[&leader].start();
    cluster.formed();
    cluster[&leader].answered("after.service.consul A", &["10.9.9.9"]);
}

#[test]
fn a_client_leaves_on_sigterm_and_a_server_does_not() {
    let mut cluster = Cluster::loopback().servers(3).clients(1);
    cluster.formed();
    let server = cluster.follower();
    assert!(cluster["c1"].end(Signal::TERM).success());
    cluster[&server].end(Signal::TERM);
    let leader = cluster.leader();
    eventually("the client left, the server failed", || {
        let members = cluster[&leader].try_members()?;
        let state = |name: &str| members.get(name).map(String::as_str);
        if (state("c1"), state(&server)) == (Some("left"), Some("failed")) {
            Ok(())
        } else {
            Err(format!("{members:?}"))
        }
    });
}

#[test]
fn a_dead_member_is_made_to_leave() {
    let mut cluster = Cluster::loopback().servers(1).clients(2);
    cluster.formed();
    for name in ["c1", "c2"] {
        cluster[name].kill();
    }
    cluster.members(&["s1"], &[("s1", "alive"), ("c1", "failed"), ("c2", "failed")]);
    let refused = cluster["s1"].cli(&["force-leave", "nosuch"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err().contains("agent: No node found with name 'nosuch'"), "{}", refused.err());
    cluster["s1"].cli_ok(&["force-leave", "c1"]);
    cluster.members(&["s1"], &[("s1", "alive"), ("c1", "left"), ("c2", "failed")]);
    cluster["s1"].cli_ok(&["force-leave", "-prune", "c2"]);
    cluster.members(&["s1"], &[("s1", "alive"), ("c1", "left")]);
    eventually("both nodes are gone from the catalog", || {
        let nodes = cluster["s1"].try_json("/v1/catalog/nodes")?;
        if nodes.as_array().is_some_and(|nodes| nodes.len() == 1) { Ok(()) } else { Err(nodes.to_string()) }
    });
    // Forgotten is not banned.
    cluster["c2"].start();
    cluster.members(&["s1"], &[("s1", "alive"), ("c1", "left"), ("c2", "alive")]);
}

#[test]
fn a_dead_server_is_removed_by_an_operator() {
    let settings = json!({"autopilot": {"cleanup_dead_servers": false}});
    let mut cluster = Cluster::loopback().with(settings).servers(3);
    cluster.formed();
    let dead = cluster.follower();
    cluster[&dead].kill();
    let leader = cluster.leader();
    let address = format!("-address={}:8300", cluster.address(&dead));
    let told = cluster[&leader].cli_ok(&["operator", "raft", "remove-peer", &address]);
    assert_eq!(told, format!("Removed peer with address \"{}:8300\"\n", cluster.address(&dead)));
    cluster.voters(2);
    let again = cluster[&leader].cli(&["operator", "raft", "remove-peer", &address]);
    assert!(again.code == 1 && again.err().contains("was not found in the Raft configuration"), "{}", again.err());
}

#[test]
fn autopilot_by_command() {
    let cluster = Cluster::loopback().servers(3).clients(1);
    cluster.formed();
    for name in ["s1", "s2", "s3", "c1"] {
        eventually("all servers are healthy", || {
            let health = cluster[name].try_json("/v1/operator/autopilot/health")?;
            let right = health["Healthy"] == true && health["FailureTolerance"] == 1;
            let servers = health["Servers"].as_array().map_or(0, Vec::len);
            if right && servers == 3 { Ok(()) } else { Err(health.to_string()) }
        });
    }
    let set = ["operator", "autopilot", "set-config", "-max-trailing-logs=99", "-cleanup-dead-servers=false"];
    assert_eq!(cluster["c1"].cli_ok(&set), "Configuration updated!\n");
    for name in ["s1", "s2", "s3", "c1"] {
        let shown = cluster[name].cli_ok(&["operator", "autopilot", "get-config"]);
        let right = ["CleanupDeadServers = false", "LastContactThreshold = 200ms", "MaxTrailingLogs = 99"];
        assert!(right.iter().all(|line| shown.contains(line)), "{shown}");
    }
}

/// Two hosts with one id (a disk was copied): the second is refused in the same way.
#[test]
fn two_hosts_with_one_id_are_told_apart() {
    let id = "adf4238a-882b-9ddc-4a9d-5b6758e4159e";
    let mut cluster = Cluster::loopback().servers(1);
    cluster.add("c1", Role::Client, json!({"node_id": id}));
    cluster.formed();
    let server = cluster.address("s1").to_string();
    let second = cluster.add("copy", Role::Client, json!({"node_id": id, "retry_join": [server]})).address.to_string();
    let first = cluster.address("c1").to_string();
    eventually("the conflict is told with both addresses", || {
        let logs: String = cluster.hosts().iter().map(Host::log).collect();
        let told = logs.lines().any(|line| line.contains(&first) && line.contains(&second));
        if told { Ok(()) } else { Err("no log names both") }
    });
    cluster.members(&["s1"], &[("s1", "alive"), ("c1", "alive")]);
}

/// Two hosts under one name: the second is refused, and the error tells which two.
#[test]
fn two_hosts_with_one_name_are_told_apart() {
    let mut cluster = Cluster::loopback().servers(1).clients(1);
    cluster.formed();
    let second = cluster.prepare("c1b", Role::Client, json!({"node_name": "c1"})).address.to_string();
    cluster["c1b"].start();
    let first = cluster.address("c1").to_string();
    eventually("the conflict is told with both addresses", || {
        let logs: String = cluster.hosts().iter().map(Host::log).collect();
        let told = logs.lines().any(|line| line.contains(&first) && line.contains(&second) && line.contains("c1"));
        if told { Ok(()) } else { Err("no log names both") }
    });
    // The first one stays who it was.
    cluster["s1"].answered("c1.node.consul A", &[&first]);
}

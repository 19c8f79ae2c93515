//! Servers that die, hang and come back: nothing acknowledged is lost, and writes go on while a quorum lives.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::json;
use usher_tests::{
    cluster::{Cluster, Host, Role},
    dns::{self, Options, TIMEOUT},
    http::{Http, Request},
    poll::eventually,
};

/// Registers services, one after another, through whichever server answers, until told to end; gives those acknowledged.
fn writer(servers: &[Http], prefix: &str, end: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for (count, server) in (0..).zip(servers.iter().cycle()) {
        if end.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{prefix}-{count}");
        let body = json!({"Node": format!("node-{name}"), "Address": "10.9.9.9", "Service": {"Service": name}});
        let request = Request::new("PUT", "/v1/catalog/register").body(body.to_string());
        if server.send(&request).is_ok_and(|response| response.status == 200) {
            acknowledged.push(name);
        }
    }
    acknowledged
}

/// Keeps writing while `fault` happens, and until writes are acknowledged again after it; gives what was acknowledged.
fn writing_through(cluster: &mut Cluster, survivors: &[String], fault: impl FnOnce(&mut Cluster)) -> Vec<String> {
    let end = AtomicBool::new(false);
    let servers: Vec<Http> = survivors.iter().map(|name| cluster[name].http()).collect();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|number| {
                let (servers, end) = (&servers, &end);
                scope.spawn(move || writer(servers, &format!("w{number}"), end))
            })
            .collect();
        let first = &cluster[&survivors[0]];
        eventually("some writes", || wrote(first, "w0-5"));
        fault(cluster);
        let first = &cluster[&survivors[0]];
        eventually("a write after the fault", || first.try_register_elsewhere("after"));
        end.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().expect("a writer does not fail")).collect()
    })
}

fn wrote(host: &Host, service: &str) -> Result<(), String> {
    let services = host.try_json("/v1/catalog/services?stale")?;
    if services.get(service).is_some() { Ok(()) } else { Err(format!("{service} is not there")) }
}

/// Every server has every one of these services.
fn all_there(cluster: &Cluster, names: &[String]) {
    for server in cluster.running_servers() {
        eventually("everything acknowledged", || {
            let services = cluster[&server].try_json("/v1/catalog/services?stale")?;
            let missing: Vec<&String> = names.iter().filter(|name| services.get(name.as_str()).is_none()).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{server} has lost {missing:?}")) }
        });
    }
}

#[test]
fn killing_the_leader_loses_nothing() {
    let mut cluster = Cluster::loopback().servers(3);
    cluster.formed();
    let leader = cluster.leader();
    let survivors: Vec<String> = cluster.running_servers().into_iter().filter(|name| *name != leader).collect();
    let acknowledged = writing_through(&mut cluster, &survivors, |cluster| cluster[&leader].kill());
    all_there(&cluster, &acknowledged);
    cluster[&leader].start();
    cluster.formed();
    all_there(&cluster, &acknowledged);
}

#[test]
fn killing_all_loses_nothing() {
    let mut cluster = Cluster::loopback().servers(3);
    cluster.formed();
    let all = cluster.running_servers();
    let acknowledged = writing_through(&mut cluster, &all, |cluster| {
        cluster.hosts_mut().iter_mut().for_each(Host::kill);
        cluster.hosts_mut().iter_mut().for_each(Host::start);
    });
    cluster.formed();
    all_there(&cluster, &acknowledged);
}

#[test]
fn a_leader_that_hangs_is_replaced_and_comes_back_as_a_follower() {
    let mut cluster = Cluster::loopback().servers(3);
    cluster.formed();
    let hung = cluster.leader();
    let survivors: Vec<String> = cluster.running_servers().into_iter().filter(|name| *name != hung).collect();
    let acknowledged = writing_through(&mut cluster, &survivors, |cluster| cluster[&hung].freeze());
    let leader = eventually("another leader", || {
        let told = cluster[&survivors[0]].try_json("/v1/status/leader")?;
        let told = told.as_str().unwrap_or_default().to_owned();
        if told.is_empty() || told.starts_with(&format!("{}:", cluster.address(&hung))) { Err(told) } else { Ok(told) }
    });
    cluster[&hung].thaw();
    eventually("the one that hung follows", || {
        let told = cluster[&hung].try_json("/v1/status/leader")?;
        if told == leader.as_str() { Ok(()) } else { Err(told.to_string()) }
    });
    cluster.formed();
    all_there(&cluster, &acknowledged);
}

/// One of three: what needs a leader says so, what does not is answered.
#[test]
fn without_a_quorum_reads_that_allow_it_are_answered() {
    let settings = json!({"performance": {"rpc_hold_timeout": "1s"}});
    let mut cluster = Cluster::loopback().with(settings).servers(3);
    cluster.formed();
    let last = cluster.follower();
    cluster[&last].try_register_elsewhere("web").unwrap();
    cluster[&last].answered("web.service.consul A", &["10.9.9.9"]);
    for name in cluster.running_servers().into_iter().filter(|name| *name != last) {
        cluster[&name].kill();
    }
    let host = &cluster[&last];
    for target in ["/v1/catalog/nodes", "/v1/catalog/nodes?consistent", "/v1/health/service/web"] {
        eventually("an error that says why", || {
            let response = host.try_get(target)?;
            match (response.status, response.text().trim()) {
                (500, "No cluster leader") => Ok(()),
                (status, text) => Err(format!("{target}: {status} {text}")),
            }
        });
    }
    let stale = host.try_get("/v1/catalog/service/web?stale").unwrap();
    assert_eq!((stale.status, stale.header("X-Consul-KnownLeader")), (200, Some("false")), "{}", stale.text());
    assert_eq!(stale.json()[0]["ServiceName"], "web");
    host.answered("web.service.consul A", &["10.9.9.9"]);
    let with_edns = Options { edns: Some(1232), ..Options::default() };
    for (question, code) in [("web.service.consul A", 3), ("nosuch.service.consul A", 19)] {
        eventually("answers that say how old they may be", || {
            let reply =
                dns::ask_at(host.dns_address(), question, &with_edns, TIMEOUT).map_err(|error| error.to_string())?;
            match dns::extended_error(&reply) {
                Some((told, words)) if told == code && words.contains("no leader") => Ok(()),
                other => Err(format!("{question}: {other:?}")),
            }
        });
    }
    let refused = host.try_register_elsewhere("more").unwrap_err();
    assert!(refused.contains("500 No cluster leader"), "{refused}");
}

/// A server whose disk was replaced comes back under its name as a new voter.
#[test]
fn a_wiped_server_rejoins() {
    let settings = json!({"autopilot": {"server_stabilization_time": "1s"}});
    let mut cluster = Cluster::loopback().with(settings).servers(3);
    cluster.formed();
    let leader = cluster.leader();
    cluster[&leader].try_register_elsewhere("web").unwrap();
    let wiped = cluster.follower();
    cluster[&wiped].kill();
    cluster.members(&[&leader], &states(&cluster, &wiped, "failed"));
    cluster[&wiped].wipe();
    cluster[&wiped].set(json!({"bootstrap_expect": null}));
    cluster[&wiped].start();
    cluster.formed();
    cluster[&wiped].answered("web.service.consul A", &["10.9.9.9"]);
    // It counts: another may die.
    let dead = cluster.running_servers().into_iter().find(|name| *name != wiped).unwrap();
    cluster[&dead].kill();
    let leader = cluster.leader();
    eventually("a write with the newcomer's vote", || cluster[&leader].try_register_elsewhere("after"));
}

/// Autopilot takes a dead server out once another has come in its place.
#[test]
fn a_dead_server_is_replaced() {
    let settings = json!({"autopilot": {"server_stabilization_time": "1s", "cleanup_dead_servers": true}});
    let mut cluster = Cluster::loopback().with(settings).servers(3);
    cluster.formed();
    let dead = cluster.follower();
    cluster[&dead].kill();
    cluster.add("s4", Role::Server { founders: 0 }, json!({}));
    eventually("the dead one is out, the new one votes", || {
        let leader = cluster.try_leader()?;
        let peers = cluster[&leader].cli(&["operator", "raft", "list-peers"]).out();
        let votes = |name: &str| peers.lines().any(|line| line.starts_with(name) && line.contains("true"));
        if votes("s4") && !votes(&dead) { Ok(()) } else { Err(peers) }
    });
    let leader = cluster.leader();
    eventually("a write", || cluster[&leader].try_register_elsewhere("after"));
}

/// What is expected of all members while one is not alive.
fn states<'a>(cluster: &'a Cluster, other: &str, state: &'static str) -> Vec<(&'a str, &'static str)> {
    let of = |host: &'a Host| (host.name.as_str(), if host.name == other { state } else { "alive" });
    cluster.hosts().iter().map(of).collect()
}

//! Restarts that users plan: one server after another under load, and getting back a cluster that lost its quorum.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::json;
use usher_tests::{
    binary,
    cluster::{Cluster, Host},
    dns,
    poll::eventually,
};

/// Asks a client agent over and over; gives how many questions were asked and which were not answered well.
fn asking(address: std::net::SocketAddr, expected: &str, end: &AtomicBool) -> (usize, Vec<String>) {
    let (mut asked, mut bad) = (0, Vec::new());
    let options = dns::Options::default();
    while !end.load(Ordering::Relaxed) {
        asked += 1;
        match dns::ask_at(address, "web.service.consul A", &options, Duration::from_secs(3)) {
            Ok(message) if dns::lines(&message.answers).iter().any(|line| line.ends_with(expected)) => {}
            Ok(message) => {
                bad.push(format!("question {asked}: {} {:?}", message.metadata.response_code, message.answers))
            }
            Err(error) => bad.push(format!("question {asked}: {error:#}")),
        }
    }
    (asked, bad)
}

/// Three servers are restarted one after another, as for an upgrade; a client agent is asked all the time.
#[test]
fn a_rolling_restart_loses_no_answer() {
    let mut cluster = Cluster::loopback().servers(3).clients(1);
    cluster.formed();
    cluster["c1"].register("web", 80);
    let address = cluster.address("c1").to_string();
    cluster.answered_everywhere("web.service.consul A", &[&address]);
    let end = AtomicBool::new(false);
    let dns_address = cluster["c1"].dns_address();
    let (asked, bad) = thread::scope(|scope| {
        let asking = scope.spawn(|| asking(dns_address, &address, &end));
        for name in ["s1", "s2", "s3"] {
            // Whoever leads hands over first when it is told to leave; a server that is to come back is only stopped.
            cluster[name].end(Signal::TERM);
            cluster[name].start();
            cluster.formed();
        }
        end.store(true, Ordering::Relaxed);
        asking.join().expect("the questions are asked")
    });
    eprintln!("{asked} questions during the restart of three servers, {} not answered well", bad.len());
    assert!(asked > 100);
    if binary::is_ours() {
        assert_eq!(bad, Vec::<String>::new());
    }
}

/// SIGHUP and `reload` take in what was changed in the file, at servers and clients.
#[test]
fn reloading_rereads_what_can_be_reread() {
    let mut cluster = Cluster::loopback().servers(1).clients(1);
    cluster.formed();
    let address = cluster.address("c1").to_string();
    let rewrite = |host: &Host, more: serde_json::Value| {
        let path = host.folder().join("agent.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        std::fs::write(&path, config.to_string()).unwrap();
    };
    rewrite(&cluster["c1"], json!({"service": {"name": "web", "port": 80}}));
    assert_eq!(cluster["c1"].cli_ok(&["reload"]), "Configuration reload triggered\n");
    cluster.answered_everywhere("web.service.consul A", &[&address]);
    rewrite(&cluster["c1"], json!({"service": {"name": "api", "port": 81}}));
    let id = rustix::process::Pid::from_raw(i32::try_from(cluster["c1"].id()).unwrap()).unwrap();
    rustix::process::kill_process(id, Signal::HUP).unwrap();
    cluster.answered_everywhere("api.service.consul A", &[&address]);
    cluster.answered_everywhere("web.service.consul A", &[]);
    assert!(cluster["c1"].ended().is_none());
}

/// Two of three servers are lost for good: the third is told by a file that it is alone, and has everything.
#[test]
fn a_lost_quorum_is_recovered_by_a_file() {
    let mut cluster = Cluster::loopback().servers(3);
    cluster.formed();
    let last = cluster.leader();
    cluster[&last].try_register_elsewhere("web").unwrap();
    let id = cluster[&last].json("/v1/agent/self")["Config"]["NodeID"].as_str().unwrap().to_owned();
    cluster.hosts_mut().iter_mut().for_each(Host::kill);
    let peers = json!([{"id": id, "address": format!("{}:8300", cluster.address(&last)), "non_voter": false}]);
    std::fs::write(cluster[&last].data().join("raft/peers.json"), peers.to_string()).unwrap();
    cluster[&last].start();
    let host = &cluster[&last];
    eventually("it leads alone", || {
        let peers = host.try_json("/v1/operator/raft/configuration")?;
        let servers = peers["Servers"].as_array().map_or(0, Vec::len);
        if servers == 1 && peers["Servers"][0]["Leader"] == true { Ok(()) } else { Err(peers.to_string()) }
    });
    host.answered("web.service.consul A", &["10.9.9.9"]);
    eventually("a write", || host.try_register_elsewhere("after"));
    assert!(!host.data().join("raft/peers.json").exists(), "the file is used once");
}

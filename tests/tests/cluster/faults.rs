//! Faults of the network between hosts in namespaces of their own: loss, cuts on both sides, and half a cut.
//!
//! Needs root, `ip` and `nft`; where they are missing the tests say so and pass. `USHER_NEED_NETWORK=1` (as in CI) makes
//! that a failure.

use std::time::{Duration, Instant};

use serde_json::json;
use usher_tests::{
    cluster::Cluster,
    poll::{eventually, within},
};

/// A cluster in namespaces, or `None` where there can be none.
fn cluster() -> Option<Cluster> {
    match Cluster::namespaces() {
        Ok(cluster) => Some(cluster),
        Err(reason) if std::env::var_os("USHER_NEED_NETWORK").is_some() => panic!("no network to break: {reason}"),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

/// Looks for so long that nobody is ever taken for dead.
fn nobody_fails(cluster: &Cluster, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for host in cluster.hosts() {
            let members = host.try_members().unwrap_or_else(|error| panic!("{error}"));
            let failed: Vec<_> = members.iter().filter(|(_, state)| *state != "alive").collect();
            assert!(failed.is_empty(), "{} takes {failed:?} for dead", host.name);
        }
    }
}

#[test]
fn a_tenth_lost_is_no_death() {
    let Some(cluster) = cluster() else { return };
    let cluster = cluster.servers(3).clients(3);
    cluster.formed();
    cluster.members(&["c3"], &["s1", "s2", "s3", "c1", "c2", "c3"].map(|name| (name, "alive")));
    cluster.network().lose(10);
    nobody_fails(&cluster, Duration::from_secs(15));
    let leader = cluster.leader();
    eventually("a write all the same", || cluster[&leader].try_register_elsewhere("web"));
}

#[test]
fn a_server_cut_off_comes_back() {
    let Some(cluster) = cluster() else { return };
    let settings = json!({"performance": {"rpc_hold_timeout": "1s"}, "autopilot": {"cleanup_dead_servers": false}});
    let cluster = cluster.with(settings).servers(3).clients(1);
    cluster.formed();
    let cut = cluster.leader();
    cluster[&cut].try_register_elsewhere("before").unwrap();
    cluster.network().isolate(cluster.address(&cut));
    let rest: Vec<String> = cluster.running_servers().into_iter().filter(|name| *name != cut).collect();
    eventually("a write without it", || cluster[&rest[0]].try_register_elsewhere("during"));
    cluster["c1"].answered("during.service.consul A", &["10.9.9.9"]);
    cluster[&rest[0]].answered("during.service.consul A", &["10.9.9.9"]);
    // Alone it acknowledges nothing, and says why; what it has, it answers.
    eventually("it knows that it does not lead", || match cluster[&cut].try_register_elsewhere("lost") {
        Err(error) if error.contains("500") => Ok(()),
        other => Err(other),
    });
    cluster[&cut].answered("before.service.consul A", &["10.9.9.9"]);
    let mut states = vec![("c1", "alive"), (cut.as_str(), "failed")];
    states.extend(rest.iter().map(|name| (name.as_str(), "alive")));
    cluster.members(&[&rest[0], "c1"], &states);
    cluster.network().heal();
    cluster.formed();
    cluster.answered_everywhere("during.service.consul A", &["10.9.9.9"]);
    cluster.answered_everywhere("lost.service.consul A", &[]);
}

#[test]
fn a_client_cut_off_comes_back() {
    let Some(cluster) = cluster() else { return };
    let cluster = cluster.servers(3).clients(2);
    cluster.formed();
    for name in ["c1", "c2"] {
        cluster[name].register("web", 80);
    }
    let (first, second) = (cluster.address("c1").to_string(), cluster.address("c2").to_string());
    cluster.answered_everywhere("web.service.consul A", &[&first, &second]);
    cluster.network().isolate(cluster.address("c2"));
    for name in ["s1", "s2", "s3", "c1"] {
        cluster[name].answered("web.service.consul A", &[&first]);
    }
    cluster.network().heal();
    cluster.answered_everywhere("web.service.consul A", &[&first, &second]);
    cluster.formed();
}

/// Two servers do not reach each other, the third reaches both: there is a leader all the same, and no storm of elections.
#[test]
fn half_a_cut_between_servers_leaves_a_leader() {
    let Some(cluster) = cluster() else { return };
    let cluster = cluster.servers(3);
    cluster.formed();
    let leader = cluster.leader();
    let other = cluster.follower();
    let third = cluster.running_servers().into_iter().find(|name| *name != leader && *name != other).unwrap();
    let term = |name: &str| -> u64 {
        let told =
            cluster[name].json("/v1/agent/self")["Stats"]["raft"]["term"].as_str().unwrap_or_default().to_owned();
        told.parse().expect("a term is a number")
    };
    let before = term(&third);
    cluster.network().cut(cluster.address(&leader), cluster.address(&other));
    let mut longest = Duration::ZERO;
    let end = Instant::now() + Duration::from_secs(10);
    let mut count = 0;
    while Instant::now() < end {
        let start = Instant::now();
        count += 1;
        let name = format!("during{count}");
        within(Duration::from_secs(20), || cluster[&third].try_register_elsewhere(&name))
            .unwrap_or_else(|error| panic!("no writes in 20 s: {error}"));
        longest = longest.max(start.elapsed());
    }
    let terms = term(&third) - before;
    eprintln!("{count} writes, the longest pause {longest:?}, {terms} new terms");
    if usher_tests::binary::is_ours() {
        assert!(terms <= 3, "no storm of elections: {terms} terms");
    }
    cluster.network().heal();
    cluster.formed();
    cluster.answered_everywhere("during1.service.consul A", &["10.9.9.9"]);
}

/// One direction lost between two hosts: others vouch for who is called dead, so nobody is.
#[test]
fn one_way_lost_is_no_death() {
    let Some(cluster) = cluster() else { return };
    let cluster = cluster.servers(3).clients(2);
    cluster.formed();
    cluster.members(&["c1", "c2"], &["s1", "s2", "s3", "c1", "c2"].map(|name| (name, "alive")));
    cluster.network().cut_one_way(cluster.address("c1"), cluster.address("c2"));
    nobody_fails(&cluster, Duration::from_secs(12));
}

//! A server whose log was damaged refuses to start with an error that names it; the others go on without it.

use std::{fs, path::PathBuf};

use serde_json::json;
use usher_tests::{
    binary,
    cluster::{Cluster, Host},
    poll::eventually,
    tree::{Tree, tree},
};

/// The largest file under the folder of consensus: the log.
fn log_file(host: &Host) -> PathBuf {
    let files = usher_tests::tree::files(&host.data().join("raft"));
    files
        .into_iter()
        .max_by_key(|path| fs::metadata(path).map_or(0, |metadata| metadata.len()))
        .expect("there is a log")
}

/// Everything under its data directory but the locks, which tell who holds them.
fn kept(host: &Host) -> Tree {
    let mut tree = tree(&host.data());
    tree.retain(|path, _| !path.ends_with("lock"));
    tree
}

#[test]
fn a_torn_log_is_refused_and_the_others_go_on() {
    if !binary::is_ours() {
        return;
    }
    let settings = json!({"autopilot": {"server_stabilization_time": "1s"}});
    let mut cluster = Cluster::loopback().with(settings).servers(3);
    cluster.formed();
    let torn = cluster.follower();
    let leader = cluster.leader();
    for number in 0..100 {
        cluster[&leader].try_register_elsewhere(&format!("web{number}")).unwrap();
    }
    cluster[&torn].answered("web99.service.consul A", &["10.9.9.9"]);
    cluster[&torn].kill();
    let log = log_file(&cluster[&torn]);
    let bytes = fs::read(&log).unwrap();
    for cut in [bytes.len() / 2, bytes.len() - 1, 100] {
        fs::write(&log, &bytes[..cut]).unwrap();
        let before = kept(&cluster[&torn]);
        let refused = cluster[&torn].refused();
        let said = refused.err();
        let folder = log.parent().unwrap().display().to_string();
        assert!(said.contains(&folder), "cut to {cut} bytes: the error names what is damaged: {said}");
        assert_eq!(kept(&cluster[&torn]), before, "cut to {cut} bytes: nothing is changed");
    }
    eventually("a write without it", || cluster[&leader].try_register_elsewhere("after"));
    // What an operator does then: the disk is emptied, and the server comes back as a new one.
    cluster[&torn].wipe();
    cluster[&torn].set(json!({"bootstrap_expect": null}));
    cluster[&torn].start();
    cluster.formed();
    cluster[&torn].answered("after.service.consul A", &["10.9.9.9"]);
}

//! Encrypted gossip: the right key gets in, a wrong one or none does not, and keys change while everybody speaks.

use serde_json::json;
use usher_tests::{
    cluster::{Cluster, Role},
    poll::eventually,
};

const KEY: &str = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=";

fn new_key(cluster: &Cluster) -> String {
    cluster["s1"].cli_ok(&["keygen"]).trim().to_owned()
}

#[test]
fn a_wrong_key_or_none_is_refused() {
    let mut cluster = Cluster::loopback().with(json!({"encrypt": KEY})).servers(1).clients(1);
    cluster.formed();
    let other = new_key(&cluster);
    // They try the server alone: an agent that is on its own list has always met somebody.
    let server = cluster.address("s1").to_string();
    cluster.add("wrong", Role::Client, json!({"encrypt": other, "retry_join": [server]}));
    cluster.add("none", Role::Client, json!({"encrypt": null, "retry_join": [server]}));
    for name in ["wrong", "none"] {
        // Each has tried at least once and says that it did not get in.
        cluster[name].printed("Join");
    }
    cluster.members(&["s1", "c1"], &[("s1", "alive"), ("c1", "alive")]);
    for name in ["wrong", "none"] {
        cluster.members(&[name], &[(name, "alive")]);
    }
    if usher_tests::binary::is_ours() {
        // Refused once more and yet told of no more often: once for each reason, by packets and by connections.
        for name in ["wrong", "none"] {
            eventually("several attempts", || {
                let count = cluster[name].log().lines().filter(|line| line.contains("Join cluster failed")).count();
                if count >= 5 { Ok(()) } else { Err(count) }
            });
        }
        let log = cluster["s1"].log();
        let count = log.lines().filter(|line| line.contains("[WARN]") && line.contains("is refused")).count();
        assert!((1..=6).contains(&count), "it tells {count} times of what it refused");
    }
}

#[test]
fn keys_change_without_losing_anybody() {
    let mut cluster = Cluster::loopback().with(json!({"encrypt": KEY})).servers(3).clients(1);
    cluster.formed();
    let alive = [("s1", "alive"), ("s2", "alive"), ("s3", "alive"), ("c1", "alive")];
    let new = new_key(&cluster);
    cluster["s1"].cli_ok(&["keyring", "-install", &new]);
    let listed = cluster["s2"].cli_ok(&["keyring", "-list"]);
    for key in [KEY, &new] {
        assert!(listed.contains(&format!("  {key} [4/4]")) && listed.contains(&format!("  {key} [3/3]")), "{listed}");
    }
    cluster["s2"].cli_ok(&["keyring", "-use", &new]);
    let refused = cluster["s1"].cli(&["keyring", "-remove", &new]);
    assert_eq!(refused.code, 1);
    assert!(refused.err().contains("Removing the primary key is not allowed"), "{}", refused.err());
    cluster["s3"].cli_ok(&["keyring", "-remove", KEY]);
    let listed = cluster["s1"].cli_ok(&["keyring", "-list"]);
    assert!(listed.contains(&new) && !listed.contains(KEY), "{listed}");
    let primary = cluster["s1"].cli_ok(&["keyring", "-list-primary"]);
    assert!(primary.contains(&format!("{new} [4/4]")), "{primary}");
    cluster.members(&["s1", "s2", "s3", "c1"], &alive);

    // The ring is kept: a restart with the old key in its configuration gets in all the same.
    cluster["c1"].kill();
    cluster.members(&["s1"], &[("s1", "alive"), ("s2", "alive"), ("s3", "alive"), ("c1", "failed")]);
    cluster["c1"].start();
    cluster.members(&["s1", "s2", "s3", "c1"], &alive);
    // A newcomer with the old key does not.
    cluster.add("late", Role::Client, json!({}));
    cluster["late"].printed("Join");
    cluster.members(&["late"], &[("late", "alive")]);
    cluster.members(&["s1"], &alive);

    let at_client = cluster["c1"].cli(&["keyring", "-list"]);
    assert!(at_client.err().contains("keyring operations must run against a server node"), "{}", at_client.err());
    let unknown = cluster["s1"].cli(&["keyring", "-use", KEY]);
    assert!(unknown.err().contains("Requested key is not in the keyring"), "{}", unknown.err());
}

#[test]
fn without_encryption_there_are_no_keys() {
    let cluster = Cluster::loopback().servers(1);
    cluster.formed();
    eventually("the keyring is empty", || {
        let response = cluster["s1"].try_get("/v1/operator/keyring")?;
        let text = response.text();
        let expected = "4 errors occurred:\n\t* WAN error: 1/1 nodes reported failure\n\t* s1.dc1: Keyring is empty \
                        (encryption not enabled)\n\t* dc1 (LAN) error: 1/1 nodes reported failure\n\t* s1: Keyring is \
                        empty (encryption not enabled)";
        if response.status == 500 && text.trim_end() == expected { Ok(()) } else { Err(text) }
    });
}

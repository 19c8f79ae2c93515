//! Looks at clusters in every condition, and what autopilot makes of them.

use super::*;

/// A cluster of servers `1, 2, …`, the first one leading, everything in order.
struct Cluster {
    config: AutopilotConfig,
    members: Vec<ServerMember>,
    peers: Vec<Peer>,
    progress: Vec<Progress>,
    start: Instant,
}

impl Cluster {
    fn of(servers: u64) -> Self {
        Self {
            config: AutopilotConfig::default(),
            members: (1..=servers).map(member).collect(),
            peers: (1..=servers).map(peer).collect(),
            progress: (1..=servers).map(progress).collect(),
            start: Instant::now(),
        }
    }

    fn after(&self, seconds: u64) -> Scene<'_> {
        Scene {
            config: &self.config,
            members: &self.members,
            peers: &self.peers,
            progress: &self.progress,
            last_index: 1000,
            term: 2,
            now: self.start + Duration::from_secs(seconds),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        }
    }

    fn status(&mut self, id: u64, status: MemberStatus) {
        let name = format!("n{id}");
        self.members.iter_mut().filter(|member| member.name == name).for_each(|member| member.status = status);
        if status != MemberStatus::Alive {
            self.progress.iter_mut().filter(|it| it.raft_id == id).for_each(|it| it.last_contact = None);
        }
    }

    /// The first step of a leader that has looked for a long time.
    fn step(&self) -> Option<Step> {
        let mut health = Health::default();
        health.observe(&self.after(0));
        health.step(&self.after(0), |_| true)
    }
}

fn member(id: u64) -> ServerMember {
    ServerMember {
        name: format!("n{id}"),
        node_id: format!("id{id}"),
        datacenter: "dc1".to_owned(),
        address: SocketAddr::from(([10, 0, 0, u8::try_from(id).unwrap()], 8300)),
        expect: 0,
        bootstrap: false,
        version: "0.1.0".to_owned(),
        status: MemberStatus::Alive,
    }
}

fn peer(id: u64) -> Peer {
    let member = member(id);
    Peer {
        id,
        node_id: member.node_id,
        node_name: member.name,
        address: member.address.to_string(),
        leader: id == 1,
        voter: true,
    }
}

fn progress(id: u64) -> Progress {
    Progress { raft_id: id, matched_index: 990, last_contact: Some(Duration::from_millis(50)) }
}

fn removed(step: Option<Step>) -> Option<u64> {
    match step {
        Some(Step::Remove { raft_id, .. }) => Some(raft_id),
        None => None,
        other => panic!("{other:?} instead of a removal"),
    }
}

#[test]
fn a_cluster_in_order_needs_nothing() {
    let cluster = Cluster::of(3);
    assert_eq!(cluster.step(), None);
    let health = Health::default().observe(&cluster.after(0));
    assert!(health.healthy);
    assert_eq!(health.failure_tolerance, 1);
    assert_eq!(health.servers.iter().map(|server| server.last_index).collect::<Vec<_>>(), [1000, 990, 990]);
}

#[test]
fn who_is_silent_or_behind_or_dead_is_unhealthy() {
    for (what, change) in [
        (
            "silent",
            Box::new(|it: &mut Cluster| it.progress[2].last_contact = Some(Duration::from_millis(201)))
                as Box<dyn Fn(&mut Cluster)>,
        ),
        ("never heard of", Box::new(|it| it.progress[2].last_contact = None)),
        ("behind", Box::new(|it| it.progress[2].matched_index = 749)),
        ("failed", Box::new(|it| it.status(3, MemberStatus::Failed))),
        ("unknown", Box::new(|it| drop(it.members.pop()))),
    ] {
        let mut cluster = Cluster::of(3);
        change(&mut cluster);
        let health = Health::default().observe(&cluster.after(0));
        let healthy: Vec<bool> = health.servers.iter().map(|server| server.healthy).collect();
        assert_eq!(healthy, [true, true, false], "{what}");
        assert!(!health.healthy, "{what}");
        assert_eq!(health.failure_tolerance, 0, "{what}");
    }
}

#[test]
fn a_learner_votes_after_it_was_healthy_for_long_enough() {
    let mut cluster = Cluster::of(4);
    cluster.peers[3].voter = false;
    let mut health = Health::default();
    let mut step = |cluster: &Cluster, seconds| {
        let scene = cluster.after(seconds);
        health.observe(&scene);
        health.step(&scene, |_| true)
    };
    assert_eq!(step(&cluster, 0), None);
    cluster.progress[3].matched_index = 0;
    assert_eq!(step(&cluster, 5), None, "it fell behind: the time begins anew");
    cluster.progress[3].matched_index = 1000;
    assert_eq!(step(&cluster, 6), None);
    assert_eq!(step(&cluster, 15), None);
    assert_eq!(step(&cluster, 16), Some(Step::Promote(4)));
}

#[test]
fn who_left_is_removed_while_a_quorum_stays() {
    let mut cluster = Cluster::of(3);
    cluster.status(2, MemberStatus::Left);
    assert_eq!(removed(cluster.step()), Some(2));
    cluster.status(3, MemberStatus::Failed);
    assert_eq!(removed(cluster.step()), None, "of the two that stay one is dead");
    let mut two = Cluster::of(2);
    two.status(2, MemberStatus::Left);
    assert_eq!(removed(two.step()), Some(2), "the leader stays alone");
}

#[test]
fn dead_servers_are_removed_if_they_are_few() {
    for (servers, dead, config, expected) in [
        (3, &[3][..], AutopilotConfig::default(), None),
        (4, &[4], AutopilotConfig::default(), Some(4)),
        (5, &[4], AutopilotConfig::default(), Some(4)),
        (5, &[4, 5], AutopilotConfig::default(), None),
        (7, &[4, 5], AutopilotConfig::default(), Some(4)),
        (5, &[4], AutopilotConfig { cleanup_dead_servers: false, ..AutopilotConfig::default() }, None),
        (5, &[4], AutopilotConfig { min_quorum: 5, ..AutopilotConfig::default() }, None),
        (5, &[4], AutopilotConfig { min_quorum: 4, ..AutopilotConfig::default() }, Some(4)),
    ] {
        let mut cluster = Cluster { config: config.clone(), ..Cluster::of(servers) };
        dead.iter().for_each(|id| cluster.status(*id, MemberStatus::Failed));
        assert_eq!(removed(cluster.step()), expected, "{dead:?} of {servers}, {config:?}");
    }
}

#[test]
fn strangers_are_met_and_moved_servers_too() {
    let mut cluster = Cluster::of(3);
    cluster.members.push(member(4));
    assert_eq!(cluster.step(), Some(Step::Meet(member(4))));
    let mut health = Health::default();
    health.observe(&cluster.after(0));
    assert_eq!(health.step(&cluster.after(0), |_| false), None, "it was met a moment ago");

    let mut moved = Cluster::of(3);
    moved.members[2].address = "10.0.0.99:8300".parse().unwrap();
    assert_eq!(moved.step(), Some(Step::Meet(moved.members[2].clone())));

    let mut silent = Cluster::of(3);
    silent.progress[2].last_contact = None;
    assert_eq!(silent.step(), Some(Step::Meet(member(3))), "it lives, but its consensus does not answer");
}

#[test]
fn a_wiped_host_comes_back_as_another_server() {
    let mut cluster = Cluster::of(3);
    cluster.members[2].node_id = "another".to_owned();
    assert_eq!(removed(cluster.step()), Some(3));
}

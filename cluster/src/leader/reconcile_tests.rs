//! Members in every status against catalogs in every condition.

use super::*;
use crate::catalog::Changes;

fn own() -> Own {
    let tagged_addresses = BTreeMap::from([("lan".to_owned(), "10.0.0.1".to_owned())]);
    Own { name: "n1".to_owned(), datacenter: "dc1".to_owned(), tagged_addresses, meta: BTreeMap::new() }
}

fn member(name: &str, status: MemberStatus, server: bool) -> Member {
    let mut tags = BTreeMap::from([("id".to_owned(), format!("id-{name}")), ("dc".to_owned(), "dc1".to_owned())]);
    tags.insert("role".to_owned(), if server { "consul" } else { "node" }.to_owned());
    if server {
        tags.insert("port".to_owned(), "8300".to_owned());
        tags.insert("build".to_owned(), "0.1.0:".to_owned());
    }
    Member { name: name.to_owned(), address: "10.0.0.1".parse().unwrap(), port: 8301, tags, status }
}

/// A catalog to which commands are applied.
#[derive(Default)]
struct World {
    state: State,
    index: u64,
}

impl World {
    fn apply(&mut self, command: Command) {
        self.index += 1;
        self.state.apply(self.index, command, &mut Changes::default()).unwrap();
    }

    /// What is written for `member`, applied.
    fn reconcile(&mut self, member: &Member) -> Option<Command> {
        let command = correction(&own(), member, &self.state, false)?;
        self.apply(command.clone());
        Some(command)
    }

    fn health(&self, name: &str) -> Option<(Status, String)> {
        let check = self.state.node_entry(name)?.check(SERF_HEALTH)?;
        Some((check.status.clone(), check.output.clone()))
    }
}

#[test]
fn a_member_goes_through_its_life() {
    let mut world = World::default();
    assert!(world.reconcile(&member("n2", MemberStatus::Failed, false)).is_none(), "nobody knew it");
    assert!(world.reconcile(&member("n2", MemberStatus::Alive, false)).is_some());
    assert_eq!(world.health("n2"), Some((Status::Passing, "Agent alive and reachable".to_owned())));
    assert!(world.reconcile(&member("n2", MemberStatus::Alive, false)).is_none(), "nothing is written twice");
    assert!(world.reconcile(&member("n2", MemberStatus::Leaving, false)).is_none());
    assert!(world.reconcile(&member("n2", MemberStatus::Failed, false)).is_some());
    assert_eq!(world.health("n2"), Some((Status::Critical, "Agent not live or unreachable".to_owned())));
    assert!(world.reconcile(&member("n2", MemberStatus::Failed, false)).is_none());
    assert!(world.reconcile(&member("n2", MemberStatus::Left, false)).is_some());
    assert!(world.state.node_entry("n2").is_none());
    assert!(world.reconcile(&member("n2", MemberStatus::Left, false)).is_none());
}

#[test]
fn the_leaders_own_node_is_written_whole() {
    let mut world = World::default();
    world.reconcile(&member("n1", MemberStatus::Alive, true));
    assert_eq!(world.state.node_entry("n1").unwrap().node.tagged_addresses, own().tagged_addresses);
    world.reconcile(&member("n2", MemberStatus::Alive, true));
    assert!(world.state.node_entry("n2").unwrap().node.tagged_addresses.is_empty(), "its agent will tell");
}

#[test]
fn servers_are_instances_of_the_consul_service() {
    let mut world = World::default();
    world.reconcile(&member("n1", MemberStatus::Alive, true));
    world.reconcile(&member("n2", MemberStatus::Alive, false));
    let service = world.state.service_entry("consul").unwrap();
    let [instance] = service.instances.as_slice() else { panic!("not one server") };
    assert_eq!((instance.node.name.as_str(), instance.service.port), ("n1", 8300));
    assert_eq!(instance.service.meta.get("version").map(String::as_str), Some("0.1.0"));
}

#[test]
fn a_service_of_the_users_own_named_consul_is_left_alone() {
    let mut world = World::default();
    let server = member("n1", MemberStatus::Alive, true);
    let command = correction(&own(), &server, &world.state, true).unwrap();
    world.apply(command);
    assert!(world.state.service_entry("consul").is_none());
}

#[test]
fn what_an_agent_told_of_its_node_stays() {
    let mut world = World::default();
    let lan = BTreeMap::from([("lan".to_owned(), "10.0.0.1".to_owned())]);
    let meta = BTreeMap::from([("rack".to_owned(), "7".to_owned())]);
    let mut told = registration(&own(), "n2", "id-n2", "10.0.0.9");
    (told.tagged_addresses, told.node_meta) = (lan.clone(), meta.clone());
    world.apply(Command::Register(told));
    world.reconcile(&member("n2", MemberStatus::Alive, false));
    let node = &world.state.node_entry("n2").unwrap().node;
    assert_eq!(node.address, "10.0.0.1", "gossip knows better where it is");
    assert_eq!((&node.tagged_addresses, &node.meta), (&lan, &meta));
}

#[test]
fn nodes_registered_by_hand_are_nobodys_business() {
    let mut world = World::default();
    world.apply(Command::Register(registration(&own(), "ext", "", "10.0.0.5")));
    assert_eq!(plan(&own(), &[], &world.state, false).missing.len(), 0);
    assert!(reaped(&own(), "ext", &world.state).is_none());
    assert!(correction(&own(), &member("ext", MemberStatus::Left, false), &world.state, false).is_none());
}

#[test]
fn another_node_of_the_name_is_not_the_one_that_left() {
    let mut world = World::default();
    world.reconcile(&member("n2", MemberStatus::Alive, false));
    let mut other = member("n2", MemberStatus::Left, false);
    other.tags.insert("id".to_owned(), "another".to_owned());
    assert!(correction(&own(), &other, &world.state, false).is_none());
    other.status = MemberStatus::Failed;
    assert!(correction(&own(), &other, &world.state, false).is_none());
}

#[test]
fn this_server_never_removes_itself() {
    let mut world = World::default();
    world.reconcile(&member("n1", MemberStatus::Alive, true));
    assert!(correction(&own(), &member("n1", MemberStatus::Left, true), &world.state, false).is_none());
    assert!(reaped(&own(), "n1", &world.state).is_none());
}

#[test]
fn who_is_missing_is_told_and_can_be_made_critical_or_removed() {
    let mut world = World::default();
    world.reconcile(&member("n2", MemberStatus::Alive, false));
    let missing = plan(&own(), &[member("n1", MemberStatus::Alive, true)], &world.state, false).missing;
    let [entry] = missing.as_slice() else { panic!("not one is missing") };
    world.apply(absent(&own(), entry).unwrap());
    assert_eq!(world.health("n2").map(|(status, _)| status), Some(Status::Critical));
    let entry = world.state.node_entry("n2").unwrap().clone();
    assert!(absent(&own(), &entry).is_none());
    world.apply(reaped(&own(), "n2", &world.state).unwrap());
    assert!(world.state.node_entry("n2").is_none());
}

//! One test a rule.

use super::*;
use crate::catalog::{Topic, model::SERF_HEALTH};

const A: &str = "11111111-1111-1111-1111-111111111111";
const B: &str = "22222222-2222-2222-2222-222222222222";

#[test]
fn a_registration_is_seen_by_every_query() {
    let mut log = Log::default();
    log.register(
        node("n1", "10.0.0.1").service("w1", "web", &["a"]).check("up", "", "passing").check("c", "w1", "warning"),
    );
    let state = &log.state;
    assert_eq!(state.nodes().value.len(), 1);
    assert_eq!(state.services(&[]).value, [("web".into(), vec!["a".to_owned()])]);
    let web = state.service("WEB").value.expect("web");
    let instance = &web.instances[0];
    assert_eq!(instance.checks.iter().map(|check| &*check.id).collect::<Vec<_>>(), ["up", "c"]);
    assert_eq!(instance.status, Status::Warning);
    assert_eq!((web.answerable().len(), web.passing().len()), (1, 0));
    assert_eq!(state.service_checks("web").value.len(), 1);
    assert_eq!(state.node_checks("N1").value.len(), 2);
    assert_eq!(state.checks_in_state(Some(&Status::Warning)).value.len(), 1);
}

#[test]
fn repeating_a_registration_changes_nothing() {
    let mut log = Log::default();
    let registration =
        || node("n1", "10.0.0.1").id(A).meta(&[("k", "v")]).service("w1", "web", &["a"]).check("c", "w1", "passing");
    log.register(registration());
    let before = log.state.clone();
    assert!(log.register(registration()).is_empty());
    assert!(log.state == before);
}

#[test]
fn a_living_nodes_name_is_refused_to_another() {
    let mut log = Log::default();
    log.register(node("h1", "10.0.0.1").id(A).check(SERF_HEALTH, "", "passing"));
    assert_eq!(
        log.refuse(node("H1", "10.0.0.2").id(B)),
        format!(
            "failed inserting node: Error while renaming Node ID: \"{B}\": \
             Node name H1 is reserved by node {A} with name h1 (10.0.0.1)"
        )
    );
    log.register(node("h2", "10.0.0.2").id(B));
    assert_eq!(
        log.refuse(node("h1", "10.0.0.2").id(B)),
        format!(
            "failed inserting node: Error while renaming Node ID: \"{B}\" (10.0.0.2): \
             Node name h1 is reserved by node {A} with name h1 (10.0.0.1)"
        )
    );
}

#[test]
fn a_dead_nodes_name_goes_to_another_with_all_it_has() {
    for status in [None, Some("critical")] {
        let mut log = Log::default();
        let mut first = node("h1", "10.0.0.1").id(A).service("w1", "web", &[]);
        if let Some(status) = status {
            first = first.check(SERF_HEALTH, "", status);
        }
        log.register(first);
        log.register(node("h1", "10.0.0.2").id(B));
        let entry = log.state.node("h1").value.expect("h1");
        assert_eq!((&*entry.node.id, entry.node.create_index, entry.services.len()), (B, 1, 1), "{status:?}");
        assert!(log.state.node_by_id(A).is_none());
    }
}

#[test]
fn a_living_node_without_an_id_may_be_given_one() {
    let mut log = Log::default();
    log.register(node("h1", "10.0.0.1").check(SERF_HEALTH, "", "passing"));
    log.register(node("h1", "10.0.0.1").id(A));
    assert_eq!(log.state.node_by_id(A).expect("h1").node.create_index, 1);
}

#[test]
fn a_node_is_renamed_by_its_id_and_loses_what_it_had() {
    let mut log = Log::default();
    log.register(node("old", "10.0.0.1").id(A).service("w1", "web", &[]).check("c", "w1", "critical"));
    let changes = log.register(node("new", "10.0.0.1").id(A));
    let state = &log.state;
    assert!(state.node("old").value.is_none());
    let entry = state.node("new").value.expect("new");
    assert_eq!((entry.node.create_index, entry.node.modify_index, entry.services.len()), (1, 2, 0));
    assert!(state.service("web").value.is_none());
    assert!(state.checks_in_state(Some(&Status::Critical)).value.is_empty());
    assert!(changes.contains(&Topic::Service("web".into())) && changes.contains(&Topic::Node("old".into())));
    assert_eq!(state.node_by_address([10, 0, 0, 1].into()).expect("new").node.name, "new");
}

#[test]
fn another_case_of_its_name_keeps_what_a_node_has() {
    let mut log = Log::default();
    log.register(node("node", "10.0.0.1").id(A).service("w1", "web", &[]));
    log.register(node("Node", "10.0.0.1").id(A));
    let entry = log.state.node("NODE").value.expect("node");
    assert_eq!((&*entry.node.name, entry.services.len()), ("Node", 1));
    assert_eq!(log.state.service("web").value.expect("web").instances[0].node.name, "Node");
}

#[test]
fn no_id_leaves_the_one_a_node_has() {
    let mut log = Log::default();
    log.register(node("n1", "10.0.0.1").id(A));
    assert!(log.register(node("n1", "10.0.0.1")).is_empty());
    log.register(node("n1", "10.0.0.2"));
    assert_eq!(log.state.node_by_id(A).expect("n1").node.address, "10.0.0.2");
}

#[test]
fn skip_node_update_leaves_a_known_node() {
    let mut log = Log::default();
    let skipping = |address: &str| Registration { skip_node_update: true, ..node("n1", address) };
    log.register(skipping("10.0.0.1"));
    let changes = log.register(skipping("10.0.0.2").service("w1", "web", &[]));
    assert!(!changes.contains(&Topic::Nodes));
    let entry = log.state.node("n1").value.expect("made by the first");
    assert_eq!((&*entry.node.address, entry.services.len()), ("10.0.0.1", 1));
}

#[test]
fn a_check_needs_its_service() {
    let mut log = Log::default();
    let text = r#"failed inserting check: Missing service registration on node "n1""#;
    assert_eq!(log.refuse(node("n1", "10.0.0.1").check("c", "w1", "passing")), text);
    assert!(log.state.node("n1").value.is_none(), "not even the node is kept");
    log.register(node("n2", "10.0.0.2").service("w1", "web", &[]));
    assert_eq!(log.refuse(node("n1", "10.0.0.1").check("c", "w1", "passing")), text, "another node's does not do");
    log.register(node("n1", "10.0.0.1").service("w1", "web", &[]).check("c", "W1", "passing"));
}

#[test]
fn metadata_of_a_service_has_rules() {
    let long_key = "k".repeat(129);
    let long_value = "v".repeat(513);
    let many: Vec<_> = (0..65).map(|number| format!("k{number}")).collect();
    let many: Vec<_> = many.iter().map(|key| (&**key, "")).collect();
    let pair =
        |key: &str, value: &str, reason: &str| format!("Couldn't load metadata pair ('{key}', '{value}'): {reason}");
    let refused = [
        (vec![("", "x")], pair("", "x", "Key cannot be blank")),
        (vec![("a b", "x")], pair("a b", "x", "Key contains invalid characters")),
        (vec![("ü", "x")], pair("ü", "x", "Key contains invalid characters")),
        (vec![(&*long_key, "x")], pair(&long_key, "x", "Key is too long (limit: 128 characters)")),
        (vec![("consul-x", "x")], pair("consul-x", "x", "Key prefix 'consul-' is reserved for internal use")),
        (vec![("k", &*long_value)], pair("k", &long_value, "Value is too long (limit: 512 characters)")),
        (many, "Node metadata cannot contain more than 64 key/value pairs".to_owned()),
    ];
    let with = |meta: &[(&str, &str)]| {
        let mut registration = node("n1", "10.0.0.1").service("m", "m", &[]);
        registration.service.as_mut().expect("a service").meta = pairs(meta).into_iter().collect();
        registration
    };
    let mut log = Log::default();
    for (meta, reason) in refused {
        let text = format!("failed inserting service: Invalid Service Meta for node n1 and serviceID m: {reason}");
        assert_eq!(log.refuse(with(&meta)), text);
    }
    log.register(with(&[("Consul-X", "1"), ("A-_9", ""), (&long_key[1..], &long_value[1..])]));
    log.register(node("n1", "10.0.0.1").meta(&[("a b", "nodes have none")]));
}

#[test]
fn an_instance_that_changes_its_name_takes_its_checks_along() {
    let mut log = Log::default();
    log.register(node("n1", "10.0.0.1").service("i", "old", &["x"]).check("c", "i", "passing"));
    log.register(node("n1", "10.0.0.1").service("i", "new", &["y"]));
    let state = &log.state;
    assert!(state.service("old").value.is_none());
    assert_eq!(state.service("old").index, 2);
    assert_eq!(state.service("new").value.expect("new").instances.len(), 1);
    assert!(state.service_checks("old").value.is_empty());
    let checks = state.service_checks("new").value;
    assert_eq!(
        (&*checks[0].service_name, &checks[0].service_tags[..], checks[0].modify_index),
        ("new", &["y".to_owned()][..], 2)
    );
}

#[test]
fn a_check_moves_between_instances_and_the_node() {
    let mut log = Log::default();
    log.register(node("n1", "10.0.0.1").service("a", "a", &[]));
    log.register(node("n1", "10.0.0.1").service("b", "b", &[]));
    let status = |log: &Log, name: &str| log.state.service(name).value.expect("there").instances[0].status.clone();
    for (owner, a, b) in [("a", "critical", "passing"), ("b", "passing", "critical"), ("", "critical", "critical")] {
        let changes = log.register(node("n1", "10.0.0.1").check("c", owner, "critical"));
        assert_eq!((status(&log, "a").as_str(), status(&log, "b").as_str()), (a, b), "{owner:?}");
        assert!(changes.contains(&Topic::Service("a".into())), "{owner:?}: the old owner's answer changed too");
        assert_eq!(log.state.node_checks("n1").value.len(), 1);
    }
    log.deregister("n1", "", "c");
    assert_eq!((status(&log, "a"), status(&log, "b")), (Status::Passing, Status::Passing));
}

#[test]
fn a_check_without_a_service_id_is_the_nodes() {
    let mut log = Log::default();
    let mut registration = node("n1", "10.0.0.1").check("c", "", "");
    registration.checks[0].service_name = "web".into();
    registration.checks[0].node = "elsewhere".into();
    log.register(registration);
    let checks = log.state.node_checks("n1").value;
    assert_eq!((&*checks[0].service_name, &*checks[0].node), ("", "n1"));
    assert_eq!(checks[0].status, Status::Critical, "no status is critical");
}

#[test]
fn an_instance_without_an_id_takes_its_name() {
    let mut log = Log::default();
    log.register(node("n1", "10.0.0.1").service("", "web", &[]));
    assert_eq!(log.state.service("web").value.expect("web").instances[0].service.id, "web");
}

#[test]
fn what_is_named_to_be_removed() {
    let left = |service_id: &str, check_id: &str| {
        let mut log = Log::default();
        log.register(
            node("n1", "10.0.0.1").service("w", "web", &[]).check("up", "", "passing").check("c", "w", "passing"),
        );
        let changes = log.deregister("N1", service_id, check_id);
        let found = log.state.node("n1").value.map(|entry| (entry.services.len(), entry.checks.len()));
        (found, changes.is_empty())
    };
    assert_eq!(left("W", ""), (Some((0, 1)), false), "an instance, with its checks");
    assert_eq!(left("", "UP"), (Some((1, 1)), false), "a check");
    assert_eq!(left("w", "up"), (Some((0, 1)), false), "both named: the instance alone");
    assert_eq!(left("unknown", "up"), (Some((1, 2)), true), "and if it is not there, nothing");
    assert_eq!(left("", "unknown"), (Some((1, 2)), true));
    assert_eq!(left("", ""), (None, false), "the node with everything");
    let mut log = Log::default();
    assert!(log.deregister("unknown", "", "").is_empty());
}

#[test]
fn a_missing_services_index_is_its_own() {
    let mut log = Log { index: 10, ..Log::default() };
    assert_eq!(log.state.service("web").index, 1, "never there");
    log.register(node("n1", "10.0.0.1").service("w", "web", &[]));
    log.register(node("n1", "10.0.0.1").service("d", "db", &[]));
    let changes = log.deregister("n1", "w", "");
    assert!(changes.contains(&Topic::Service("Web".into())), "its removal wakes");
    assert_eq!(log.state.service("web").index, 13);
    log.deregister("n1", "d", "");
    assert_eq!(log.state.service("web").index, 13, "another's removal is not its own");
    assert_eq!(log.state.service("never").index, 1);
    log.register(node("n1", "10.0.0.1").service("w", "web", &[]));
    assert_eq!(log.state.service("web").index, 15);
    assert_eq!(log.state.gone_services.iter().count(), 1, "what is there again need not be remembered");
    log.register(node("n2", "10.0.0.2"));
    log.deregister("n2", "", "");
    log.register(node("n2", "10.0.0.2"));
    assert_eq!(log.state.gone_nodes.iter().count(), 0);
}

#[test]
fn health_wakes_the_service_and_no_list_of_services() {
    let mut log = Log::default();
    log.register(
        node("n1", "10.0.0.1").service("w", "web", &["a"]).check("c", "w", "passing").check("up", "", "passing"),
    );
    for changes in [
        log.register(node("n1", "10.0.0.1").check("c", "w", "critical")),
        log.register(node("n1", "10.0.0.1").check("up", "", "critical")),
    ] {
        assert!(changes.contains(&Topic::Service("web".into())));
        for topic in [Topic::Services, Topic::ServicesByNodeMeta, Topic::Nodes, Topic::NodeServices("n1".into())] {
            assert!(!changes.contains(&topic), "{topic:?}");
        }
    }
    let changes = log.register(node("n2", "10.0.0.2").service("w", "web", &["a"]));
    assert!(!changes.contains(&Topic::Services), "one more instance, the same list");
    let changes = log.register(node("n2", "10.0.0.2").service("w", "web", &["a", "b"]));
    assert!(changes.contains(&Topic::Services), "another tag");
}

#[test]
fn a_nodes_address_is_its_services_change() {
    let mut log = Log::default();
    log.register(node("n1", "10.0.0.1").service("w", "web", &[]));
    log.register(node("n1", "10.0.0.1").service("d", "db", &[]).at("10.9.9.9"));
    let changes = log.register(node("n1", "host.example"));
    let state = &log.state;
    for name in ["web", "db"] {
        assert!(changes.contains(&Topic::Service(name.into())));
        assert_eq!(state.service(name).index, 3);
    }
    let instance = |name: &str| state.service(name).value.expect("there").instances[0].clone();
    assert_eq!(instance("web").address, super::super::Host::Name("host.example".into()));
    assert_eq!(instance("db").address.ip(), Some([10, 9, 9, 9].into()));
    assert_eq!(instance("db").node_address.ip(), None);
    assert!(state.node_by_address([10, 0, 0, 1].into()).is_none());
    assert_eq!(state.instance_by_address([10, 9, 9, 9].into()).expect("db").service.name, "db");
}

#[test]
fn a_node_is_found_by_what_its_id_begins_with() {
    let mut log = Log::default();
    log.register(node("n1", "10.0.0.1").id("AB11"));
    log.register(node("n2", "10.0.0.2").id("ab22"));
    log.register(node("n3", "10.0.0.3").id("cc33"));
    let found = |id: &str| log.state.node_by_id(id).map(|entry| entry.node.name.clone());
    let table = [
        ("ab11", Some("n1")),
        ("AB2", Some("n2")),
        ("ab", None),
        ("a", None),
        ("", None),
        ("ab111", None),
        ("cc", Some("n3")),
        ("c", None),
        ("dd", None),
    ];
    for (id, expected) in table {
        assert_eq!(found(id).as_deref(), expected, "{id:?}");
    }
}

#[test]
fn the_worst_check_is_the_status() {
    let table: [(&[&str], &str); 6] = [
        (&[], "passing"),
        (&["passing", "passing"], "passing"),
        (&["passing", "warning"], "warning"),
        (&["odd", "warning"], "odd"),
        (&["critical", "odd"], "critical"),
        (&["warning", "critical", "passing"], "critical"),
    ];
    for (statuses, expected) in table {
        let mut log = Log::default();
        let mut registration = node("n1", "10.0.0.1").service("c", "consul", &[]);
        for (number, status) in statuses.iter().enumerate() {
            registration = registration.check(&format!("c{number}"), if number == 0 { "" } else { "c" }, status);
        }
        log.register(registration);
        let entry = log.state.service_entry("consul").expect("there");
        assert_eq!(entry.instances[0].status.as_str(), expected, "{statuses:?}");
        assert_eq!(entry.answerable().is_empty(), expected == "critical");
        assert_eq!(entry.passing().is_empty(), expected != "passing");
        assert_eq!(log.state.servers().count(), entry.answerable().len());
    }
}

#[test]
fn names_are_compared_without_case_and_shown_as_registered() {
    let mut log = Log::default();
    log.register(node("Node-1", "10.0.0.1").service("Web-1", "Web", &["X"]).check("Check", "web-1", "passing"));
    log.register(node("node-1", "10.0.0.1").service("WEB-2", "web", &["x"]));
    let state = &log.state;
    assert_eq!(state.nodes().value[0].name, "node-1", "the last to register it");
    assert_eq!(state.services(&[]).value, [("Web".into(), vec!["X".to_owned(), "x".to_owned()])], "its first instance");
    let entry = state.service("wEB").value.expect("web");
    assert_eq!(entry.instances.iter().map(|instance| &*instance.service.id).collect::<Vec<_>>(), ["Web-1", "WEB-2"]);
    assert_eq!(entry.instances[0].checks[0].service_id, "Web-1", "as the instance writes it");
}

//! Random commands, against the dumb catalog: the same answers; each index moves, and each topic wakes, exactly with its
//! answer; what did not change is not even copied; older versions stay; a restored state equals its original.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    dumb::{Dumb, text},
    *,
};
use crate::catalog::{Instance, Topic};

pub(super) const NODES: [&str; 5] = ["n1", "N1", "n2", "n3", "N3"];
const NODE_IDS: [&str; 6] = ["", "", "aa-1", "AA-1", "ab-2", "bb-3"];
pub(super) const ADDRESSES: [&str; 4] = ["10.0.0.1", "10.0.0.2", "fd00::1", "host.example"];
const SERVICE_IDS: [&str; 4] = ["i1", "I1", "i2", "i3"];
pub(super) const SERVICES: [&str; 4] = ["web", "Web", "db", "consul"];
const CHECKS: [&str; 4] = ["serfHealth", "c1", "C1", "c2"];
const STATUSES: [&str; 6] = ["passing", "passing", "warning", "critical", "", "odd"];

fn service() -> impl Strategy<Value = Service> {
    let meta = prop_oneof![9 => Just(vec![]), 1 => Just(vec![("", "")]), 2 => Just(vec![("k", "v")])];
    let address = prop_oneof![2 => Just(""), 1 => select(&ADDRESSES[..])];
    (select(&SERVICE_IDS[..]), select(&SERVICES[..]), vec(select(&["a", "b", "c"][..]), 0..3), address, meta).prop_map(
        |(id, name, tags, address, meta)| Service {
            id: id.into(),
            name: name.into(),
            tags: tags.into_iter().map(Into::into).collect(),
            address: address.into(),
            meta: pairs(&meta).into_iter().collect(),
            ..Service::default()
        },
    )
}

fn check() -> impl Strategy<Value = Check> {
    let service_id = prop_oneof![1 => Just(""), 2 => select(&SERVICE_IDS[..])];
    (select(&CHECKS[..]), service_id, select(&STATUSES[..]), 0..2).prop_map(|(id, service_id, status, output)| Check {
        id: id.into(),
        service_id: service_id.into(),
        status: if status.is_empty() { Status::default() } else { Status::from(status) },
        output: format!("{output}"),
        ..Check::default()
    })
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    let meta = select(vec![vec![], vec![("rack", "1")], vec![("rack", "2")]]);
    let register = (
        (select(&NODES[..]), select(&NODE_IDS[..]), select(&ADDRESSES[..]), meta, prop::bool::weighted(0.1)),
        prop::option::weighted(0.6, service()),
        vec(check(), 0..3),
    )
        .prop_map(|((name, id, address, meta, skip), service, checks)| {
            let base = Registration { skip_node_update: skip, service, checks, ..node(name, address) };
            Command::Register(base.id(id).meta(&meta))
        });
    let service_id = prop_oneof![1 => Just(""), 1 => select(&SERVICE_IDS[..])];
    let check_id = prop_oneof![1 => Just(""), 1 => select(&CHECKS[..])];
    let deregister = (select(&NODES[..]), service_id, check_id).prop_map(|(node, service_id, check_id)| {
        let (node, service_id, check_id) = (node.into(), service_id.into(), check_id.into());
        Command::Deregister(Deregistration { node, service_id, check_id })
    });
    prop_oneof![4 => register, 1 => deregister]
}

fn topics() -> Vec<Topic> {
    let mut topics = vec![Topic::Nodes, Topic::Services, Topic::ServicesByNodeMeta, Topic::Checks];
    for name in ["n1", "N2", "n3", "never"] {
        topics.extend([Topic::Node(name.into()), Topic::NodeServices(name.into()), Topic::NodeChecks(name.into())]);
    }
    for name in ["Web", "db", "consul", "never"] {
        topics.extend([Topic::Service(name.into()), Topic::ServiceChecks(name.into())]);
    }
    topics.extend(["passing", "warning", "critical", "odd"].map(|status| Topic::ChecksInState(Status::from(status))));
    topics
}

/// What the state answers to the query of a topic, and its index. The text is made as the dumb catalog makes it.
fn answer(state: &State, dumb: &Dumb, topic: &Topic) -> (u64, String) {
    match topic {
        Topic::Nodes => {
            let found = state.nodes();
            (found.index, text(&found.value))
        }
        Topic::Node(name) => {
            let found = state.node(name);
            (found.index, text(&found.value.as_ref().map(|entry| (&entry.node, &entry.services, &entry.checks))))
        }
        Topic::NodeServices(name) => {
            let found = state.node_services(name);
            (found.index, text(&found.value.as_ref().map(|entry| (&entry.node, &entry.services))))
        }
        Topic::NodeChecks(name) => {
            let found = state.node_checks(name);
            (found.index, text(&state.node(name).value.map(|_| found.value)))
        }
        Topic::Services => {
            let found = state.services(&[]);
            (found.index, text(&found.value))
        }
        Topic::ServicesByNodeMeta => {
            for rack in ["1", "2", "3"] {
                let meta = pairs(&[("rack", rack)]);
                assert_eq!(text(&state.services(&meta).value), text(&dumb.list(&meta)));
            }
            // Any pair asks for the same index; what moves it is more than one answer tells.
            (state.services(&pairs(&[("rack", "1")])).index, dumb.answer(topic))
        }
        Topic::Service(name) => {
            let found = state.service(name);
            let instances = found.value.map(|entry| {
                let told = |instance: &Arc<Instance>| {
                    (instance.node.clone(), instance.service.clone(), instance.checks.clone())
                };
                entry.instances.iter().map(told).collect::<Vec<_>>()
            });
            (found.index, text(&instances))
        }
        Topic::ServiceChecks(name) => {
            let found = state.service_checks(name);
            (found.index, text(&(state.service(name).value.is_some(), found.value)))
        }
        Topic::Checks => {
            let found = state.checks_in_state(None);
            (found.index, text(&found.value))
        }
        Topic::ChecksInState(status) => {
            let found = state.checks_in_state(Some(status));
            (found.index, text(&found.value))
        }
        Topic::Address(_) => unreachable!("no query is paired with it"),
    }
}

/// What DNS asks.
fn assert_lookups(state: &State, dumb: &Dumb) {
    let mut nodes: Vec<_> = dumb.nodes.iter().collect();
    nodes.sort_by_key(|node| node.name.to_ascii_lowercase());
    for address in ADDRESSES.iter().filter_map(|address| address.parse::<IpAddr>().ok()) {
        let expected = nodes.iter().find(|node| node.address.parse() == Ok(address));
        assert_eq!(state.node_by_address(address).map(|entry| &*entry.node), expected.map(|node| &**node));
        let expected = ["consul", "db", "web"]
            .iter()
            .flat_map(|name| dumb.instances(name))
            .find_map(|(node, service, _)| (service.address.parse() == Ok(address)).then_some((node, service)));
        assert_eq!(state.instance_by_address(address).map(|found| (&*found.node, &*found.service)), expected);
    }
    for id in ["aa-1", "AB-2", "bb-3", "cc-4"] {
        let expected = nodes.iter().find(|node| node.id.eq_ignore_ascii_case(id));
        assert_eq!(state.node_by_id(id).map(|entry| &*entry.node), expected.map(|node| &**node));
    }
    for name in ["consul", "db", "web"] {
        let Some(entry) = state.service_entry(name) else { continue };
        let ids = |found: &Arc<Instance>| (found.node.name.clone(), found.service.id.clone());
        let expect = |keep: fn(&Check) -> bool| {
            let kept = dumb.instances(name).into_iter().filter(|(_, _, checks)| checks.iter().all(|check| keep(check)));
            kept.map(|(node, service, _)| (node.name.clone(), service.id.clone())).collect::<Vec<_>>()
        };
        let answerable = expect(|check| check.status != Status::Critical);
        assert_eq!(entry.answerable().iter().map(ids).collect::<Vec<_>>(), answerable);
        let passing = expect(|check| check.status == Status::Passing);
        assert_eq!(entry.passing().iter().map(ids).collect::<Vec<_>>(), passing);
        for (place, instance) in entry.passing().iter().enumerate() {
            assert_eq!(instance.status, Status::Passing);
            assert!(Arc::ptr_eq(instance, entry.passing().get(place).expect("as many as it says")));
        }
        for instance in &entry.instances {
            let own = Some(&*instance.service.address).filter(|address| !address.is_empty());
            let address = own.unwrap_or(&instance.node.address);
            assert_eq!(instance.address.ip(), address.parse().ok());
            assert_eq!(instance.node_address.ip(), instance.node.address.parse().ok());
        }
    }
    assert_eq!(state.servers().count(), state.service_entry("consul").map_or(0, |entry| entry.answerable().len()));
}

/// Entries of untouched topics are the very same; those of touched ones hold nothing a reader had computed.
fn assert_entries(before: &State, after: &State, changes: &Changes) {
    for name in ["web", "db", "consul"] {
        let (Some(old), Some(new)) = (before.service_entry(name), after.service_entry(name)) else { continue };
        let touched =
            changes.contains(&Topic::Service(name.into())) || changes.contains(&Topic::ServiceChecks(name.into()));
        assert_eq!(!touched, Arc::ptr_eq(old, new), "service {name}");
        assert_eq!(touched, new.memo.get().is_none(), "memo of service {name}");
    }
    for name in ["n1", "n2", "n3"] {
        let (Some(old), Some(new)) = (before.node_entry(name), after.node_entry(name)) else { continue };
        let touched = changes.contains(&Topic::Node(name.into()));
        assert_eq!(!touched, Arc::ptr_eq(old, new), "node {name}");
        assert_eq!(touched, new.memo.get().is_none(), "memo of node {name}");
    }
}

fn fill_memos(state: &State) {
    for name in ["web", "db", "consul"] {
        state.service_entry(name).into_iter().for_each(|entry| _ = entry.memo.set(Arc::new(1)));
    }
    for name in ["n1", "n2", "n3"] {
        state.node_entry(name).into_iter().for_each(|entry| _ = entry.memo.set(Arc::new(1)));
    }
}

fn run(commands: Vec<Command>) {
    let (mut log, mut dumb) = (Log::default(), Dumb::default());
    let topics = topics();
    let mut indexes: HashMap<&Topic, u64> = topics.iter().map(|topic| (topic, 1)).collect();
    // The first index says nothing of 1, which is what is answered before anything happened.
    log.index = 10;
    for command in commands {
        fill_memos(&log.state);
        let (before, before_dumb) = (log.state.clone(), dumb.clone());
        let (outcome, changes) = log.apply(command.clone());
        let expected = dumb.apply(log.index, &command);
        assert_eq!(outcome.as_ref().err(), expected.as_ref().err(), "{command:?}");
        let steps = expected.unwrap_or_default();
        for topic in &topics {
            let (was, is) = (before_dumb.answer(topic), dumb.answer(topic));
            let woken = changes.contains(topic);
            assert!(woken || was == is, "missed: {topic:?} {command:?}\nwas {was}\nis {is}");
            // What one command changes there and back (a node renamed onto another) may wake nonetheless.
            let touched = steps.iter().any(|step| step.answer(topic) != was);
            assert!(touched || !woken, "woken for nothing: {topic:?} {command:?}\nis {is}");
            if woken {
                indexes.insert(topic, log.index);
            }
            assert_eq!(answer(&log.state, &dumb, topic), (indexes[topic], is), "{topic:?} {command:?}");
            assert_eq!(answer(&before, &before_dumb, topic).1, was, "older versions stay: {topic:?} {command:?}");
        }
        assert_lookups(&log.state, &dumb);
        assert_entries(&before, &log.state, &changes);
    }
    let restored = State::restore(log.state.records()).expect("its own records");
    assert!(restored == log.state, "restored: {restored:#?}\noriginal: {:#?}", log.state);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_answers_and_wakes_as_the_dumb_catalog_says(commands in vec(command(), 1..40)) {
        run(commands);
    }
}

//! The judgement: both sides in, commands out.

use super::{
    super::{
        Source,
        definition::{CheckSpec, ServiceDefinition},
        records::Operation,
    },
    *,
};
use crate::catalog::model::{Node, Status};

fn own_node() -> OwnNode {
    OwnNode { name: "n1".to_owned(), address: "10.0.0.1".to_owned(), ..OwnNode::default() }
}

fn shown_node() -> Arc<Node> {
    Arc::new(Node { name: "n1".to_owned(), address: "10.0.0.1".to_owned(), ..Node::default() })
}

fn declared(id: &str, checks: &[&str]) -> ServiceDefinition {
    let check = |id: &&str| CheckSpec { id: (*id).to_owned(), name: "c".to_owned(), ..CheckSpec::default() };
    ServiceDefinition {
        id: id.to_owned(),
        name: "web".to_owned(),
        checks: checks.iter().map(check).collect(),
        ..ServiceDefinition::default()
    }
}

fn records(services: Vec<ServiceDefinition>, node_checks: &[&str]) -> Records {
    let mut records = Records::new("n1");
    for definition in services {
        let definition = Box::new(definition);
        let operation = Operation::RegisterService { definition, source: Source::Api, replace_existing_checks: false };
        records.apply(operation).unwrap();
    }
    for id in node_checks {
        let spec = Box::new(CheckSpec { id: (*id).to_owned(), name: "c".to_owned(), ..CheckSpec::default() });
        records.apply(Operation::RegisterCheck { spec, source: Source::Api }).unwrap();
    }
    records
}

/// The catalog as it is once everything in `records` has been registered.
fn entry(records: &Records) -> NodeEntry {
    let state = records.shown();
    NodeEntry::new(shown_node(), state.services.values().cloned(), state.checks.values().cloned())
}

/// All that would be proposed, in short.
fn proposals(records: &Records, entry: Option<&NodeEntry>) -> Vec<String> {
    let node = own_node();
    let view = View { node: &node, records, entry, server: true, words_wait: &|_| false };
    let mut all = Vec::new();
    for target in view.targets() {
        match view.plan(&target, Mode::Compare) {
            Plan::InSync => panic!("{target:?} was told to differ"),
            Plan::AdoptTags(tags) => all.push(format!("adopt {}", tags.join(","))),
            Plan::Propose(commands) => all.extend(commands.iter().map(describe)),
        }
    }
    all
}

fn describe(command: &Command) -> String {
    match command {
        Command::Register(it) => {
            let node = if it.skip_node_update { "" } else { " node" };
            let service = it.service.iter().map(|service| format!(" {}", service.id)).collect::<String>();
            let checks = it.checks.iter().map(|check| format!(" +{}", check.id)).collect::<String>();
            format!("register{node}{service}{checks}")
        }
        Command::Autopilot(_) => "autopilot".to_owned(),
        Command::Deregister(it) => format!("deregister {}{}", it.service_id, it.check_id),
    }
}

#[test]
fn what_is_the_same_is_not_written() {
    let records = records(vec![declared("a", &["x"]), declared("b", &[])], &["n"]);
    assert_eq!(proposals(&records, Some(&entry(&records))), Vec::<String>::new());
}

#[test]
fn what_is_missing_is_registered_in_one_command_each() {
    let records = records(vec![declared("a", &["x", "y"])], &["n"]);
    assert_eq!(proposals(&records, None), ["register node", "register node a +x +y", "register node +n"]);
    let empty = NodeEntry::new(shown_node(), [], []);
    assert_eq!(proposals(&records, Some(&empty)), ["register a +x +y", "register +n"]);
}

#[test]
fn only_what_differs_is_registered() {
    let before = records(vec![declared("a", &["x", "y"])], &["n"]);
    let shown = entry(&before);
    let changed = |change: fn(&mut ServiceDefinition)| {
        let mut definition = declared("a", &["x", "y"]);
        change(&mut definition);
        records(vec![definition], &["n"])
    };
    type Case = (fn(&mut ServiceDefinition), &'static [&'static str]);
    let cases: [Case; 6] = [
        (|it| it.port = 1, &["register a"]),
        (|it| it.tags = vec!["t".to_owned()], &["register a"]),
        (|it| it.name = "other".to_owned(), &["register a"]),
        (|it| it.checks[0].status = Some(Status::Passing), &["register +x"]),
        (|it| it.checks[1].notes = "n".to_owned(), &["register +y"]),
        (|it| it.checks.truncate(1), &["deregister y"]),
    ];
    for (change, expected) in cases {
        assert_eq!(proposals(&changed(change), Some(&shown)), expected);
    }
}

#[test]
fn what_is_unknown_here_is_removed_but_not_what_the_leader_keeps() {
    let mut shown = records(vec![declared("a", &["x"]), declared("consul", &[])], &["n", SERF_HEALTH]);
    assert_eq!(proposals(&records(vec![], &[]), Some(&entry(&shown))), ["deregister a", "deregister n"]);
    shown.apply(Operation::DeregisterService { id: "a".to_owned() }).unwrap();
    let client = View {
        node: &own_node(),
        records: &records(vec![], &[]),
        entry: Some(&entry(&shown)),
        server: false,
        words_wait: &|_| false,
    };
    assert_eq!(client.targets(), [Target::Service("consul".to_owned()), Target::Check("n".to_owned())]);
}

#[test]
fn ids_are_compared_without_regard_to_case() {
    let shown = entry(&records(vec![declared("Web1", &["X"])], &[]));
    assert_eq!(proposals(&records(vec![declared("web1", &["X"])], &[]), Some(&shown)), ["register web1"]);
}

#[test]
fn a_node_that_differs_is_written_with_the_first_change() {
    let records = records(vec![], &[]);
    let moved = Node { address: "10.0.0.2".to_owned(), ..(*shown_node()).clone() };
    assert_eq!(proposals(&records, Some(&NodeEntry::new(Arc::new(moved), [], []))), ["register node"]);
}

#[test]
fn tags_others_may_change_are_taken_over_unless_just_registered() {
    let tagged = |tag: &str, may| ServiceDefinition {
        tags: vec![tag.to_owned()],
        enable_tag_override: may,
        ..declared("a", &[])
    };
    let shown = entry(&records(vec![tagged("theirs", true)], &[]));
    let ours = records(vec![tagged("ours", true)], &[]);
    assert_eq!(proposals(&ours, Some(&shown)), ["adopt theirs"]);
    let node = own_node();
    let view = View { node: &node, records: &ours, entry: Some(&shown), server: true, words_wait: &|_| false };
    let Plan::Propose(commands) = view.plan(&Target::Service("a".to_owned()), Mode::Registered) else {
        panic!("nothing proposed");
    };
    assert_eq!(commands.iter().map(describe).collect::<Vec<_>>(), ["register a"]);
    let fixed = records(vec![tagged("ours", false)], &[]);
    let shown = entry(&records(vec![tagged("theirs", false)], &[]));
    assert_eq!(proposals(&fixed, Some(&shown)), ["register a"]);
}

#[test]
fn comparisons_are_rarer_in_larger_clusters_and_sooner_after_failures() {
    let seconds = |members, failures, random| next_comparison(members, failures, random).as_secs_f64();
    let cases = [
        ((0, 0, 0.0), 60.0),
        ((1, 0, 0.5), 90.0),
        ((128, 0, 0.0), 60.0),
        ((129, 0, 0.0), 120.0),
        ((256, 0, 0.0), 120.0),
        ((257, 0, 0.0), 180.0),
        ((5000, 0, 1.0), 840.0),
        ((1, 1, 0.0), 0.25),
        ((1, 2, 1.0), 1.0),
        ((1, 40, 0.0), 15.0),
        ((1, u32::MAX, 1.0), 30.0),
    ];
    for ((members, failures, random), expected) in cases {
        assert_eq!(seconds(members, failures, random), expected, "{members} {failures} {random}");
    }
}

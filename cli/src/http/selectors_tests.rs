//! Filters on the catalog's values: what Consul 1.8.7 answers, and a second evaluator that knows only the JSON.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use serde_json::Value;
use usher_cluster::catalog::{
    Changes, Instance, State,
    command::{Command, Registration},
    model::{Check, Service, ServiceAddress, Status, Weights},
};

use super::{selectors, views};
use crate::filter::{Fields, Filter};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A catalog with one node; each service with its checks as `(id, status)`.
fn instances(registered: Vec<(Service, Vec<Check>)>) -> Vec<Arc<Instance>> {
    let mut state = State::default();
    let node_check = Check { id: "serfHealth".into(), status: Status::Passing, output: "alive".into(), ..check() };
    let node = Registration {
        node_id: "2ac1".into(),
        node: "n1".into(),
        address: "127.0.0.1".into(),
        datacenter: "dc1".into(),
        tagged_addresses: map(&[("lan", "127.0.0.1")]),
        node_meta: map(&[("rack", "r1")]),
        checks: vec![node_check],
        ..Registration::default()
    };
    for (index, (service, checks)) in (7..).zip(registered) {
        let mut registration = Registration { service: Some(service), ..node.clone() };
        registration.checks.extend(checks);
        state.apply(index, Command::Register(registration), &mut Changes::default()).unwrap();
    }
    state.service("web").value.map(|entry| entry.instances.clone()).unwrap_or_default()
}

fn check() -> Check {
    Check { node: "n1".into(), ..Check::default() }
}

/// The two instances the answers below were taken with.
fn two() -> Vec<Arc<Instance>> {
    let w1 = Service {
        id: "w1".into(),
        name: "web".into(),
        tags: vec!["v1".into(), "pri".into()],
        meta: map(&[("env", "prod"), ("a_b", "x"), ("dot-key", "z"), ("empty", "")]),
        port: 80,
        address: "10.0.0.1".into(),
        tagged_addresses: BTreeMap::from([("wan".into(), ServiceAddress { address: "1.2.3.4".into(), port: 99 })]),
        ..Service::default()
    };
    let c1 = Check { id: "c1".into(), name: "c one".into(), status: Status::Passing, ..check() };
    let c2 = Check { id: "c2".into(), status: Status::Critical, ..check() };
    let checks = [c1, c2].map(|check| Check { service_id: "w1".into(), kind: "ttl".into(), ..check });
    let w2 = Service { id: "w2".into(), name: "web".into(), port: 81, ..Service::default() };
    instances(vec![(w1, checks.to_vec()), (w2, Vec::new())])
}

/// The ids of those of the two that stay, or the error.
fn kept(fields: Fields<Instance>, text: &str) -> String {
    match Filter::compile(text, fields) {
        Ok(filter) => {
            let mut left = two();
            filter.retain(&mut left, |instance| instance);
            left.iter().map(|instance| instance.service.id.as_str()).collect::<Vec<_>>().join(" ")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn instances_as_consul_filters_them() {
    for (text, expected) in [
        ("", "w1 w2"),
        ("ServicePort == 80", "w1"),
        ("ServicePort==80", "w1"),
        ("ServicePort == \"0x50\"", "w1"),
        ("ServicePort == \"0120\"", "w1"),
        ("ServicePort == -80", ""),
        ("v1 in ServiceTags", "w1"),
        ("\"V1\" in ServiceTags", ""),
        ("ServiceTags not contains v1", "w2"),
        ("ServiceTags is empty", "w2"),
        ("ServiceTags is not empty", "w1"),
        ("ServiceMeta.env == prod", "w1"),
        ("ServiceMeta.env != prod", "w2"),
        ("ServiceMeta.nosuch == \"\"", ""),
        ("ServiceMeta.nosuch != \"\"", "w1 w2"),
        ("ServiceMeta.empty == \"\"", "w1"),
        ("ServiceMeta.nosuch not matches x", "w1 w2"),
        ("x not in ServiceMeta.nosuch", "w1 w2"),
        ("\"\" in ServiceMeta.nosuch", ""),
        ("ServiceMeta[\"dot-key\"] == z", "w1"),
        ("\"dot-key\" in ServiceMeta", "w1"),
        ("ServiceMeta is empty", "w2"),
        ("ServiceName matches `^w.b$`", "w1 w2"),
        ("ServiceName matches \"(?i)WEB\"", "w1 w2"),
        ("ServiceName not contains eb", ""),
        ("not ServicePort == 80", "w2"),
        ("ServiceWeights.Passing == 1", "w1 w2"),
        ("ServiceTaggedAddresses.wan.Port == 99", "w1"),
        ("ServiceTaggedAddresses.wan.Address != \"1.2.3.4\"", "w2"),
        ("wan in ServiceTaggedAddresses", "w1"),
        ("ServiceTaggedAddresses is empty", "w2"),
        ("ServiceTaggedAddresses.lan.Port == 0", ""),
        ("ServiceTaggedAddresses.lan.Port != 0", "w1 w2"),
        ("ServiceEnableTagOverride != \"f\"", ""),
        ("ServiceKind != \"connect-proxy\"", "w1 w2"),
        ("ServiceConnect.Native == false", "w1 w2"),
        ("ServiceProxy.DestinationServiceName == \"\"", "w1 w2"),
        ("Datacenter == dc1 and NodeMeta.rack == r1 and TaggedAddresses.lan matches 127", "w1 w2"),
        ("ServicePort == 80 or ServicePort == 81 and ServiceTags is not empty", "w1"),
    ] {
        assert_eq!(kept(selectors::SERVICE_NODE, text), expected, "{text}");
    }
}

// A key that is missing matches nothing; Consul 1.8 takes it to match everything, later ones do as this.
#[test]
fn a_missing_key_matches_nothing() {
    assert_eq!(kept(selectors::SERVICE_NODE, "ServiceMeta.nosuch matches \".*\""), "");
}

#[test]
fn health_as_consul_filters_it() {
    for (text, expected) in [
        ("Checks.Status == critical", "w1"),
        ("Checks.Status != critical", "w1 w2"),
        ("Checks.Status != passing", "w1"),
        ("not Checks.Status == critical", "w2"),
        ("Checks.ServiceTags contains v1", "w1"),
        ("Checks.ServiceTags is empty", "w1 w2"),
        ("Checks is empty", ""),
        ("Checks.Status not matches pas", "w1"),
        ("Checks.Type == ttl", "w1"),
        ("Checks.CheckID == serfHealth", "w1 w2"),
        ("Service.Meta.env == prod", "w1"),
        ("Service.Weights.Warning == 1", "w1 w2"),
        ("Node.Node == n1 and Node.Meta.rack == r1", "w1 w2"),
        ("AggregatedStatus == critical", "w1"),
    ] {
        assert_eq!(kept(selectors::HEALTH, text), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_asked() {
    for (text, expected) in [
        ("Nope == 1", "Selector \"Nope\" is not valid (at 1:1; there are ID, Node, Address"),
        ("x in nope", "Selector \"nope\" is not valid (at 1:6"),
        (
            "ServicePort == 80 and\n ServiceTags.v1 == 1",
            "Selector \"ServiceTags.v1\" is not valid (at 2:2; it has no parts)",
        ),
        ("NodeMeta.rack.x == 1", "Selector \"NodeMeta.rack.x\" is not valid"),
        ("ServiceTaggedAddresses.wan.x == 1", "Selector \"ServiceTaggedAddresses.wan.x\" is not valid"),
        ("CreateIndex == 1", "Selector \"CreateIndex\" is not valid"),
        (
            "ServicePort == x",
            "Failed to coerce value \"x\" for selector \"ServicePort\": it is no whole number (at 1:16)",
        ),
        ("ServicePort == 80.0", "Failed to coerce value \"80.0\""),
        ("ServiceEnableTagOverride == no", "Failed to coerce value \"no\""),
        ("ServicePort matches 8", "Invalid match operator \"Matches\" for selector \"ServicePort\" (at 1:1; ==, !=)"),
        ("ServiceMeta matches 8", "Invalid match operator \"Matches\" for selector \"ServiceMeta\""),
        ("ServiceTags == v1", "Invalid match operator \"Equal\" for selector \"ServiceTags\""),
        ("ServiceName is empty", "Invalid match operator \"Is Empty\" for selector \"ServiceName\""),
        ("ServiceMeta.x is not empty", "Invalid match operator \"Is Not Empty\" for selector \"ServiceMeta.x\""),
        ("ServiceWeights == 1", "Invalid match operator \"Equal\" for selector \"ServiceWeights\""),
        ("ServiceTaggedAddresses.lan is empty", "Invalid match operator \"Is Empty\""),
        ("ServiceName matches `(`", "Failed to compile regular expression \"(\": unclosed group (at 1:21)"),
        ("ServiceName matches `\\w{900}{900}`", "Failed to compile regular expression"),
    ] {
        let error = kept(selectors::SERVICE_NODE, text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    assert!(kept(selectors::HEALTH, "Checks == 1").starts_with("Invalid match operator \"Equal\""));
    assert!(kept(selectors::HEALTH, "Checks.Definition.HTTP == x").starts_with("Selector \"Checks.Definition\" is"));
    let many = vec!["ServiceName matches x"; 33].join(" or ");
    assert_eq!(kept(selectors::SERVICE_NODE, &many), "more than 32 regular expressions in one expression");
}

/// An expression for the second evaluator, and how it is written.
#[derive(Clone, Debug)]
enum Dumb {
    Any(Box<Dumb>, Box<Dumb>),
    All(Box<Dumb>, Box<Dumb>),
    Not(Box<Dumb>),
    /// Path, operator, value.
    Leaf(Vec<&'static str>, &'static str, &'static str),
}

impl Dumb {
    fn text(&self) -> String {
        match self {
            Self::Any(left, right) => format!("({} or {})", left.text(), right.text()),
            Self::All(left, right) => format!("({} and {})", left.text(), right.text()),
            Self::Not(inner) => format!("not {}", inner.text()),
            Self::Leaf(path, operator, value) => {
                let (first, rest) = path.split_first().unwrap();
                let selector = rest.iter().fold((*first).to_owned(), |path, name| format!("{path}[{name:?}]"));
                match *operator {
                    "is empty" | "is not empty" => format!("{selector} {operator}"),
                    "in" | "not in" => format!("{value:?} {operator} {selector}"),
                    _ => format!("{selector} {operator} {value:?}"),
                }
            }
        }
    }

    fn holds(&self, item: &Value) -> bool {
        match self {
            Self::Any(left, right) => left.holds(item) || right.holds(item),
            Self::All(left, right) => left.holds(item) && right.holds(item),
            Self::Not(inner) => !inner.holds(item),
            Self::Leaf(path, operator, value) => leaf(item, path, operator, value),
        }
    }
}

fn leaf(item: &Value, path: &[&str], operator: &str, value: &str) -> bool {
    if let (Some((name, rest)), false) = (path.split_first(), item.is_null()) {
        return match item {
            Value::Array(elements) => elements.iter().any(|element| leaf(element, path, operator, value)),
            item => leaf(item.get(name).unwrap_or(&Value::Null), rest, operator, value),
        };
    }
    let (operator, wanted) = match operator {
        "!=" => ("==", false),
        "is not empty" => ("is empty", false),
        operator => operator.strip_prefix("not ").map_or((operator, true), |operator| (operator, false)),
    };
    let holds = match (item, operator) {
        (Value::Null, "is empty") => true,
        (Value::String(text), "==") => text == value,
        (Value::String(text), "in") => text.contains(value),
        (Value::String(text), "matches") => text.starts_with(value.trim_start_matches('^')),
        (Value::Number(number), "==") => number.to_string() == value,
        (Value::Bool(truth), "==") => truth.to_string() == value,
        (Value::Array(list), "is empty") => list.is_empty(),
        (Value::Array(list), "in") => list.iter().any(|element| element == value),
        (Value::Object(map), "is empty") => map.is_empty(),
        (Value::Object(map), "in") => map.contains_key(value),
        _ => false,
    };
    holds == wanted
}

const TEXTS: [&str; 6] = ["==", "!=", "in", "not in", "matches", "not matches"];
const LISTS: [&str; 4] = ["in", "not in", "is empty", "is not empty"];

fn leaves() -> impl Strategy<Value = Dumb> {
    let text = prop_oneof![
        Just(vec!["Node", "Node"]),
        Just(vec!["Node", "Meta", "rack"]),
        Just(vec!["Node", "Meta", "none"]),
        Just(vec!["Service", "ID"]),
        Just(vec!["Service", "Meta", "a"]),
        Just(vec!["Service", "TaggedAddresses", "wan", "Address"]),
        Just(vec!["Checks", "Status"]),
        Just(vec!["Checks", "Name"]),
        Just(vec!["AggregatedStatus"]),
    ];
    let value = prop::sample::select(vec!["", "a", "b", "w1", "r1", "n1", "wan", "passing", "critical"]);
    let pattern = prop::sample::select(vec!["^a", "^w", "^r1", "^pass", "^"]);
    let list = prop_oneof![
        Just(vec!["Service", "Tags"]),
        Just(vec!["Service", "Meta"]),
        Just(vec!["Service", "TaggedAddresses"]),
        Just(vec!["Checks", "ServiceTags"]),
    ];
    let number = prop_oneof![
        Just(vec!["Service", "Port"]),
        Just(vec!["Service", "Weights", "Passing"]),
        Just(vec!["Service", "TaggedAddresses", "wan", "Port"]),
    ];
    let equality = prop::sample::select(vec!["==", "!="]);
    prop_oneof![
        (text, prop::sample::select(TEXTS.to_vec()), value.clone(), pattern).prop_map(
            |(path, operator, value, pattern)| {
                Dumb::Leaf(path, operator, if operator.ends_with("matches") { pattern } else { value })
            }
        ),
        (list, prop::sample::select(LISTS.to_vec()), value)
            .prop_map(|(path, operator, value)| Dumb::Leaf(path, operator, value)),
        (number, equality.clone(), prop::sample::select(vec!["0", "1", "2", "-1"]))
            .prop_map(|(path, operator, value)| Dumb::Leaf(path, operator, value)),
        (equality, prop::sample::select(vec!["true", "false"])).prop_map(|(operator, value)| Dumb::Leaf(
            vec!["Service", "EnableTagOverride"],
            operator,
            value
        )),
    ]
}

fn expressions() -> impl Strategy<Value = Dumb> {
    leaves().prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| Dumb::Any(left.into(), right.into())),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| Dumb::All(left.into(), right.into())),
            inner.prop_map(|inner| Dumb::Not(inner.into())),
        ]
    })
}

fn services() -> impl Strategy<Value = (Service, Vec<Check>)> {
    let word = || prop::sample::select(vec!["", "a", "b", "w1"]).prop_map(str::to_owned);
    let key = prop::sample::select(vec!["a", "b", "w1"]).prop_map(str::to_owned);
    let words = prop::collection::btree_map(key, word(), 0..3);
    let tags = prop::collection::vec(word(), 0..3);
    let wan = (0i64..3, word()).prop_map(|(port, address)| ServiceAddress { address, port });
    let tagged = prop::collection::btree_map(Just("wan".to_owned()), wan, 0..2);
    let statuses =
        prop::collection::vec((prop::sample::select(vec!["passing", "warning", "critical", "a"]), word()), 0..3);
    (words, tags, tagged, -1i64..3, any::<bool>(), 1i64..3, statuses).prop_map(
        |(meta, tags, tagged_addresses, port, enable_tag_override, passing, statuses)| {
            let service = Service {
                id: "w1".into(),
                name: "web".into(),
                meta,
                tags,
                tagged_addresses,
                port,
                enable_tag_override,
                weights: Weights { passing, warning: 1 },
                ..Service::default()
            };
            let checks = (0..).zip(statuses).map(|(number, (status, name))| Check {
                id: format!("c{number}"),
                name,
                status: status.into(),
                service_id: "w1".into(),
                ..check()
            });
            (service, checks.collect())
        },
    )
}

proptest! {
    #[test]
    fn a_second_evaluator_agrees(expression in expressions(), registered in services()) {
        let instances = instances(vec![registered]);
        let instance = instances.first().unwrap();
        let text = expression.text();
        let filter = Filter::compile(&text, selectors::HEALTH).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let json = serde_json::to_value(views::HealthView::from(&**instance)).unwrap();
        prop_assert_eq!(filter.keeps(instance), expression.holds(&json), "{} on {}", text, json);
    }

    #[test]
    fn no_text_is_too_strange(text in "[ a-c().=!\"`'\\[\\]0-9notis{\\\\}-]{0,40}") {
        let _either = Filter::compile(&text, selectors::HEALTH);
    }
}

/// The names a list's JSON has are those selectors have, but for what Consul does not select by.
#[test]
fn selectors_are_the_names_of_the_json() {
    fn names(value: &Value) -> Vec<String> {
        let left_out = ["CreateIndex", "ModifyIndex", "Definition"];
        value.as_object().unwrap().keys().filter(|name| !left_out.contains(&name.as_str())).cloned().collect()
    }
    fn all_known<T>(value: &Value, fields: Fields<T>) {
        for name in names(value) {
            assert!(fields.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
    let instances = two();
    let instance = instances.first().unwrap();
    let json = serde_json::to_value(views::HealthView::from(&**instance)).unwrap();
    all_known(&json, selectors::HEALTH);
    all_known(&json["Node"], selectors::NODE);
    all_known(&json["Service"], selectors::SERVICE);
    all_known(&json["Checks"][0], selectors::CHECK);
    all_known(&serde_json::to_value(views::ServiceNodeView::from(&**instance)).unwrap(), selectors::SERVICE_NODE);
}

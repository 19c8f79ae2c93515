//! The JSON of the catalog: nodes, instances and checks in Consul's shapes and order of fields.
//!
//! Pure. Borrowed views over the catalog's values; nothing is copied. Clients tell `null`, `[]` and `{}` apart, so each
//! field says which of them it is when empty.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Serialize, Serializer};
use usher_cluster::catalog::{
    Instance, NodeEntry,
    model::{Check, Node, Service, ServiceAddress, Weights},
};

use super::{check_definition::DefinitionView, maintenance};

/// A map, or `null` when there is nothing in it.
pub(super) fn map_or_null<V: Serialize>(map: &BTreeMap<String, V>) -> Option<&BTreeMap<String, V>> {
    (!map.is_empty()).then_some(map)
}

/// The user's pairs of a node. An agent always tells a map; a node registered without any has `null`.
fn node_meta(node: &Node) -> Option<&BTreeMap<String, String>> {
    (!node.id.is_empty() || !node.meta.is_empty()).then_some(&node.meta)
}

/// `/v1/catalog/nodes`, and the node within other answers.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NodeView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    tagged_addresses: Option<&'a BTreeMap<String, String>>,
    meta: Option<&'a BTreeMap<String, String>>,
    create_index: u64,
    modify_index: u64,
}

impl<'a> From<&'a Node> for NodeView<'a> {
    fn from(node: &'a Node) -> Self {
        Self {
            id: &node.id,
            node: &node.name,
            address: &node.address,
            datacenter: &node.datacenter,
            tagged_addresses: map_or_null(&node.tagged_addresses),
            meta: node_meta(node),
            create_index: node.create_index,
            modify_index: node.modify_index,
        }
    }
}

/// SRV weights.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WeightsView {
    passing: i64,
    warning: i64,
}

impl From<Weights> for WeightsView {
    fn from(weights: Weights) -> Self {
        Self { passing: weights.passing, warning: weights.warning }
    }
}

/// Addresses by purpose, with ports.
pub(super) struct AddressesView<'a>(pub(super) &'a BTreeMap<String, ServiceAddress>);

impl<'a> AddressesView<'a> {
    /// The view, or nothing when there are none: the field is then left out.
    pub(super) fn unless_empty(addresses: &'a BTreeMap<String, ServiceAddress>) -> Option<Self> {
        (!addresses.is_empty()).then_some(Self(addresses))
    }
}

impl Serialize for AddressesView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct One<'a> {
            address: &'a str,
            port: i64,
        }
        serializer.collect_map(
            self.0.iter().map(|(purpose, address)| (purpose, One { address: &address.address, port: address.port })),
        )
    }
}

/// An instance as part of its node (`/v1/catalog/node/:node`, `/v1/health/service/:service`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NodeServiceView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [String],
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tagged_addresses: Option<AddressesView<'a>>,
    meta: Option<&'a BTreeMap<String, String>>,
    port: i64,
    weights: WeightsView,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u16>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    draining: bool,
    enable_tag_override: bool,
    create_index: u64,
    modify_index: u64,
}

impl<'a> From<&'a Service> for NodeServiceView<'a> {
    fn from(service: &'a Service) -> Self {
        Self {
            id: &service.id,
            service: &service.name,
            tags: &service.tags,
            address: &service.address,
            tagged_addresses: AddressesView::unless_empty(&service.tagged_addresses),
            meta: map_or_null(&service.meta),
            port: service.port,
            weights: service.weights.into(),
            priority: service.priority,
            draining: service.draining,
            enable_tag_override: service.enable_tag_override,
            create_index: service.create_index,
            modify_index: service.modify_index,
        }
    }
}

/// An instance with its node's data in one flat object (`/v1/catalog/service/:service`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ServiceNodeView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    tagged_addresses: Option<&'a BTreeMap<String, String>>,
    node_meta: Option<&'a BTreeMap<String, String>>,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    service_address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tagged_addresses: Option<AddressesView<'a>>,
    service_weights: WeightsView,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_priority: Option<u16>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    service_draining: bool,
    service_meta: &'a BTreeMap<String, String>,
    service_port: i64,
    service_enable_tag_override: bool,
    create_index: u64,
    modify_index: u64,
}

impl<'a> From<&'a Instance> for ServiceNodeView<'a> {
    fn from(instance: &'a Instance) -> Self {
        let (node, service) = (&*instance.node, &*instance.service);
        Self {
            id: &node.id,
            node: &node.name,
            address: &node.address,
            datacenter: &node.datacenter,
            tagged_addresses: map_or_null(&node.tagged_addresses),
            node_meta: node_meta(node),
            service_id: &service.id,
            service_name: &service.name,
            service_tags: &service.tags,
            service_address: &service.address,
            service_tagged_addresses: AddressesView::unless_empty(&service.tagged_addresses),
            service_weights: service.weights.into(),
            service_priority: service.priority,
            service_draining: service.draining,
            service_meta: &service.meta,
            service_port: service.port,
            service_enable_tag_override: service.enable_tag_override,
            create_index: service.create_index,
            modify_index: service.modify_index,
        }
    }
}

/// A check, in the catalog and on an agent alike.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CheckView<'a> {
    node: &'a str,
    #[serde(rename = "CheckID")]
    check_id: &'a str,
    name: &'a str,
    status: &'a str,
    notes: &'a str,
    output: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    r#type: &'a str,
    definition: DefinitionView<'a>,
    create_index: u64,
    modify_index: u64,
}

impl<'a> From<&'a Check> for CheckView<'a> {
    fn from(check: &'a Check) -> Self {
        Self {
            node: &check.node,
            check_id: &check.id,
            name: &check.name,
            status: check.status.as_str(),
            notes: &check.notes,
            output: &check.output,
            service_id: &check.service_id,
            service_name: &check.service_name,
            service_tags: &check.service_tags,
            r#type: &check.kind,
            definition: DefinitionView(&check.definition),
            create_index: check.create_index,
            modify_index: check.modify_index,
        }
    }
}

/// One instance with its node and health (`/v1/health/service/:service`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HealthView<'a> {
    node: NodeView<'a>,
    service: NodeServiceView<'a>,
    checks: Vec<CheckView<'a>>,
    /// The worst of the checks (not in Consul, whose clients compute it).
    aggregated_status: &'a str,
}

impl<'a> From<&'a Instance> for HealthView<'a> {
    fn from(instance: &'a Instance) -> Self {
        Self {
            node: NodeView::from(&*instance.node),
            service: NodeServiceView::from(&*instance.service),
            checks: checks(&instance.checks),
            aggregated_status: aggregated_status(instance),
        }
    }
}

/// `maintenance` where a check says so, else the worst status as the catalog counts it.
pub(super) fn aggregated_status(instance: &Instance) -> &str {
    if instance.checks.iter().any(|check| maintenance::is_maintenance(&check.id)) {
        return maintenance::STATUS;
    }
    instance.status.as_str()
}

/// A list of checks; never `null`.
pub(super) fn checks(checks: &[Arc<Check>]) -> Vec<CheckView<'_>> {
    checks.iter().map(|check| CheckView::from(&**check)).collect()
}

/// A node with its instances by id (`/v1/catalog/node/:node`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NodeServicesView<'a> {
    node: NodeView<'a>,
    services: BTreeMap<&'a str, NodeServiceView<'a>>,
}

impl<'a> NodeServicesView<'a> {
    /// The node and those of its instances in `services`.
    pub(super) fn new(entry: &'a NodeEntry, services: &'a [Arc<Service>]) -> Self {
        Self {
            node: NodeView::from(&*entry.node),
            services: services.iter().map(|service| (service.id.as_str(), (&**service).into())).collect(),
        }
    }
}

/// A node with its instances as a list (`/v1/catalog/node-services/:node`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NodeServiceListView<'a> {
    node: Option<NodeView<'a>>,
    services: Option<Vec<NodeServiceView<'a>>>,
}

impl<'a> NodeServiceListView<'a> {
    /// The node and those of its instances in `services`; both `null` for an unknown one.
    pub(super) fn new(found: Option<(&'a NodeEntry, &'a [Arc<Service>])>) -> Self {
        Self {
            node: found.map(|(entry, _)| NodeView::from(&*entry.node)),
            services: found.map(|(_, services)| services.iter().map(|service| (&**service).into()).collect()),
        }
    }
}

/// Service names with their tags (`/v1/catalog/services`).
pub(super) struct ServicesView<'a>(pub(super) &'a [(Arc<str>, Vec<String>)]);

impl Serialize for ServicesView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, tags)| (&**name, tags)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use usher_cluster::catalog::{
        Changes, State,
        command::{Command, Registration},
        model::{Check, CheckDefinition, Node, Service, ServiceAddress},
    };

    use super::{CheckView, HealthView, NodeServiceListView, NodeServicesView, NodeView, ServiceNodeView};

    fn text(value: &impl serde::Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    fn node() -> Node {
        Node {
            name: "n".into(),
            address: "10.0.0.1".into(),
            datacenter: "dc1".into(),
            create_index: 5,
            modify_index: 6,
            ..Node::default()
        }
    }

    fn service() -> Service {
        Service {
            id: "w1".into(),
            name: "web".into(),
            port: 80,
            create_index: 7,
            modify_index: 8,
            ..Service::default()
        }
    }

    #[test]
    fn a_node_without_anything_has_nulls() {
        assert_eq!(
            text(&NodeView::from(&node())),
            r#"{"ID":"","Node":"n","Address":"10.0.0.1","Datacenter":"dc1","TaggedAddresses":null,"Meta":null,"CreateIndex":5,"ModifyIndex":6}"#
        );
    }

    #[test]
    fn an_agents_node_has_a_map() {
        let node = Node { id: "x".into(), ..node() };
        assert!(text(&NodeView::from(&node)).contains(r#""Meta":{}"#));
    }

    /// A catalog with that one instance on that one node.
    fn catalog(service: Service) -> State {
        let mut state = State::default();
        let registration = Registration {
            node: "n".into(),
            address: "10.0.0.1".into(),
            datacenter: "dc1".into(),
            service: Some(service),
            ..Registration::default()
        };
        state.apply(7, Command::Register(registration), &mut Changes::default()).unwrap();
        state
    }

    #[test]
    fn an_instance_flat() {
        let entry = catalog(service()).service("web").value.unwrap();
        let instance = entry.instances.first().unwrap();
        assert_eq!(
            text(&ServiceNodeView::from(&**instance)),
            r#"{"ID":"","Node":"n","Address":"10.0.0.1","Datacenter":"dc1","TaggedAddresses":null,"NodeMeta":null,"ServiceID":"w1","ServiceName":"web","ServiceTags":[],"ServiceAddress":"","ServiceWeights":{"Passing":1,"Warning":1},"ServiceMeta":{},"ServicePort":80,"ServiceEnableTagOverride":false,"CreateIndex":7,"ModifyIndex":7}"#
        );
        assert!(text(&HealthView::from(&**instance)).ends_with(r#""Checks":[],"AggregatedStatus":"passing"}"#));
    }

    #[test]
    fn an_instance_of_a_node() {
        let tagged = BTreeMap::from([("wan".to_owned(), ServiceAddress { address: "1.2.3.4".into(), port: 9 })]);
        let entry = catalog(Service { tagged_addresses: tagged, ..service() }).node("n").value.unwrap();
        let expected = json!({
            "ID": "w1", "Service": "web", "Tags": [], "Address": "",
            "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 9}}, "Meta": null, "Port": 80,
            "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false, "CreateIndex": 7, "ModifyIndex": 7
        });
        let services: Vec<_> = entry.services.iter().cloned().collect();
        let by_id = serde_json::to_value(NodeServicesView::new(&entry, &services)).unwrap();
        assert_eq!(by_id["Services"], json!({"w1": expected}));
        let list = serde_json::to_value(NodeServiceListView::new(Some((&entry, &services)))).unwrap();
        assert_eq!(list["Services"], json!([expected]));
        assert_eq!(text(&NodeServiceListView::new(None)), r#"{"Node":null,"Services":null}"#);
    }

    #[test]
    fn a_check_with_and_without_definition() {
        let plain = Check { node: "n".into(), id: "c".into(), name: "c".into(), ..Check::default() };
        assert_eq!(
            text(&CheckView::from(&plain)),
            r#"{"Node":"n","CheckID":"c","Name":"c","Status":"critical","Notes":"","Output":"","ServiceID":"","ServiceName":"","ServiceTags":[],"Type":"","Definition":{},"CreateIndex":0,"ModifyIndex":0}"#
        );
        let definition = CheckDefinition {
            http: "http://x".into(),
            interval_ns: 10_000_000_000,
            header: BTreeMap::from([("a".to_owned(), vec!["b".to_owned()])]),
            ..CheckDefinition::default()
        };
        let full = Check { definition, ..plain };
        let value = serde_json::to_value(CheckView::from(&full)).unwrap();
        assert_eq!(value["Definition"], json!({"Interval": "10s", "HTTP": "http://x", "Header": {"a": ["b"]}}));
    }
}

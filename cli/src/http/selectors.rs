//! The selectors that filter expressions have for what lists hold: Consul's names, mostly those of the JSON.
//!
//! Pure. Beside [`super::views`], which shows the same values; a test holds them together.
//!
//! Usher has no service mesh, so what it would say of a service is the same for all: no kind, no proxy, not native.
//! Clients that ask to leave proxies out (`Service.Kind != "connect-proxy"`) get every service.

use usher_cluster::catalog::{
    Instance,
    model::{Check, Node, Service, ServiceAddress, Weights},
};

use super::views;
use crate::filter::{ByName, Each, Field, Fields, Part};

/// A node (`/v1/catalog/nodes`).
pub(super) const NODE: Fields<Node> = &[
    ("ID", Field::Text(|node| &node.id)),
    ("Node", Field::Text(|node| &node.name)),
    ("Address", Field::Text(|node| &node.address)),
    ("Datacenter", Field::Text(|node| &node.datacenter)),
    ("TaggedAddresses", Field::Pairs(|node| &node.tagged_addresses)),
    ("Meta", Field::Pairs(|node| &node.meta)),
];

/// A service of a node or an agent (`/v1/catalog/node/:node`, `/v1/agent/services`).
pub(super) const SERVICE: Fields<Service> = &[
    ("Kind", Field::Text(|_| "")),
    ("ID", Field::Text(|service| &service.id)),
    ("Service", Field::Text(|service| &service.name)),
    ("Tags", Field::Texts(|service| &service.tags)),
    ("Address", Field::Text(|service| &service.address)),
    ("TaggedAddresses", Field::Inner(&ByName { get: |service: &Service| &service.tagged_addresses, fields: ADDRESS })),
    ("Meta", Field::Pairs(|service| &service.meta)),
    ("Port", Field::Number(|service| service.port)),
    ("Weights", Field::Inner(&Part { get: |service: &Service| &service.weights, fields: WEIGHTS })),
    ("EnableTagOverride", Field::Truth(|service| service.enable_tag_override)),
    ("Proxy", Field::Inner(&Part { get: |service: &Service| service, fields: PROXY })),
    ("Connect", Field::Inner(&Part { get: |service: &Service| service, fields: CONNECT })),
];

/// A check, in the catalog or on an agent (`/v1/health/…`, `/v1/agent/checks`).
pub(super) const CHECK: Fields<Check> = &[
    ("Node", Field::Text(|check| &check.node)),
    ("CheckID", Field::Text(|check| &check.id)),
    ("Name", Field::Text(|check| &check.name)),
    ("Status", Field::Text(|check| check.status.as_str())),
    ("Notes", Field::Text(|check| &check.notes)),
    ("Output", Field::Text(|check| &check.output)),
    ("ServiceID", Field::Text(|check| &check.service_id)),
    ("ServiceName", Field::Text(|check| &check.service_name)),
    ("ServiceTags", Field::Texts(|check| &check.service_tags)),
    ("Type", Field::Text(|check| &check.kind)),
];

/// An instance with its node in one flat object (`/v1/catalog/service/:service`).
pub(super) const SERVICE_NODE: Fields<Instance> = &[
    ("ID", Field::Text(|instance| &instance.node.id)),
    ("Node", Field::Text(|instance| &instance.node.name)),
    ("Address", Field::Text(|instance| &instance.node.address)),
    ("Datacenter", Field::Text(|instance| &instance.node.datacenter)),
    ("TaggedAddresses", Field::Pairs(|instance| &instance.node.tagged_addresses)),
    ("NodeMeta", Field::Pairs(|instance| &instance.node.meta)),
    ("ServiceKind", Field::Text(|_| "")),
    ("ServiceID", Field::Text(|instance| &instance.service.id)),
    ("ServiceName", Field::Text(|instance| &instance.service.name)),
    ("ServiceTags", Field::Texts(|instance| &instance.service.tags)),
    ("ServiceAddress", Field::Text(|instance| &instance.service.address)),
    (
        "ServiceTaggedAddresses",
        Field::Inner(&ByName { get: |instance: &Instance| &instance.service.tagged_addresses, fields: ADDRESS }),
    ),
    ("ServiceWeights", Field::Inner(&Part { get: |instance: &Instance| &instance.service.weights, fields: WEIGHTS })),
    ("ServiceMeta", Field::Pairs(|instance| &instance.service.meta)),
    ("ServicePort", Field::Number(|instance| instance.service.port)),
    ("ServiceEnableTagOverride", Field::Truth(|instance| instance.service.enable_tag_override)),
    ("ServiceProxy", Field::Inner(&Part { get: |instance: &Instance| &*instance.service, fields: PROXY })),
    ("ServiceConnect", Field::Inner(&Part { get: |instance: &Instance| &*instance.service, fields: CONNECT })),
];

/// An instance with its node and health (`/v1/health/service/:service`).
pub(super) const HEALTH: Fields<Instance> = &[
    ("Node", Field::Inner(&Part { get: |instance: &Instance| &*instance.node, fields: NODE })),
    ("Service", Field::Inner(&Part { get: |instance: &Instance| &*instance.service, fields: SERVICE })),
    ("Checks", Field::Inner(&Each { get: |instance: &Instance| &instance.checks, fields: CHECK })),
    ("AggregatedStatus", Field::Text(views::aggregated_status)),
];

const ADDRESS: Fields<ServiceAddress> =
    &[("Address", Field::Text(|address| &address.address)), ("Port", Field::Number(|address| address.port))];

const WEIGHTS: Fields<Weights> =
    &[("Passing", Field::Number(|weights| weights.passing)), ("Warning", Field::Number(|weights| weights.warning))];

const PROXY: Fields<Service> = &[
    ("DestinationServiceName", Field::Text(|_| "")),
    ("DestinationServiceID", Field::Text(|_| "")),
    ("LocalServiceAddress", Field::Text(|_| "")),
    ("LocalServicePort", Field::Number(|_| 0)),
];

const CONNECT: Fields<Service> = &[("Native", Field::Truth(|_| false))];

//! The JSON of an agent's own affairs: members, services and their health.
//!
//! Pure; borrowed views as in [`crate::http::views`].

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};
use usher_cluster::{
    catalog::model::{Check, Service},
    membership::Member,
};

use crate::http::views::{AddressesView, WeightsView};

/// One member of a gossip pool. The protocol numbers are those a member of Consul 1.8 tells.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MemberView<'a> {
    name: &'a str,
    addr: String,
    port: u16,
    tags: &'a BTreeMap<String, String>,
    status: u8,
    protocol_min: u8,
    protocol_max: u8,
    protocol_cur: u8,
    delegate_min: u8,
    delegate_max: u8,
    delegate_cur: u8,
}

impl<'a> From<&'a Member> for MemberView<'a> {
    fn from(member: &'a Member) -> Self {
        Self {
            name: &member.name,
            addr: member.address.to_string(),
            port: member.port,
            tags: &member.tags,
            status: member.status as u8,
            protocol_min: 1,
            protocol_max: 5,
            protocol_cur: 2,
            delegate_min: 2,
            delegate_max: 5,
            delegate_cur: 4,
        }
    }
}

/// A service registered on this agent.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AgentServiceView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [String],
    meta: &'a BTreeMap<String, String>,
    port: i64,
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tagged_addresses: Option<AddressesView<'a>>,
    weights: WeightsView,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u16>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    draining: bool,
    enable_tag_override: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_hash: Option<String>,
}

impl<'a> From<&'a Service> for AgentServiceView<'a> {
    fn from(service: &'a Service) -> Self {
        Self {
            id: &service.id,
            service: &service.name,
            tags: &service.tags,
            meta: &service.meta,
            port: service.port,
            address: &service.address,
            tagged_addresses: AddressesView::unless_empty(&service.tagged_addresses),
            weights: service.weights.into(),
            priority: service.priority,
            draining: service.draining,
            enable_tag_override: service.enable_tag_override,
            content_hash: None,
        }
    }
}

impl AgentServiceView<'_> {
    /// The same with a hash of everything in it, which a client may wait to change.
    pub(super) fn hashed(self) -> Result<(Self, String), serde_json::Error> {
        let json = serde_json::to_vec(&self)?;
        let hash: String = Sha256::digest(&json).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok((Self { content_hash: Some(hash.clone()), ..self }, hash))
    }
}

/// A service with its health (`/v1/agent/health/service/…`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ServiceHealthView<'a> {
    /// The worst of its checks.
    pub(super) aggregated_status: &'static str,
    /// The service, `null` for an unknown one.
    pub(super) service: Option<AgentServiceView<'a>>,
    /// Its checks and the node's, `null` for an unknown service.
    pub(super) checks: Option<Vec<AgentCheckView<'a>>>,
}

/// A check as that answer shows it: without its kind, and with the form of a definition but none of its values, as Consul
/// keeps none there.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AgentCheckView<'a> {
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
    /// `null` for none.
    service_tags: Option<&'a [String]>,
    r#type: &'static str,
    definition: NoDefinition,
    create_index: u64,
    modify_index: u64,
}

impl<'a> From<&'a Check> for AgentCheckView<'a> {
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
            service_tags: Some(check.service_tags.as_slice()).filter(|tags| !tags.is_empty()),
            r#type: "",
            definition: NoDefinition::default(),
            create_index: check.create_index,
            modify_index: check.modify_index,
        }
    }
}

/// Nothing, in the form of a definition.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NoDefinition {
    interval: &'static str,
    timeout: &'static str,
    deregister_critical_service_after: &'static str,
    #[serde(rename = "HTTP")]
    http: &'static str,
    header: Option<()>,
    method: &'static str,
    body: &'static str,
    #[serde(rename = "TLSSkipVerify")]
    tls_skip_verify: bool,
    #[serde(rename = "TCP")]
    tcp: &'static str,
}

impl Default for NoDefinition {
    fn default() -> Self {
        let none = "0s";
        Self {
            interval: none,
            timeout: none,
            deregister_critical_service_after: none,
            http: "",
            header: None,
            method: "",
            body: "",
            tls_skip_verify: false,
            tcp: "",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::Ipv4Addr};

    use usher_cluster::{
        catalog::model::Service,
        membership::{Member, MemberStatus},
    };

    use super::{AgentServiceView, MemberView, ServiceHealthView};

    #[test]
    fn a_member() {
        let member = Member {
            name: "n1".into(),
            address: Ipv4Addr::LOCALHOST.into(),
            port: 8301,
            tags: BTreeMap::from([("role".to_owned(), "consul".to_owned())]),
            status: MemberStatus::Failed,
        };
        assert_eq!(
            serde_json::to_string(&MemberView::from(&member)).unwrap(),
            r#"{"Name":"n1","Addr":"127.0.0.1","Port":8301,"Tags":{"role":"consul"},"Status":4,"ProtocolMin":1,"ProtocolMax":5,"ProtocolCur":2,"DelegateMin":2,"DelegateMax":5,"DelegateCur":4}"#
        );
    }

    #[test]
    fn a_service_and_its_hash() {
        let service = Service { id: "web".into(), name: "web".into(), port: 80, ..Service::default() };
        assert_eq!(
            serde_json::to_string(&AgentServiceView::from(&service)).unwrap(),
            r#"{"ID":"web","Service":"web","Tags":[],"Meta":{},"Port":80,"Address":"","Weights":{"Passing":1,"Warning":1},"EnableTagOverride":false}"#
        );
        let hash = |service: &Service| AgentServiceView::from(service).hashed().unwrap().1;
        assert_eq!(hash(&service).len(), 16);
        assert_eq!(hash(&service), hash(&service.clone()));
        assert_ne!(hash(&service), hash(&Service { port: 81, ..service.clone() }));
        // The Raft index is no content.
        assert_eq!(hash(&service), hash(&Service { modify_index: 9, ..service.clone() }));
    }

    #[test]
    fn an_unknown_service_has_nulls() {
        let view = ServiceHealthView { aggregated_status: "critical", service: None, checks: None };
        assert_eq!(
            serde_json::to_string(&view).unwrap(),
            r#"{"AggregatedStatus":"critical","Service":null,"Checks":null}"#
        );
    }
}

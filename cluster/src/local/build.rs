//! A definition becomes what the catalog is shown: ids, names and addresses that were left out are filled in. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use super::definition::{CheckSpec, ServiceDefinition};
use crate::catalog::model::{Check, Service, ServiceAddress, Status};

/// How many leases after its lease ended a service is kept that does not say.
const LEASES_KEPT: u32 = 3;

/// The form in which ids are compared: without regard to ASCII case, as the catalog does.
pub(crate) fn fold(id: &str) -> String {
    id.to_ascii_lowercase()
}

/// The id of a service as registered.
pub(crate) fn service_id(definition: &ServiceDefinition) -> &str {
    if definition.id.is_empty() { &definition.name } else { &definition.id }
}

/// The instance a definition declares.
pub(crate) fn service(definition: &ServiceDefinition) -> Service {
    Service {
        id: service_id(definition).to_owned(),
        name: definition.name.clone(),
        tags: definition.tags.clone(),
        address: definition.address.clone(),
        tagged_addresses: tagged_addresses(definition),
        meta: definition.meta.clone(),
        port: definition.port,
        weights: definition.weights.unwrap_or_default(),
        draining: definition.draining,
        priority: definition.priority.and_then(|priority| u16::try_from(priority).ok()),
        enable_tag_override: definition.enable_tag_override,
        create_index: 0,
        modify_index: 0,
    }
}

/// The checks a definition declares, each with its id, name and service. Of several with one id the last is meant.
pub(crate) fn checks(definition: &ServiceDefinition) -> Vec<CheckSpec> {
    let service_id = service_id(definition);
    let numbered = definition.checks.len() > 1;
    let mut specs: Vec<CheckSpec> = Vec::with_capacity(definition.checks.len() + 1);
    for (position, declared) in definition.checks.iter().chain(&lease(definition)).enumerate() {
        let mut spec = declared.clone();
        spec.service_id = service_id.to_owned();
        if spec.id.is_empty() {
            spec.id = if numbered {
                format!("service:{service_id}:{}", position + 1)
            } else {
                format!("service:{service_id}")
            };
        }
        if spec.name.is_empty() {
            spec.name = format!("Service '{}' check", definition.name);
        }
        specs.retain(|earlier| !earlier.id.eq_ignore_ascii_case(&spec.id));
        specs.push(spec);
    }
    specs
}

/// The id of the check that a lease of the service `id` is.
pub(crate) fn lease_check_id(id: &str) -> String {
    format!("lease:{id}")
}

/// A lease is a check its program reports to, which begins as passing and takes the service with it when it is not.
fn lease(definition: &ServiceDefinition) -> Option<CheckSpec> {
    let lease = definition.lease?;
    Some(CheckSpec {
        id: lease_check_id(service_id(definition)),
        name: format!("Service '{}' lease", definition.name),
        status: Some(Status::Passing),
        ttl: Some(lease),
        deregister_critical_service_after: definition.lease_deregister_after.or_else(|| lease.checked_mul(LEASES_KEPT)),
        ..CheckSpec::default()
    })
}

/// A check as the catalog is shown it: `status` and `output` are what is known of its last result.
///
/// How it is run stays with the agent: as in Consul only checks registered in the catalog itself show a definition.
pub(crate) fn check(
    node: &str,
    spec: &CheckSpec,
    kind: &str,
    service: Option<&Service>,
    prior: Option<&Check>,
) -> Check {
    Check {
        node: node.to_owned(),
        id: spec.id.clone(),
        name: spec.name.clone(),
        status: prior.map(|prior| prior.status.clone()).or_else(|| spec.status.clone()).unwrap_or_default(),
        notes: spec.notes.clone(),
        output: prior.map(|prior| prior.output.clone()).unwrap_or_default(),
        service_id: service.map(|service| service.id.clone()).unwrap_or_default(),
        service_name: service.map(|service| service.name.clone()).unwrap_or_default(),
        service_tags: service.map(|service| service.tags.clone()).unwrap_or_default(),
        kind: kind.to_owned(),
        ..Check::default()
    }
}

/// An IP address is also shown by its family, for the LAN and the WAN, where the definition says nothing else.
fn tagged_addresses(definition: &ServiceDefinition) -> BTreeMap<String, ServiceAddress> {
    let mut addresses = definition.tagged_addresses.clone();
    let Ok(ip) = definition.address.parse::<IpAddr>() else {
        return addresses;
    };
    let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
    for network in ["lan", "wan"] {
        addresses
            .entry(format!("{network}_{family}"))
            .or_insert_with(|| ServiceAddress { address: definition.address.clone(), port: definition.port });
    }
    addresses
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalog::model::Status;

    fn spec(id: &str, name: &str) -> CheckSpec {
        CheckSpec {
            id: id.to_owned(),
            name: name.to_owned(),
            ttl: Some(Duration::from_secs(1)),
            ..CheckSpec::default()
        }
    }

    #[test]
    fn checks_are_named_and_numbered_as_consul_does() {
        type Case = (Vec<CheckSpec>, &'static [(&'static str, &'static str)]);
        let cases: [Case; 4] = [
            (vec![spec("", "")], &[("service:s1", "Service 'web' check")]),
            (vec![spec("mine", "named")], &[("mine", "named")]),
            (vec![spec("", "first"), spec("mine", "")], &[("service:s1:1", "first"), ("mine", "Service 'web' check")]),
            (
                vec![spec("dup", "a"), spec("", ""), spec("DUP", "b")],
                &[("service:s1:2", "Service 'web' check"), ("DUP", "b")],
            ),
        ];
        for (declared, expected) in cases {
            let definition = ServiceDefinition {
                id: "s1".to_owned(),
                name: "web".to_owned(),
                checks: declared,
                ..ServiceDefinition::default()
            };
            let made = checks(&definition);
            let made: Vec<_> = made.iter().map(|check| (check.id.as_str(), check.name.as_str())).collect();
            assert_eq!(made, expected);
        }
    }

    #[test]
    fn an_ip_address_is_shown_by_its_family_too() {
        let at = |address: &str, port| ServiceAddress { address: address.to_owned(), port };
        let named = |address: &str| ServiceDefinition {
            name: "web".to_owned(),
            address: address.to_owned(),
            port: 80,
            ..ServiceDefinition::default()
        };
        let keys = |definition: &ServiceDefinition| service(definition).tagged_addresses;
        assert_eq!(
            keys(&named("10.0.0.9")),
            BTreeMap::from([("lan_ipv4".to_owned(), at("10.0.0.9", 80)), ("wan_ipv4".to_owned(), at("10.0.0.9", 80))])
        );
        assert_eq!(
            keys(&named("2001:db8::5")),
            BTreeMap::from([
                ("lan_ipv6".to_owned(), at("2001:db8::5", 80)),
                ("wan_ipv6".to_owned(), at("2001:db8::5", 80))
            ])
        );
        assert!(keys(&named("")).is_empty());
        assert!(keys(&named("db.example.com")).is_empty());
        let mut given = named("10.0.0.9");
        given.tagged_addresses.insert("wan_ipv4".to_owned(), at("192.0.2.1", 1));
        assert_eq!(keys(&given).get("wan_ipv4"), Some(&at("192.0.2.1", 1)));
    }

    #[test]
    fn a_check_known_before_keeps_its_result() {
        let declared = CheckSpec { status: Some(Status::Warning), ..spec("c", "c") };
        let prior = Check { status: Status::Passing, output: "fine".to_owned(), ..Check::default() };
        assert_eq!(check("n1", &declared, "ttl", None, None).status, Status::Warning);
        assert_eq!(check("n1", &spec("c", "c"), "ttl", None, None).status, Status::Critical);
        let again = check("n1", &declared, "ttl", None, Some(&prior));
        assert_eq!((again.status, again.output.as_str()), (Status::Passing, "fine"));
    }
}

//! The settings in the form answers need: names already labels, TTLs already looked up by the longest prefix.
//!
//! Made once from a [`Policy`] at the start and at each reload; every answer borrows from it.

use std::collections::HashMap;

use crate::{
    policy::Policy,
    wire::{
        name::{Name, NotAName, encoded},
        qname::QName,
    },
};

/// A domain answered for.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Lower case, dots between the labels, none at the end.
    text: String,
    count: usize,
    wire: Vec<u8>,
}

impl Domain {
    fn new(text: &str) -> Result<Self, NotAName> {
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        let wire = encoded(&text)?;
        Ok(Self { count: text.split('.').count(), text, wire })
    }

    /// The number of labels of `name` before this domain, if it is under it.
    pub fn before(&self, name: &QName) -> Option<usize> {
        name.before(&self.text, self.count)
    }

    /// Its labels.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }
}

/// The settings, ready to answer by.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The settings as they were given.
    pub policy: Policy,
    domain: Domain,
    alt_domain: Option<Domain>,
    dc_domain: Vec<u8>,
    node_ttl: u32,
    exact_ttls: HashMap<String, u32>,
    /// Longest first.
    prefix_ttls: Vec<(String, u32)>,
}

/// A setting that no answer could be made by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The domain is no DNS name.
    #[error("domain {0:?} is not a DNS name")]
    Domain(String),
    /// The datacenter cannot stand before the domain.
    #[error("datacenter {0:?} cannot be part of a DNS name under the domain")]
    Datacenter(String),
}

impl Zone {
    /// Prepares the settings.
    pub fn new(policy: Policy) -> Result<Self, SettingError> {
        let of = |text: &str| Domain::new(text).map_err(|_| SettingError::Domain(text.to_owned()));
        let domain = of(&policy.domain)?;
        let alt = policy.alt_domain.trim_end_matches('.');
        let alt_domain = if alt.is_empty() { None } else { Some(of(alt)?) };
        let dc_domain = encoded(&format!("{}.{}", policy.datacenter.to_ascii_lowercase(), domain.text))
            .map_err(|_| SettingError::Datacenter(policy.datacenter.clone()))?;
        let mut exact_ttls = HashMap::new();
        let mut prefix_ttls = Vec::new();
        for (pattern, ttl) in &policy.service_ttl {
            let ttl = seconds(*ttl);
            match pattern.strip_suffix('*') {
                Some(prefix) => prefix_ttls.push((prefix.to_owned(), ttl)),
                None => {
                    exact_ttls.insert(pattern.clone(), ttl);
                }
            }
        }
        prefix_ttls.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let node_ttl = seconds(policy.node_ttl);
        Ok(Self { policy, domain, alt_domain, dc_domain, node_ttl, exact_ttls, prefix_ttls })
    }

    /// The labels of `name` before the domain or the second domain it is under; the longer of the two is tried first.
    pub fn before(&self, name: &QName) -> Option<usize> {
        let main = self.domain.before(name);
        let Some(alt) = &self.alt_domain else { return main };
        let other = alt.before(name);
        if alt.text.len() > self.domain.text.len() { other.or(main) } else { main.or(other) }
    }

    /// The domain's labels.
    pub fn domain(&self) -> &[u8] {
        self.domain.wire()
    }

    /// The labels of `<datacenter>.<domain>`.
    pub fn dc_domain(&self) -> &[u8] {
        &self.dc_domain
    }

    /// The zone's own name.
    pub fn apex(&self) -> Name<'_> {
        Name::lent(self.domain.wire(), &[])
    }

    /// Whether there is anybody to ask for names of others.
    pub fn recurses(&self) -> bool {
        !self.policy.recursors.is_empty()
    }

    /// The TTL of node, `.addr.` and NS records.
    pub fn node_ttl(&self) -> u32 {
        self.node_ttl
    }

    /// The TTL of a service's records: the exact name, else the longest prefix, else 0. `service` is lower case.
    pub fn service_ttl(&self, service: &str) -> u32 {
        if let Some(ttl) = self.exact_ttls.get(service) {
            return *ttl;
        }
        self.prefix_ttls.iter().find(|(prefix, _)| service.starts_with(prefix.as_str())).map_or(0, |(_, ttl)| *ttl)
    }
}

fn seconds(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn name(text: &str) -> QName {
        let mut name = QName::default();
        name.set(&encoded(text).unwrap()).unwrap();
        name
    }

    #[test]
    fn the_most_exact_service_ttl_wins() {
        let service_ttl = [("d*", 42), ("db", 10), ("db*", 66), ("*", 5), ("webapp-*", 17), ("weba*", 13)]
            .map(|(pattern, ttl)| (pattern.to_owned(), Duration::from_secs(ttl)))
            .to_vec();
        let zone = Zone::new(Policy { service_ttl, ..Policy::default() }).unwrap();
        for (service, ttl) in [("db", 10), ("dblb", 66), ("dk", 42), ("api", 5), ("webapp", 13), ("webapp-eu", 17)] {
            assert_eq!(zone.service_ttl(service), ttl, "{service}");
        }
        assert_eq!(Zone::new(Policy::default()).unwrap().service_ttl("db"), 0);
    }

    #[test]
    fn names_are_found_under_either_domain() {
        let policy = Policy { domain: "Consul.".into(), alt_domain: "svc.consul.".into(), ..Policy::default() };
        let zone = Zone::new(policy).unwrap();
        assert_eq!(zone.before(&name("a.b.consul")), Some(2));
        assert_eq!(zone.before(&name("a.b.svc.consul")), Some(2), "the longer domain first");
        assert_eq!(zone.before(&name("example.com")), None);
        assert_eq!(zone.dc_domain(), b"\x03dc1\x06consul");
    }

    #[test]
    fn settings_that_are_no_names_are_refused() {
        let bad = |domain: &str, datacenter: &str| {
            Zone::new(Policy { domain: domain.into(), datacenter: datacenter.into(), ..Policy::default() }).unwrap_err()
        };
        assert_eq!(bad("a..b", "dc1"), SettingError::Domain("a..b".into()));
        assert_eq!(bad("consul", ""), SettingError::Datacenter(String::new()));
    }
}

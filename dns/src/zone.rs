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

/// A name that others stand under.
#[derive(Clone, Debug)]
struct Parent {
    /// Lower case, dots between the labels, none at the end.
    text: String,
    count: usize,
    wire: Vec<u8>,
}

impl Parent {
    fn new(text: &str) -> Result<Self, NotAName> {
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        let wire = encoded(&text)?;
        Ok(Self { count: text.split('.').count(), text, wire })
    }

    fn before(&self, name: &QName) -> Option<usize> {
        name.before(&self.text, self.count)
    }
}

/// A domain answered for.
#[derive(Clone, Debug)]
pub struct Domain {
    own: Parent,
    dc: Vec<u8>,
}

impl Domain {
    fn new(text: &str, datacenter: &str) -> Result<Self, SettingError> {
        let own = Parent::new(text).map_err(|_| SettingError::Domain(text.to_owned()))?;
        let dc = encoded(&format!("{}.{}", datacenter.to_ascii_lowercase(), own.text))
            .map_err(|_| SettingError::Datacenter(datacenter.to_owned()))?;
        Ok(Self { own, dc })
    }

    /// The number of labels of `name` before this domain, if it is under it.
    pub fn before(&self, name: &QName) -> Option<usize> {
        self.own.before(name)
    }

    /// Its labels.
    pub fn wire(&self) -> &[u8] {
        &self.own.wire
    }

    /// The labels of `<datacenter>.<domain>`.
    pub fn dc(&self) -> &[u8] {
        &self.dc
    }
}

/// Where a name stands.
#[derive(Clone, Copy, Debug)]
pub struct Under<'z> {
    /// The domain it is under, or is.
    pub domain: &'z Domain,
    /// How many labels it has before that.
    pub labels: usize,
}

/// The settings, ready to answer by.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The settings as they were given.
    pub policy: Policy,
    domain: Domain,
    alt_domain: Option<Domain>,
    /// Longest first.
    cuts: Vec<Parent>,
    name_servers: Vec<Vec<u8>>,
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
    /// A zone cut is no DNS name.
    #[error("zone cut {0:?} is not a DNS name")]
    Cut(String),
    /// A name server is no DNS name.
    #[error("name server {0:?} is not a DNS name")]
    NameServer(String),
    /// The datacenter cannot stand before the domain.
    #[error("datacenter {0:?} cannot be part of a DNS name under the domain")]
    Datacenter(String),
}

impl Zone {
    /// Prepares the settings.
    pub fn new(policy: Policy) -> Result<Self, SettingError> {
        let domain = Domain::new(&policy.domain, &policy.datacenter)?;
        let alt = policy.alt_domain.trim_end_matches('.');
        let alt_domain = if alt.is_empty() { None } else { Some(Domain::new(alt, &policy.datacenter)?) };
        let mut cuts = Vec::new();
        for cut in &policy.zone_cuts {
            cuts.push(Parent::new(cut).map_err(|_| SettingError::Cut(cut.clone()))?);
        }
        cuts.sort_by_key(|cut| std::cmp::Reverse(cut.count));
        let mut name_servers = Vec::new();
        for server in &policy.name_servers {
            name_servers.push(encoded(server).map_err(|_| SettingError::NameServer(server.clone()))?);
        }
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
        Ok(Self { policy, domain, alt_domain, cuts, name_servers, node_ttl, exact_ttls, prefix_ttls })
    }

    /// The domain or second domain `name` is under; the longer of the two is tried first.
    pub fn under(&self, name: &QName) -> Option<Under<'_>> {
        let within = |domain| Domain::before(domain, name).map(|labels| Under { domain, labels });
        let main = within(&self.domain);
        let Some(alt) = &self.alt_domain else { return main };
        let other = within(alt);
        if alt.own.text.len() > self.domain.own.text.len() { other.or(main) } else { main.or(other) }
    }

    /// The main domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The domain that names made for an answer end in: that of the question, by Consul's letter the main one.
    pub fn made_under(&self, under: Option<Under<'_>>) -> &Domain {
        let alt = self.alt_domain.as_ref().filter(|_| self.policy.strict());
        let is = |domain: &&Domain| under.is_some_and(|under| std::ptr::eq(under.domain, *domain));
        alt.filter(is).unwrap_or(&self.domain)
    }

    /// The main domain's name.
    pub fn apex(&self) -> Name<'_> {
        Name::lent(self.domain.wire(), &[])
    }

    /// The labels of the configured zone `name` is in, and how many labels stand before them: the deepest there is.
    pub fn cut(&self, name: &QName) -> Option<(&[u8], usize)> {
        self.cuts.iter().find_map(|cut| Some((cut.wire.as_slice(), cut.before(name)?)))
    }

    /// The labels of the zone above the configured one that begins at `name`, if that zone is answered for as well.
    pub fn above_cut(&self, name: &QName) -> Option<&[u8]> {
        let (_, 0) = self.cut(name)? else { return None };
        let cut = self.cuts.iter().find(|cut| cut.before(name).is_some_and(|before| before > 0));
        let domain = self.under(name).filter(|under| under.labels > 0).map(|under| under.domain.wire());
        cut.map(|cut| cut.wire.as_slice()).or(domain)
    }

    /// The configured name servers, as labels; none if the cluster's servers are.
    pub fn name_servers(&self) -> &[Vec<u8>] {
        &self.name_servers
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
    use crate::policy::Compat;

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
        let zone = Zone::new(policy.clone()).unwrap();
        let under = |text: &str| zone.under(&name(text)).map(|under| (under.labels, under.domain.wire()));
        assert_eq!(under("a.b.consul"), Some((2, &b"\x06consul"[..])));
        assert_eq!(under("a.b.svc.consul"), Some((2, &b"\x03svc\x06consul"[..])), "the longer domain first");
        assert_eq!(under("example.com"), None);
        let made = |zone: &Zone, text: &str| zone.made_under(zone.under(&name(text))).dc().to_vec();
        assert_eq!(made(&zone, "a.b.consul"), b"\x03dc1\x06consul");
        assert_eq!(made(&zone, "a.b.svc.consul"), b"\x03dc1\x03svc\x06consul");
        let of_consul = Zone::new(Policy { compat: Compat::Consul, ..policy }).unwrap();
        assert_eq!(made(&of_consul, "a.b.svc.consul"), b"\x03dc1\x06consul");
    }

    #[test]
    fn the_deepest_cut_counts() {
        let zone_cuts = ["service.consul", "Web.Service.consul."].map(str::to_owned).to_vec();
        let zone = Zone::new(Policy { zone_cuts, ..Policy::default() }).unwrap();
        let cut = |text: &str| zone.cut(&name(text)).map(|(wire, before)| (wire.len(), before));
        assert_eq!(cut("db.service.consul"), Some((15, 1)));
        assert_eq!(cut("v1.web.service.consul"), Some((19, 1)));
        assert_eq!(cut("web.service.consul"), Some((19, 0)));
        assert_eq!(cut("n1.node.consul"), None);
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

//! How answers are to be made: the agent's DNS settings as the answering side needs them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// The least size of UDP messages (RFC 1035 2.3.4).
pub const UDP_PAYLOAD_MIN: u16 = 512;
/// A size no path on the Internet fragments (RFC 9715 section 3.1).
pub const UDP_PAYLOAD_SIZE: u16 = 1232;
/// The largest UDP message: a datagram's most, less room for the headers below.
pub const UDP_PAYLOAD_MAX: u16 = 65_467;

/// Whose letter is kept where Consul and the RFCs ask for different things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// That of the RFCs: a zone other name servers can trust.
    #[default]
    Rfc,
    /// That of Consul 1.8.
    Consul,
}

/// When an answer that was cut says so (TC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truncation {
    /// Never.
    Never,
    /// When it was too large for the client, but not when a setting limits the number of its records.
    #[default]
    BySize,
    /// Whenever a record was left out.
    Always,
}

/// Settings of the DNS interface (`dns_config` and what belongs to it), validated. Replaced as a whole on reload.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whose letter is kept.
    pub compat: Compat,
    /// This agent's node name.
    pub node_name: String,
    /// This agent's datacenter, lower case.
    pub datacenter: String,
    /// The zone answered for, without a trailing dot, lower case (`consul`).
    pub domain: String,
    /// A second zone answered for, or empty.
    pub alt_domain: String,
    /// TTL of node, `.addr.` and NS records.
    pub node_ttl: Duration,
    /// TTL of service records: exact names, `prefix*` patterns and `*`; none means 0 s.
    pub service_ttl: Vec<(String, Duration)>,
    /// Leave out instances that warn.
    pub only_passing: bool,
    /// When a UDP answer that was cut says so.
    pub truncation: Truncation,
    /// Most bytes of a UDP message, whatever the client takes; at least 512. Not set: [`UDP_PAYLOAD_SIZE`], but what they
    /// take for clients on this host, which no path lies before.
    pub udp_payload_size: Option<u16>,
    /// Answer questions of type ANY with one small record (RFC 8482).
    pub minimal_any: bool,
    /// Most equal replies a second to one network over UDP; 0 for no limit.
    pub responses_per_second: u32,
    /// Log every question with what it was answered.
    pub log_queries: bool,
    /// The secret of DNS cookies: equal for servers behind one address. Without one no cookies are given.
    pub cookie_secret: Option<[u8; 16]>,
    /// Zones below the domains, and reverse zones, that are delegated to this server on their own: each has its own SOA
    /// and NS. Names without a trailing dot, lower case.
    pub zone_cuts: Vec<String>,
    /// Host names given as the zones' name servers, instead of the cluster's servers.
    pub name_servers: Vec<String>,
    /// Most answers over UDP without EDNS.
    pub udp_answer_limit: usize,
    /// Most A, AAAA or ANY answers; 0 for no limit.
    pub a_record_limit: usize,
    /// Write names in full.
    pub disable_compression: bool,
    /// Add the node's metadata as TXT records.
    pub node_meta_txt: bool,
    /// Answer the WAN address of instances in other datacenters.
    pub translate_wan_addrs: bool,
    /// Timers of the zone.
    pub soa: Soa,
    /// Servers asked for names of others.
    pub recursors: Vec<SocketAddr>,
    /// How long one recursor may take.
    pub recursor_timeout: Duration,
    /// Ask recursors in random order.
    pub recursor_random: bool,
    /// Most answers of recursors that are kept; 0 for none.
    pub recursor_cache_size: usize,
    /// How long after its TTL an answer may be sent if no recursor has a newer one; 0 s for not at all.
    pub recursor_stale_max: Duration,
}

impl Policy {
    /// The settings Consul starts with.
    pub fn of_consul() -> Self {
        Self {
            compat: Compat::Consul,
            truncation: Truncation::Never,
            recursor_cache_size: 0,
            udp_payload_size: Some(UDP_PAYLOAD_MAX),
            ..Self::default()
        }
    }

    /// The size of UDP messages this server says it takes, and sends by default (RFC 6891 6.2.5).
    pub fn advertised(&self) -> u16 {
        self.udp_payload_size.unwrap_or(UDP_PAYLOAD_SIZE)
    }

    /// Most bytes of a UDP message to a client at `address`.
    pub fn udp_payload_to(&self, address: Option<IpAddr>) -> u16 {
        let on_this_host = address.is_some_and(|address| address.is_loopback());
        self.udp_payload_size.unwrap_or(if on_this_host { UDP_PAYLOAD_MAX } else { UDP_PAYLOAD_SIZE })
    }

    /// Whether the RFCs' letter is kept.
    pub fn strict(&self) -> bool {
        self.compat == Compat::Rfc
    }
}

/// SOA timers, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soa {
    /// Refresh interval of secondaries.
    pub refresh: u32,
    /// Retry interval of secondaries.
    pub retry: u32,
    /// When secondaries stop answering.
    pub expire: u32,
    /// TTL of negative answers.
    pub min_ttl: u32,
}

impl Default for Soa {
    fn default() -> Self {
        Self { refresh: 3600, retry: 600, expire: 86_400, min_ttl: 0 }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            compat: Compat::default(),
            node_name: String::new(),
            datacenter: "dc1".into(),
            domain: "consul".into(),
            alt_domain: String::new(),
            node_ttl: Duration::ZERO,
            service_ttl: Vec::new(),
            only_passing: false,
            truncation: Truncation::default(),
            udp_payload_size: None,
            minimal_any: false,
            responses_per_second: 0,
            log_queries: false,
            cookie_secret: None,
            zone_cuts: Vec::new(),
            name_servers: Vec::new(),
            udp_answer_limit: 3,
            a_record_limit: 0,
            disable_compression: false,
            node_meta_txt: true,
            translate_wan_addrs: false,
            soa: Soa::default(),
            recursors: Vec::new(),
            recursor_timeout: Duration::from_secs(2),
            recursor_random: false,
            recursor_cache_size: 10_000,
            // An answer that its owner may have taken back is the operator's decision, as in other resolvers.
            recursor_stale_max: Duration::ZERO,
        }
    }
}

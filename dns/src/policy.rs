//! How answers are to be made: the agent's DNS settings as the answering side needs them.

use std::{net::SocketAddr, time::Duration};

/// Settings of the DNS interface (`dns_config` and what belongs to it), validated. Replaced as a whole on reload.
#[derive(Clone, Debug)]
pub struct Policy {
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
    /// Set TC on UDP answers that were cut.
    pub enable_truncate: bool,
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
            node_name: String::new(),
            datacenter: "dc1".into(),
            domain: "consul".into(),
            alt_domain: String::new(),
            node_ttl: Duration::ZERO,
            service_ttl: Vec::new(),
            only_passing: false,
            enable_truncate: false,
            udp_answer_limit: 3,
            a_record_limit: 0,
            disable_compression: false,
            node_meta_txt: true,
            translate_wan_addrs: false,
            soa: Soa::default(),
            recursors: Vec::new(),
            recursor_timeout: Duration::from_secs(2),
            recursor_random: false,
        }
    }
}

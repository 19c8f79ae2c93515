//! The merged configuration with Rust types, before it is checked as a whole.
//!
//! Only keys that take effect are here; the tables in [`super::keys`] have seen to the types. Times are nanoseconds.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// The top level.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    pub(super) addresses: Addresses,
    pub(super) advertise_addr: Option<String>,
    pub advertise_addr_ipv4: Option<String>,
    pub advertise_addr_ipv6: Option<String>,
    pub(super) advertise_addr_wan: Option<String>,
    pub advertise_addr_wan_ipv4: Option<String>,
    pub advertise_addr_wan_ipv6: Option<String>,
    pub(super) alt_domain: String,
    pub(super) autopilot: Autopilot,
    pub(super) bind_addr: String,
    pub(super) bootstrap: bool,
    pub(super) bootstrap_expect: i64,
    pub(super) ca_file: String,
    pub(super) ca_path: String,
    pub(super) cert_file: String,
    pub(super) check_deregister_interval_min: i64,
    pub(super) check_output_max_size: i64,
    pub(super) check_update_interval: i64,
    pub(super) checks: Vec<Map<String, Value>>,
    pub(super) client_addr: String,
    pub(super) data_dir: String,
    pub(super) datacenter: String,
    pub(super) default_query_time: i64,
    pub(super) disable_keyring_file: bool,
    pub(super) discard_check_output: bool,
    pub(super) discovery_max_stale: i64,
    pub(super) dns_config: DnsConfig,
    pub(super) domain: String,
    pub(super) enable_agent_tls_for_checks: bool,
    pub(super) enable_debug: bool,
    pub(super) enable_local_script_checks: bool,
    pub(super) enable_script_checks: bool,
    pub(super) encrypt: String,
    pub(super) encrypt_verify_incoming: Option<bool>,
    pub(super) encrypt_verify_outgoing: Option<bool>,
    pub(super) http_config: HttpConfig,
    pub(super) key_file: String,
    pub(super) leave_on_terminate: Option<bool>,
    pub(super) limits: Limits,
    pub(super) log_file: String,
    pub(super) log_json: bool,
    pub(super) log_level: String,
    pub(super) log_rotate_bytes: i64,
    pub(super) log_rotate_duration: i64,
    pub(super) log_rotate_max_files: i64,
    pub(super) max_query_time: i64,
    pub(super) node_id: String,
    pub(super) node_meta: BTreeMap<String, String>,
    pub(super) node_name: String,
    pub(super) performance: Performance,
    pub(super) pid_file: String,
    pub(super) ports: Ports,
    pub(super) protocol: i64,
    pub(super) raft_protocol: i64,
    pub(super) raft_snapshot_threshold: i64,
    pub(super) raft_trailing_logs: i64,
    pub(super) reconnect_timeout: i64,
    pub(super) reconnect_timeout_wan: i64,
    pub(super) recursors: Vec<String>,
    pub(super) rejoin_after_leave: bool,
    pub(super) retry_interval: i64,
    pub(super) retry_interval_wan: i64,
    pub(super) retry_join: Vec<String>,
    pub(super) retry_join_wan: Vec<String>,
    pub(super) retry_max: i64,
    pub(super) retry_max_wan: i64,
    pub(super) server: bool,
    pub(super) server_name: String,
    pub(super) services: Vec<Map<String, Value>>,
    pub(super) skip_leave_on_interrupt: Option<bool>,
    pub(super) start_join: Vec<String>,
    pub(super) start_join_wan: Vec<String>,
    pub(super) tagged_addresses: BTreeMap<String, String>,
    pub(super) translate_wan_addrs: bool,
    pub(super) unix_sockets: UnixSockets,
    pub(super) watches: Vec<Watch>,
}

/// One of `watches`: what is watched, and who is told.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Watch {
    #[serde(flatten)]
    pub(super) what: crate::watch::spec::Parameters,
    #[serde(flatten)]
    pub(super) handler: crate::watch::spec::HandlerParameters,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Addresses {
    pub(super) dns: Option<String>,
    pub(super) http: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Autopilot {
    pub(super) cleanup_dead_servers: bool,
    pub(super) last_contact_threshold: i64,
    pub(super) max_trailing_logs: i64,
    pub(super) min_quorum: u64,
    pub(super) server_stabilization_time: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DnsConfig {
    pub(super) a_record_limit: i64,
    pub(super) cert_file: String,
    pub(super) compat: String,
    pub(super) cookie_secret: String,
    pub(super) disable_compression: bool,
    pub(super) enable_additional_node_meta_txt: bool,
    pub(super) enable_truncate: Option<bool>,
    pub(super) key_file: String,
    pub(super) log_queries: bool,
    pub(super) minimal_any: bool,
    pub(super) name_servers: Vec<String>,
    pub(super) node_ttl: i64,
    pub(super) only_passing: bool,
    pub(super) recursor_cache_size: Option<i64>,
    pub(super) recursor_stale_max: Option<i64>,
    pub(super) recursor_strategy: String,
    pub(super) recursor_timeout: i64,
    pub(super) responses_per_second: i64,
    pub(super) service_ttl: BTreeMap<String, i64>,
    pub(super) soa: Soa,
    pub(super) udp_answer_limit: i64,
    pub(super) udp_payload_size: Option<i64>,
    pub(super) zone_cuts: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Soa {
    pub(super) expire: i64,
    pub(super) min_ttl: i64,
    pub(super) refresh: i64,
    pub(super) retry: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HttpConfig {
    pub(super) allow_write_http_from: Vec<String>,
    pub(super) block_endpoints: Vec<String>,
    pub(super) response_headers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Limits {
    pub(super) http_max_conns_per_client: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Performance {
    pub(super) leave_drain_time: i64,
    pub(super) raft_multiplier: i64,
    pub(super) rpc_hold_timeout: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ports {
    pub(super) dns: i64,
    pub(super) dns_https: i64,
    pub(super) dns_quic: i64,
    pub(super) dns_tls: i64,
    pub(super) grpc: i64,
    pub(super) http: i64,
    pub(super) https: i64,
    pub(super) serf_lan: i64,
    pub(super) serf_wan: i64,
    pub(super) server: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UnixSockets {
    pub(super) group: String,
    pub(super) mode: String,
    pub(super) user: String,
}

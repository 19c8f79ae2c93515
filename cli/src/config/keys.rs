//! Every key of the agent's configuration, with its type and what becomes of it.
//!
//! The list is Consul 1.8's. A table that is not built (or not part of this product) is warned of as a whole, so the
//! keys within it carry no effect of their own.

use super::schema::{Key, Kind, Table, certificate, checks_only, enterprise, mesh, moot, not_built, used};
use crate::definition::{CHECK, SERVICE};

const fn table(keys: &'static [Key]) -> Table {
    Table { keys, any_style: false }
}

/// The top level.
pub(super) static AGENT: Table = table(&[
    not_built("acl", Kind::Table(&ACL)),
    not_built("acl_agent_master_token", Kind::Text),
    not_built("acl_agent_token", Kind::Text),
    not_built("acl_datacenter", Kind::Text),
    not_built("acl_default_policy", Kind::Text),
    not_built("acl_disabled_ttl", Kind::Duration),
    not_built("acl_down_policy", Kind::Text),
    not_built("acl_enable_key_list_policy", Kind::Bool),
    not_built("acl_master_token", Kind::Text),
    not_built("acl_replication_token", Kind::Text),
    not_built("acl_token", Kind::Text),
    not_built("acl_ttl", Kind::Duration),
    used("addresses", Kind::Table(&ADDRESSES)),
    used("advertise_addr", Kind::Text),
    used("advertise_addr_ipv4", Kind::Text),
    used("advertise_addr_ipv6", Kind::Text),
    used("advertise_addr_wan", Kind::Text),
    used("advertise_addr_wan_ipv4", Kind::Text),
    used("advertise_addr_wan_ipv6", Kind::Text),
    moot("ae_interval", Kind::Duration),
    used("alt_domain", Kind::Text),
    enterprise("audit", Kind::Table(&AUDIT)),
    not_built("auto_config", Kind::Table(&AUTO_CONFIG)),
    not_built("auto_encrypt", Kind::Table(&AUTO_ENCRYPT)),
    used("autopilot", Kind::Table(&AUTOPILOT)),
    used("bind_addr", Kind::Text),
    used("bootstrap", Kind::Bool),
    used("bootstrap_expect", Kind::Int),
    checks_only("ca_file", Kind::Text),
    checks_only("ca_path", Kind::Text),
    moot("cache", Kind::Table(&CACHE)),
    certificate("cert_file"),
    used("check", Kind::Table(&CHECK)),
    used("check_deregister_interval_min", Kind::Duration),
    used("check_output_max_size", Kind::Int),
    moot("check_reap_interval", Kind::Duration),
    used("check_update_interval", Kind::Duration),
    used("checks", Kind::Tables(&CHECK)),
    used("client_addr", Kind::Text),
    mesh("config_entries", Kind::Table(&CONFIG_ENTRIES)),
    mesh("connect", Kind::Table(&CONNECT)),
    moot("consul", Kind::Table(&CONSUL)),
    used("data_dir", Kind::Text),
    used("datacenter", Kind::Text),
    used("default_query_time", Kind::Duration),
    moot("disable_anonymous_signature", Kind::Bool),
    moot("disable_coordinates", Kind::Bool),
    moot("disable_host_node_id", Kind::Bool),
    moot("disable_http_unprintable_char_filter", Kind::Bool),
    used("disable_keyring_file", Kind::Bool),
    moot("disable_remote_exec", Kind::Bool),
    moot("disable_update_check", Kind::Bool),
    used("discard_check_output", Kind::Bool),
    used("discovery_max_stale", Kind::Duration),
    used("dns_config", Kind::Table(&DNS_CONFIG)),
    used("domain", Kind::Text),
    not_built("enable_acl_replication", Kind::Bool),
    used("enable_agent_tls_for_checks", Kind::Bool),
    mesh("enable_central_service_config", Kind::Bool),
    used("enable_debug", Kind::Bool),
    used("enable_local_script_checks", Kind::Bool),
    used("enable_script_checks", Kind::Bool),
    not_built("enable_syslog", Kind::Bool),
    used("encrypt", Kind::Text),
    used("encrypt_verify_incoming", Kind::Bool),
    used("encrypt_verify_outgoing", Kind::Bool),
    not_built("gossip_lan", Kind::Table(&GOSSIP)),
    not_built("gossip_wan", Kind::Table(&GOSSIP)),
    used("http_config", Kind::Table(&HTTP_CONFIG)),
    certificate("key_file"),
    used("leave_on_terminate", Kind::Bool),
    used("limits", Kind::Table(&LIMITS)),
    used("log_file", Kind::Text),
    used("log_json", Kind::Bool),
    used("log_level", Kind::Text),
    used("log_rotate_bytes", Kind::Int),
    used("log_rotate_duration", Kind::Duration),
    used("log_rotate_max_files", Kind::Int),
    used("max_query_time", Kind::Duration),
    used("node_id", Kind::Text),
    used("node_meta", Kind::TextMap),
    used("node_name", Kind::Text),
    enterprise("non_voting_server", Kind::Bool),
    used("performance", Kind::Table(&PERFORMANCE)),
    used("pid_file", Kind::Text),
    used("ports", Kind::Table(&PORTS)),
    not_built("primary_datacenter", Kind::Text),
    mesh("primary_gateways", Kind::Texts),
    mesh("primary_gateways_interval", Kind::Duration),
    used("protocol", Kind::Int),
    used("raft_protocol", Kind::Int),
    moot("raft_snapshot_interval", Kind::Duration),
    used("raft_snapshot_threshold", Kind::Int),
    used("raft_trailing_logs", Kind::Int),
    used("reconnect_timeout", Kind::Duration),
    used("reconnect_timeout_wan", Kind::Duration),
    used("recursors", Kind::Texts),
    used("rejoin_after_leave", Kind::Bool),
    used("retry_interval", Kind::Duration),
    used("retry_interval_wan", Kind::Duration),
    used("retry_join", Kind::Texts),
    used("retry_join_wan", Kind::Texts),
    used("retry_max", Kind::Int),
    used("retry_max_wan", Kind::Int),
    moot("revision", Kind::Text),
    enterprise("segment", Kind::Text),
    enterprise("segment_limit", Kind::Int),
    enterprise("segment_name_limit", Kind::Int),
    enterprise("segments", Kind::Tables(&SEGMENT)),
    not_built("serf_lan", Kind::Text),
    not_built("serf_lan_allowed_cidrs", Kind::Texts),
    not_built("serf_wan", Kind::Text),
    not_built("serf_wan_allowed_cidrs", Kind::Texts),
    used("server", Kind::Bool),
    checks_only("server_name", Kind::Text),
    used("service", Kind::Table(&SERVICE)),
    used("services", Kind::Tables(&SERVICE)),
    not_built("session_ttl_min", Kind::Duration),
    used("skip_leave_on_interrupt", Kind::Bool),
    enterprise("snapshot_agent", Kind::Any),
    used("start_join", Kind::Texts),
    used("start_join_wan", Kind::Texts),
    moot("sync_coordinate_interval_min", Kind::Duration),
    moot("sync_coordinate_rate_target", Kind::Float),
    not_built("syslog_facility", Kind::Text),
    used("tagged_addresses", Kind::TextMap),
    used("telemetry", Kind::Table(&TELEMETRY)),
    not_built("tls_cipher_suites", Kind::Text),
    not_built("tls_min_version", Kind::Text),
    not_built("tls_prefer_server_cipher_suites", Kind::Bool),
    used("translate_wan_addrs", Kind::Bool),
    not_built("ui", Kind::Bool),
    not_built("ui_content_path", Kind::Text),
    not_built("ui_dir", Kind::Text),
    used("unix_sockets", Kind::Table(&UNIX_SOCKETS)),
    not_built("verify_incoming", Kind::Bool),
    not_built("verify_incoming_https", Kind::Bool),
    not_built("verify_incoming_rpc", Kind::Bool),
    not_built("verify_outgoing", Kind::Bool),
    not_built("verify_server_hostname", Kind::Bool),
    moot("version", Kind::Text),
    moot("version_prerelease", Kind::Text),
    used("watches", Kind::Tables(&WATCH)),
]);

static ACL: Table = table(&[
    moot("default_policy", Kind::Text),
    moot("disabled_ttl", Kind::Duration),
    moot("down_policy", Kind::Text),
    moot("enable_key_list_policy", Kind::Bool),
    moot("enable_token_persistence", Kind::Bool),
    moot("enable_token_replication", Kind::Bool),
    moot("enabled", Kind::Bool),
    moot("msp_disable_bootstrap", Kind::Bool),
    moot("policy_ttl", Kind::Duration),
    moot("role_ttl", Kind::Duration),
    moot("token_ttl", Kind::Duration),
    moot("tokens", Kind::Table(&ACL_TOKENS)),
]);

static ACL_TOKENS: Table = table(&[
    moot("agent", Kind::Text),
    moot("agent_master", Kind::Text),
    moot("default", Kind::Text),
    moot("managed_service_provider", Kind::Tables(&ACL_PROVIDER)),
    moot("master", Kind::Text),
    moot("replication", Kind::Text),
]);

static ACL_PROVIDER: Table = table(&[moot("accessor_id", Kind::Text), moot("secret_id", Kind::Text)]);

static ADDRESSES: Table = table(&[
    used("dns", Kind::Text),
    mesh("grpc", Kind::Text),
    used("http", Kind::Text),
    not_built("https", Kind::Text),
]);

static AUDIT: Table = table(&[moot("enabled", Kind::Bool), moot("sink", Kind::Any)]);

static AUTO_CONFIG: Table = table(&[
    moot("authorization", Kind::Table(&AUTHORIZATION)),
    moot("dns_sans", Kind::Texts),
    moot("enabled", Kind::Bool),
    moot("intro_token", Kind::Text),
    moot("intro_token_file", Kind::Text),
    moot("ip_sans", Kind::Texts),
    moot("server_addresses", Kind::Texts),
]);

static AUTHORIZATION: Table = table(&[moot("enabled", Kind::Bool), moot("static", Kind::Table(&STATIC_AUTHORIZATION))]);

static STATIC_AUTHORIZATION: Table = table(&[
    moot("allow_reuse", Kind::Bool),
    moot("bound_audiences", Kind::Texts),
    moot("bound_issuer", Kind::Text),
    moot("claim_assertions", Kind::Texts),
    moot("claim_mappings", Kind::TextMap),
    moot("clock_skew_leeway", Kind::Duration),
    moot("expiration_leeway", Kind::Duration),
    moot("jwks_ca_cert", Kind::Text),
    moot("jwks_url", Kind::Text),
    moot("jwt_supported_algs", Kind::Texts),
    moot("jwt_validation_pub_keys", Kind::Texts),
    moot("list_claim_mappings", Kind::TextMap),
    moot("not_before_leeway", Kind::Duration),
    moot("oidc_discovery_ca_cert", Kind::Text),
    moot("oidc_discovery_url", Kind::Text),
]);

static AUTO_ENCRYPT: Table = table(&[
    moot("allow_tls", Kind::Bool),
    moot("dns_san", Kind::Texts),
    moot("ip_san", Kind::Texts),
    moot("tls", Kind::Bool),
]);

static AUTOPILOT: Table = table(&[
    used("cleanup_dead_servers", Kind::Bool),
    enterprise("disable_upgrade_migration", Kind::Bool),
    used("last_contact_threshold", Kind::Duration),
    used("max_trailing_logs", Kind::Int),
    used("min_quorum", Kind::Uint),
    enterprise("redundancy_zone_tag", Kind::Text),
    used("server_stabilization_time", Kind::Duration),
    enterprise("upgrade_version_tag", Kind::Text),
]);

static CACHE: Table = table(&[moot("entry_fetch_max_burst", Kind::Int), moot("entry_fetch_rate", Kind::Float)]);

static CONFIG_ENTRIES: Table = table(&[moot("bootstrap", Kind::Any)]);

static CONNECT: Table = table(&[
    moot("ca_config", Kind::Any),
    moot("ca_provider", Kind::Text),
    moot("enable_mesh_gateway_wan_federation", Kind::Bool),
    moot("enabled", Kind::Bool),
    moot("test_ca_leaf_root_change_spread", Kind::Duration),
]);

static CONSUL: Table = table(&[
    moot("coordinate", Kind::Table(&CONSUL_COORDINATE)),
    moot("raft", Kind::Table(&CONSUL_RAFT)),
    moot("server", Kind::Table(&CONSUL_SERVER)),
]);

static CONSUL_COORDINATE: Table = table(&[
    moot("update_batch_size", Kind::Int),
    moot("update_max_batches", Kind::Int),
    moot("update_period", Kind::Duration),
]);

static CONSUL_RAFT: Table = table(&[
    moot("election_timeout", Kind::Duration),
    moot("heartbeat_timeout", Kind::Duration),
    moot("leader_lease_timeout", Kind::Duration),
]);

static CONSUL_SERVER: Table = table(&[moot("health_interval", Kind::Duration)]);

static DNS_CONFIG: Table = table(&[
    used("a_record_limit", Kind::Int),
    moot("allow_stale", Kind::Bool),
    moot("cache_max_age", Kind::Duration),
    used("cert_file", Kind::Text),
    used("compat", Kind::Text),
    used("cookie_secret", Kind::Text),
    used("disable_compression", Kind::Bool),
    used("enable_additional_node_meta_txt", Kind::Bool),
    used("enable_truncate", Kind::Bool),
    used("key_file", Kind::Text),
    used("log_queries", Kind::Bool),
    moot("max_stale", Kind::Duration),
    used("minimal_any", Kind::Bool),
    used("name_servers", Kind::Texts),
    used("node_ttl", Kind::Duration),
    used("only_passing", Kind::Bool),
    enterprise("prefer_namespace", Kind::Bool),
    used("recursor_cache_size", Kind::Int),
    used("recursor_stale_max", Kind::Duration),
    used("recursor_strategy", Kind::Text),
    used("recursor_timeout", Kind::Duration),
    used("responses_per_second", Kind::Uint),
    used("service_ttl", Kind::DurationMap),
    used("soa", Kind::Table(&SOA)),
    used("udp_answer_limit", Kind::Int),
    used("udp_payload_size", Kind::Int),
    moot("use_cache", Kind::Bool),
    used("zone_cuts", Kind::Texts),
]);

static SOA: Table = table(&[
    used("expire", Kind::Uint),
    used("min_ttl", Kind::Uint),
    used("refresh", Kind::Uint),
    used("retry", Kind::Uint),
]);

static GOSSIP: Table = table(&[
    moot("gossip_interval", Kind::Duration),
    moot("gossip_nodes", Kind::Int),
    moot("probe_interval", Kind::Duration),
    moot("probe_timeout", Kind::Duration),
    moot("retransmit_mult", Kind::Int),
    moot("suspicion_mult", Kind::Int),
]);

static HTTP_CONFIG: Table = table(&[
    used("allow_write_http_from", Kind::Texts),
    used("block_endpoints", Kind::Texts),
    used("response_headers", Kind::TextMap),
    moot("use_cache", Kind::Bool),
]);

static LIMITS: Table = table(&[
    used("http_max_conns_per_client", Kind::Int),
    not_built("https_handshake_timeout", Kind::Duration),
    not_built("kv_max_value_size", Kind::Uint),
    not_built("rpc_handshake_timeout", Kind::Duration),
    not_built("rpc_max_burst", Kind::Int),
    not_built("rpc_max_conns_per_client", Kind::Int),
    not_built("rpc_rate", Kind::Float),
    not_built("txn_max_req_len", Kind::Uint),
]);

static PERFORMANCE: Table = table(&[
    used("leave_drain_time", Kind::Duration),
    used("raft_multiplier", Kind::Int),
    used("rpc_hold_timeout", Kind::Duration),
]);

static PORTS: Table = table(&[
    used("dns", Kind::Int),
    used("dns_https", Kind::Int),
    used("dns_quic", Kind::Int),
    used("dns_tls", Kind::Int),
    mesh("expose_max_port", Kind::Int),
    mesh("expose_min_port", Kind::Int),
    used("grpc", Kind::Int),
    used("http", Kind::Int),
    used("https", Kind::Int),
    mesh("proxy_max_port", Kind::Int),
    mesh("proxy_min_port", Kind::Int),
    used("serf_lan", Kind::Int),
    used("serf_wan", Kind::Int),
    used("server", Kind::Int),
    mesh("sidecar_max_port", Kind::Int),
    mesh("sidecar_min_port", Kind::Int),
]);

static SEGMENT: Table = table(&[
    moot("advertise", Kind::Text),
    moot("bind", Kind::Text),
    moot("name", Kind::Text),
    moot("port", Kind::Int),
    moot("rpc_listener", Kind::Bool),
]);

static TELEMETRY: Table = table(&[
    not_built("circonus_api_app", Kind::Text),
    not_built("circonus_api_token", Kind::Text),
    not_built("circonus_api_url", Kind::Text),
    not_built("circonus_broker_id", Kind::Text),
    not_built("circonus_broker_select_tag", Kind::Text),
    not_built("circonus_check_display_name", Kind::Text),
    not_built("circonus_check_force_metric_activation", Kind::Text),
    not_built("circonus_check_id", Kind::Text),
    not_built("circonus_check_instance_id", Kind::Text),
    not_built("circonus_check_search_tag", Kind::Text),
    not_built("circonus_check_tags", Kind::Text),
    not_built("circonus_submission_interval", Kind::Duration),
    not_built("circonus_submission_url", Kind::Text),
    moot("disable_hostname", Kind::Bool),
    not_built("dogstatsd_addr", Kind::Text),
    not_built("dogstatsd_tags", Kind::Texts),
    not_built("filter_default", Kind::Bool),
    not_built("metrics_prefix", Kind::Text),
    not_built("prefix_filter", Kind::Texts),
    moot("prometheus_retention_time", Kind::Duration),
    not_built("statsd_address", Kind::Text),
    not_built("statsite_address", Kind::Text),
]);

static UNIX_SOCKETS: Table = table(&[used("group", Kind::Text), used("mode", Kind::Text), used("user", Kind::Text)]);

static WATCH: Table = table(&[
    used("args", Kind::Texts),
    used("datacenter", Kind::Text),
    used("handler", Kind::Text),
    used("handler_type", Kind::Text),
    used("http_handler_config", Kind::Table(&WATCH_HTTP)),
    used("key", Kind::Text),
    used("name", Kind::Text),
    used("passingonly", Kind::Bool),
    used("prefix", Kind::Text),
    used("service", Kind::Text),
    used("service_id", Kind::Text),
    used("stale", Kind::Bool),
    used("state", Kind::Text),
    used("tag", Kind::TextOrTexts),
    used("token", Kind::Text),
    used("type", Kind::Text),
]);

static WATCH_HTTP: Table = table(&[
    used("header", Kind::TextsMap),
    used("method", Kind::Text),
    used("output_max_size", Kind::Int),
    used("path", Kind::Text),
    used("timeout", Kind::Duration),
    used("tls_skip_verify", Kind::Bool),
]);

# Every key of the configuration: the same as full.json.
acl {
  default_policy = "allow"
  disabled_ttl = "7s"
  down_policy = "extend-cache"
  enable_key_list_policy = true
  enable_token_persistence = true
  enable_token_replication = true
  enabled = true
  msp_disable_bootstrap = true
  policy_ttl = "7s"
  role_ttl = "7s"
  token_ttl = "7s"
  tokens {
    agent = "t"
    agent_master = "t"
    default = "t"
    managed_service_provider = []
    master = "t"
    replication = "t"
  }
}
acl_agent_master_token = "t"
acl_agent_token = "t"
acl_datacenter = "dc-full"
acl_default_policy = "allow"
acl_disabled_ttl = "7s"
acl_down_policy = "extend-cache"
acl_enable_key_list_policy = true
acl_master_token = "t"
acl_replication_token = "t"
acl_token = "t"
acl_ttl = "7s"
addresses {
  dns = "127.0.0.2"
  grpc = "127.0.0.5"
  http = "127.0.0.3 unix:///run/usher.sock"
  https = "127.0.0.4"
}
advertise_addr = "127.0.0.1"
advertise_addr_ipv4 = "127.0.0.1"
advertise_addr_ipv6 = "::1"
advertise_addr_wan = "127.0.0.1"
advertise_addr_wan_ipv4 = "127.0.0.1"
ae_interval = "7s"
alt_domain = "alt."
audit {
  enabled = true
  sink {
    file {
      type = "file"
    }
  }
}
auto_config {
  authorization {
    enabled = false
    static {
      allow_reuse = true
      bound_audiences = ["t"]
      bound_issuer = "t"
      claim_assertions = ["t"]
      claim_mappings {
        a = "b"
      }
      clock_skew_leeway = "7s"
      expiration_leeway = "7s"
      jwks_ca_cert = "t"
      jwks_url = "t"
      jwt_supported_algs = ["RS256"]
      jwt_validation_pub_keys = ["t"]
      list_claim_mappings {
        a = "b"
      }
      not_before_leeway = "7s"
      oidc_discovery_ca_cert = "t"
      oidc_discovery_url = "t"
    }
  }
  dns_sans = ["t"]
  enabled = false
  intro_token = "t"
  intro_token_file = "t"
  ip_sans = ["127.0.0.1"]
  server_addresses = ["t"]
}
auto_encrypt {
  allow_tls = false
  dns_san = ["a"]
  ip_san = ["127.0.0.1"]
  tls = false
}
autopilot {
  cleanup_dead_servers = true
  disable_upgrade_migration = true
  last_contact_threshold = "7s"
  max_trailing_logs = 7
  min_quorum = 7
  redundancy_zone_tag = "t"
  server_stabilization_time = "7s"
  upgrade_version_tag = "t"
}
bind_addr = "127.0.0.1"
bootstrap = false
bootstrap_expect = 3
ca_file = ""
ca_path = ""
cache {
  entry_fetch_max_burst = 7
  entry_fetch_rate = 1.5
}
cert_file = ""
check_deregister_interval_min = "7s"
check_output_max_size = 7
check_reap_interval = "7s"
check_update_interval = "7s"
client_addr = "127.0.0.1"
config_entries {
  bootstrap = [{
      kind = "proxy-defaults"
      name = "global"
    }]
}
connect {
  ca_config {
    leaf_cert_ttl = "72h"
  }
  ca_provider = "consul"
  enable_mesh_gateway_wan_federation = false
  enabled = true
  test_ca_leaf_root_change_spread = "7s"
}
consul {
  coordinate {
    update_batch_size = 7
    update_max_batches = 7
    update_period = "7s"
  }
  raft {
    election_timeout = "7s"
    heartbeat_timeout = "7s"
    leader_lease_timeout = "7s"
  }
  server {
    health_interval = "7s"
  }
}
data_dir = "/var/lib/usher"
datacenter = "dc-full"
default_query_time = "7s"
disable_anonymous_signature = true
disable_coordinates = true
disable_host_node_id = true
disable_http_unprintable_char_filter = true
disable_keyring_file = true
disable_remote_exec = true
disable_update_check = true
discard_check_output = true
discovery_max_stale = "7s"
dns_config {
  a_record_limit = 7
  allow_stale = true
  cache_max_age = "7s"
  disable_compression = true
  enable_additional_node_meta_txt = true
  enable_truncate = true
  max_stale = "7s"
  node_ttl = "7s"
  only_passing = true
  prefer_namespace = true
  recursor_timeout = "7s"
  service_ttl {
    "*" = "5s"
    web = "1m"
  }
  soa {
    expire = 7
    min_ttl = 7
    refresh = 7
    retry = 7
  }
  udp_answer_limit = 5
  use_cache = true
}
domain = "full."
enable_acl_replication = true
enable_agent_tls_for_checks = false
enable_central_service_config = true
enable_debug = true
enable_local_script_checks = true
enable_script_checks = true
enable_syslog = true
encrypt = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="
encrypt_verify_incoming = true
encrypt_verify_outgoing = true
gossip_lan {
  gossip_interval = "7s"
  gossip_nodes = 7
  probe_interval = "7s"
  probe_timeout = "7s"
  retransmit_mult = 7
  suspicion_mult = 7
}
gossip_wan {
  gossip_interval = "7s"
  gossip_nodes = 7
  probe_interval = "7s"
  probe_timeout = "7s"
  retransmit_mult = 7
  suspicion_mult = 7
}
http_config {
  allow_write_http_from = ["127.0.0.0/8", "::1/128"]
  block_endpoints = ["/v1/x"]
  response_headers {
    X-A = "b"
  }
  use_cache = true
}
key_file = ""
leave_on_terminate = true
limits {
  http_max_conns_per_client = 7
  https_handshake_timeout = "7s"
  kv_max_value_size = 7
  rpc_handshake_timeout = "7s"
  rpc_max_burst = 7
  rpc_max_conns_per_client = 7
  rpc_rate = 1.5
  txn_max_req_len = 7
}
log_file = "/var/lib/usher/log/"
log_json = true
log_level = "WARN"
log_rotate_bytes = 7
log_rotate_duration = "7s"
log_rotate_max_files = 7
max_query_time = "7s"
node_id = "8c258007-15c9-e32c-f9bb-8c82174b630e"
node_meta {
  rack = "r1"
}
node_name = "full"
non_voting_server = false
performance {
  leave_drain_time = "7s"
  raft_multiplier = 3
  rpc_hold_timeout = "7s"
}
pid_file = "/var/lib/usher/pid"
ports {
  dns = 8601
  expose_max_port = 21755
  expose_min_port = 21500
  grpc = 8503
  http = 8501
  https = 8502
  proxy_max_port = 20255
  proxy_min_port = 20000
  serf_lan = 8311
  serf_wan = 8312
  server = 8310
  sidecar_max_port = 21255
  sidecar_min_port = 21000
}
primary_datacenter = "dc-full"
primary_gateways = []
primary_gateways_interval = "7s"
protocol = 2
raft_protocol = 3
raft_snapshot_interval = "7s"
raft_snapshot_threshold = 7
raft_trailing_logs = 7
reconnect_timeout = "7s"
reconnect_timeout_wan = "7s"
recursors = ["8.8.8.8", "[::1]:5353"]
rejoin_after_leave = true
retry_interval = "7s"
retry_interval_wan = "7s"
retry_join = ["t"]
retry_join_wan = ["t"]
retry_max = 7
retry_max_wan = 7
revision = "t"
segment = ""
segment_limit = 7
segment_name_limit = 7
segments = []
serf_lan = "127.0.0.1"
serf_lan_allowed_cidrs = ["127.0.0.0/8"]
serf_wan = "127.0.0.1"
serf_wan_allowed_cidrs = ["127.0.0.0/8"]
server = true
server_name = "t"
session_ttl_min = "10s"
skip_leave_on_interrupt = true
snapshot_agent {
  a = 1
}
start_join = ["t"]
start_join_wan = ["t"]
sync_coordinate_interval_min = "7s"
sync_coordinate_rate_target = 1.5
syslog_facility = "t"
tagged_addresses {
  lan_extra = "10.1.1.1"
}
telemetry {
  circonus_api_app = "t"
  circonus_api_token = "t"
  circonus_api_url = "t"
  circonus_broker_id = "t"
  circonus_broker_select_tag = "t"
  circonus_check_display_name = "t"
  circonus_check_force_metric_activation = "t"
  circonus_check_id = "t"
  circonus_check_instance_id = "t"
  circonus_check_search_tag = "t"
  circonus_check_tags = "t"
  circonus_submission_interval = "7s"
  circonus_submission_url = "t"
  disable_hostname = true
  dogstatsd_addr = "t"
  dogstatsd_tags = ["a:b"]
  filter_default = true
  metrics_prefix = "t"
  prefix_filter = ["+a", "-b"]
  prometheus_retention_time = "7s"
  statsd_address = "t"
  statsite_address = "t"
}
tls_cipher_suites = ""
tls_min_version = "tls12"
tls_prefer_server_cipher_suites = true
translate_wan_addrs = true
ui = true
ui_content_path = "/ui/"
ui_dir = ""
unix_sockets {
  group = "0"
  mode = "640"
  user = "0"
}
verify_incoming = false
verify_incoming_https = false
verify_incoming_rpc = false
verify_outgoing = false
verify_server_hostname = false
version = "t"
version_prerelease = "t"
watches = [{
    type = "key"
    key = "a"
  }]
service {
  id = "s1"
  name = "s1"
  tags = ["a"]
  address = "10.0.0.1"
  tagged_addresses {
    lan {
      address = "10.0.0.1"
      port = 1
    }
  }
  meta {
    k = "v"
  }
  port = 80
  weights {
    passing = 2
    warning = 1
  }
  enable_tag_override = true
  check {
    id = "s1c"
    name = "n"
    notes = "x"
    service_id = ""
    status = "passing"
    token = "t"
    ttl = "10s"
    http = ""
    header {
      X = ["y"]
    }
    method = "GET"
    body = "b"
    tcp = ""
    grpc = ""
    grpc_use_tls = false
    args = []
    docker_container_id = ""
    shell = ""
    alias_node = ""
    alias_service = ""
    tls_skip_verify = true
    interval = "0s"
    timeout = "1s"
    success_before_passing = 1
    failures_before_critical = 2
    deregister_critical_service_after = "1h"
    output_max_size = 100
  }
  checks = [{
      id = "s1d"
      name = "n"
      notes = "x"
      service_id = ""
      status = "passing"
      token = "t"
      ttl = "10s"
      http = ""
      header {
        X = ["y"]
      }
      method = "GET"
      body = "b"
      tcp = ""
      grpc = ""
      grpc_use_tls = false
      args = []
      docker_container_id = ""
      shell = ""
      alias_node = ""
      alias_service = ""
      tls_skip_verify = true
      interval = "0s"
      timeout = "1s"
      success_before_passing = 1
      failures_before_critical = 2
      deregister_critical_service_after = "1h"
      output_max_size = 100
    }]
  token = "t"
  kind = ""
  connect {
    native = false
  }
}
services = [{
    id = "s2"
    name = "s2"
    tags = ["a"]
    address = "10.0.0.1"
    tagged_addresses {
      lan {
        address = "10.0.0.1"
        port = 1
      }
    }
    meta {
      k = "v"
    }
    port = 80
    weights {
      passing = 2
      warning = 1
    }
    enable_tag_override = true
    check {
      id = "s2c"
      name = "n"
      notes = "x"
      service_id = ""
      status = "passing"
      token = "t"
      ttl = "10s"
      http = ""
      header {
        X = ["y"]
      }
      method = "GET"
      body = "b"
      tcp = ""
      grpc = ""
      grpc_use_tls = false
      args = []
      docker_container_id = ""
      shell = ""
      alias_node = ""
      alias_service = ""
      tls_skip_verify = true
      interval = "0s"
      timeout = "1s"
      success_before_passing = 1
      failures_before_critical = 2
      deregister_critical_service_after = "1h"
      output_max_size = 100
    }
    checks = [{
        id = "s2d"
        name = "n"
        notes = "x"
        service_id = ""
        status = "passing"
        token = "t"
        ttl = "10s"
        http = ""
        header {
          X = ["y"]
        }
        method = "GET"
        body = "b"
        tcp = ""
        grpc = ""
        grpc_use_tls = false
        args = []
        docker_container_id = ""
        shell = ""
        alias_node = ""
        alias_service = ""
        tls_skip_verify = true
        interval = "0s"
        timeout = "1s"
        success_before_passing = 1
        failures_before_critical = 2
        deregister_critical_service_after = "1h"
        output_max_size = 100
      }]
    token = "t"
    kind = ""
    connect {
      native = false
    }
  }]
check {
  id = "c1"
  name = "n"
  notes = "x"
  service_id = ""
  status = "passing"
  token = "t"
  ttl = "10s"
  http = ""
  header {
    X = ["y"]
  }
  method = "GET"
  body = "b"
  tcp = ""
  grpc = ""
  grpc_use_tls = false
  args = []
  docker_container_id = ""
  shell = ""
  alias_node = ""
  alias_service = ""
  tls_skip_verify = true
  interval = "0s"
  timeout = "1s"
  success_before_passing = 1
  failures_before_critical = 2
  deregister_critical_service_after = "1h"
  output_max_size = 100
}
checks = [{
    id = "c2"
    name = "n"
    notes = "x"
    service_id = ""
    status = "passing"
    token = "t"
    ttl = "10s"
    http = ""
    header {
      X = ["y"]
    }
    method = "GET"
    body = "b"
    tcp = ""
    grpc = ""
    grpc_use_tls = false
    args = []
    docker_container_id = ""
    shell = ""
    alias_node = ""
    alias_service = ""
    tls_skip_verify = true
    interval = "0s"
    timeout = "1s"
    success_before_passing = 1
    failures_before_critical = 2
    deregister_critical_service_after = "1h"
    output_max_size = 100
  }]

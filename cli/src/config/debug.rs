//! The configuration as `/v1/agent/self` shows it under `DebugConfig`: Consul's names, for people who look for a
//! setting that has not the effect they expect. Secrets are not in it.

use std::{net::SocketAddr, path::PathBuf};

use serde_json::{Value, json};
use usher_dns::policy::Truncation;

use super::{Config, duration};

impl Config {
    /// Every setting in force, by Consul's name.
    pub fn debug_config(&self, node_id: &str) -> Value {
        let mut value = self.debug_agent(node_id);
        for part in [
            self.debug_cluster(),
            self.debug_checks(),
            self.debug_addresses(),
            self.debug_dns(),
            self.debug_http_and_log(),
        ] {
            if let (Value::Object(all), Value::Object(part)) = (&mut value, part) {
                all.extend(part);
            }
        }
        value
    }

    fn debug_agent(&self, node_id: &str) -> Value {
        json!({
            "Bootstrap": self.bootstrap,
            "BootstrapExpect": self.bootstrap_expect,
            "DataDir": self.data_dir.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            "Datacenter": self.datacenter,
            "DevMode": self.dev,
            "EnableDebug": self.enable_debug,
            "EnableLocalScriptChecks": self.enable_local_script_checks,
            "EnableRemoteScriptChecks": self.enable_remote_script_checks,
            "LeaveDrainTime": duration::format(self.leave_drain),
            "LeaveOnTerm": self.leave_on_terminate,
            "NodeID": node_id,
            "NodeMeta": self.node_meta,
            "NodeName": self.node_name,
            "PidFile": self.pid_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            "PrimaryDatacenter": self.datacenter,
            "RPCHoldTimeout": duration::format(self.rpc_hold),
            "RaftMultiplier": self.raft_multiplier,
            "RaftSnapshotThreshold": self.snapshot_threshold,
            "RaftTrailingLogs": self.trailing_logs,
            "ServerMode": self.server,
            "SkipLeaveOnInt": self.skip_leave_on_interrupt,
            "TaggedAddresses": self.tagged_addresses,
            "TranslateWANAddrs": self.dns.translate_wan_addrs,
            "Version": super::VERSION,
            "Watches": self.watches.iter().map(|watching| watching.watch.to_string()).collect::<Vec<_>>(),
        })
    }

    fn debug_cluster(&self) -> Value {
        let super::cluster::Cluster { lan, wan, autopilot, .. } = &self.cluster;
        json!({
            "AutopilotCleanupDeadServers": autopilot.cleanup_dead_servers,
            "AutopilotLastContactThreshold": duration::format(autopilot.last_contact_threshold),
            "AutopilotMaxTrailingLogs": autopilot.max_trailing_logs,
            "AutopilotMinQuorum": autopilot.min_quorum,
            "AutopilotServerStabilizationTime": duration::format(autopilot.server_stabilization_time),
            "DisableKeyringFile": self.cluster.disable_keyring_file,
            "EncryptKey": if self.cluster.encrypt.is_some() { "hidden" } else { "" },
            "ReconnectTimeoutLAN": duration::format(lan.reconnect_timeout),
            "ReconnectTimeoutWAN": duration::format(wan.reconnect_timeout),
            "RejoinAfterLeave": self.cluster.rejoin_after_leave,
            "RetryJoinIntervalLAN": duration::format(lan.interval),
            "RetryJoinIntervalWAN": duration::format(wan.interval),
            "RetryJoinLAN": lan.retry,
            "RetryJoinMaxAttemptsLAN": lan.max_attempts,
            "RetryJoinMaxAttemptsWAN": wan.max_attempts,
            "RetryJoinWAN": wan.retry,
            "StartJoinAddrsLAN": lan.start,
            "StartJoinAddrsWAN": wan.start,
        })
    }

    fn debug_checks(&self) -> Value {
        let health = &self.health;
        let path = |path: Option<&PathBuf>| path.map(|path| path.display().to_string()).unwrap_or_default();
        let identity = health.tls.identity.as_ref();
        json!({
            "CAFile": path(health.tls.ca_file.as_ref()),
            "CAPath": path(health.tls.ca_path.as_ref()),
            "CertFile": path(identity.map(|(certificate, _)| certificate)),
            "CheckDeregisterIntervalMin": duration::format(health.deregister_min),
            "CheckOutputMaxSize": health.output_max_size,
            "CheckUpdateInterval": duration::format(health.update_interval),
            "DiscardCheckOutput": health.discard_output,
            "EnableAgentTLSForChecks": self.enable_agent_tls_for_checks,
            "KeyFile": path(identity.map(|(_, key)| key)),
            "ServerName": health.tls.server_name,
        })
    }

    fn debug_addresses(&self) -> Value {
        let port = |port: Option<u16>| port.map_or(-1, i64::from);
        let dns = |protocol: &str| self.dns_addrs.iter().map(|address| format!("{protocol}://{address}")).collect();
        let encrypted_port = |addresses: &[SocketAddr]| addresses.first().map(SocketAddr::port);
        let dns: [Vec<String>; 2] = [dns("tcp"), dns("udp")];
        let http: Vec<String> = self
            .http_addrs
            .iter()
            .map(|listen| match listen {
                super::HttpListen::Tcp(address) => format!("tcp://{address}"),
                super::HttpListen::Unix(path) => format!("unix://{}", path.display()),
            })
            .collect();
        json!({
            "AdvertiseAddrLAN": self.advertise,
            "AdvertiseAddrWAN": self.advertise_wan,
            "BindAddr": self.bind,
            "ClientAddrs": self.client_addrs,
            "DNSAddrs": dns.concat(),
            "DNSHTTPSPort": port(encrypted_port(&self.encrypted_dns.https)),
            "DNSPort": port(self.dns_port),
            "DNSQUICPort": port(encrypted_port(&self.encrypted_dns.quic)),
            "DNSTLSPort": port(encrypted_port(&self.encrypted_dns.tls)),
            "GRPCAddrs": [],
            "GRPCPort": -1,
            "HTTPAddrs": http,
            "HTTPPort": port(self.http_port),
            "HTTPSAddrs": [],
            "HTTPSPort": -1,
            "SerfPortLAN": self.serf_lan_port,
            "SerfPortWAN": port(self.serf_wan_port),
            "ServerPort": self.server_port,
        })
    }

    fn debug_dns(&self) -> Value {
        let dns = &self.dns;
        let file = |which: fn(&super::CertificateFiles) -> &PathBuf| {
            self.encrypted_dns.files.as_ref().map(|files| which(files).display().to_string()).unwrap_or_default()
        };
        let service_ttl: serde_json::Map<String, Value> =
            dns.service_ttl.iter().map(|(name, ttl)| (name.clone(), duration::format(*ttl).into())).collect();
        json!({
            "DNSARecordLimit": dns.a_record_limit,
            "DNSAltDomain": dns.alt_domain,
            "DNSCertFile": file(|files| &files.certificate),
            "DNSCompat": if dns.strict() { "rfc" } else { "consul" },
            "DNSDisableCompression": dns.disable_compression,
            "DNSDomain": format!("{}.", dns.domain),
            "DNSEnableTruncate": dns.truncation == Truncation::Always,
            "DNSKeyFile": file(|files| &files.key),
            "DNSLogQueries": dns.log_queries,
            "DNSMinimalANY": dns.minimal_any,
            "DNSNameServers": dns.name_servers,
            "DNSNodeMetaTXT": dns.node_meta_txt,
            "DNSNodeTTL": duration::format(dns.node_ttl),
            "DNSOnlyPassing": dns.only_passing,
            "DNSRecursorCacheSize": dns.recursor_cache_size,
            "DNSRecursorStaleMax": duration::format(dns.recursor_stale_max),
            "DNSRecursorStrategy": if dns.recursor_random { "random" } else { "sequential" },
            "DNSRecursorTimeout": duration::format(dns.recursor_timeout),
            "DNSRecursors": dns.recursors,
            "DNSResponsesPerSecond": dns.responses_per_second,
            "DNSSOA": {
                "Expire": dns.soa.expire,
                "Minttl": dns.soa.min_ttl,
                "Refresh": dns.soa.refresh,
                "Retry": dns.soa.retry,
            },
            "DNSServiceTTL": service_ttl,
            "DNSUDPAnswerLimit": dns.udp_answer_limit,
            "DNSUDPPayloadSize": dns.udp_payload_size,
            "DNSZoneCuts": dns.zone_cuts,
        })
    }

    fn debug_http_and_log(&self) -> Value {
        let headers: serde_json::Map<String, Value> =
            self.http.response_headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let networks: Vec<String> = self.http.allow_write_http_from.iter().map(ToString::to_string).collect();
        json!({
            "AllowWriteHTTPFrom": networks,
            "DefaultQueryTime": duration::format(self.http.default_query_time),
            "DiscoveryMaxStale": duration::format(self.http.discovery_max_stale),
            "HTTPBlockEndpoints": self.http.block_endpoints,
            "HTTPMaxConnsPerClient": self.http.http_max_conns_per_client,
            "HTTPResponseHeaders": headers,
            "Logging": {
                "LogFilePath": self.log.file.as_ref().map_or("", |file| file.path.as_str()),
                "LogJSON": self.log.json,
                "LogLevel": self.log.level.as_str(),
            },
            "MaxQueryTime": duration::format(self.http.max_query_time),
            "UnixSocketMode": self.unix_sockets.mode.map(|mode| format!("{mode:o}")).unwrap_or_default(),
        })
    }
}

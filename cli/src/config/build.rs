//! The merged configuration, checked as a whole: defaults that depend on each other, addresses, limits.
//!
//! Pure but for looking at the data directory and the host's accounts: the host's interfaces are passed in.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde_json::Value;
use usher_cluster::local::{
    LocalError, declared_check, declared_service,
    definition::{CheckSpec, ServiceDefinition},
};
use usher_dns::{
    policy::{Compat, Policy, Soa, Truncation, UDP_PAYLOAD_MAX, UDP_PAYLOAD_MIN},
    zone::Zone,
};

use super::{
    Config, ConfigError, HttpListen, SocketFile, Warning,
    address::{self, ClientAddress, Interface},
    cluster::Cluster,
    duration, encrypted_dns, health, identity,
    raw::{self, Raw},
    sources::Merged,
    watches,
};
use crate::{
    definition::{self, Strictness},
    http, logging,
};

/// The file rotation's age when none is configured.
const LOG_ROTATE_AGE: Duration = Duration::from_secs(24 * 3600);
/// The port of recursors that name none.
const DNS_PORT: u16 = 53;

/// Makes a configuration of everything merged.
pub(super) fn build(merged: Merged, dev: bool, host: &[Interface]) -> Result<Config, ConfigError> {
    let mut warnings = merged.warnings;
    let raw: Raw = serde_json::from_value(Value::Object(merged.value))
        .map_err(|error| invalid(format!("the merged configuration: {error}")))?;

    let datacenter = identity::datacenter(&raw.datacenter)?;
    let data_dir = data_dir(&raw.data_dir, dev, &mut warnings)?;
    let node_name = identity::node_name(&raw.node_name, &mut warnings)?;
    identity::check_node_meta(&raw.node_meta)?;
    let (bootstrap, bootstrap_expect) = bootstrap(&raw, dev, &mut warnings)?;
    let cluster = Cluster::build(&raw, &mut warnings)?;
    let addresses = Addresses::build(&raw, host)?;
    warn_of_ports(&raw.ports, dev, &mut warnings);
    let dns = dns_policy(&raw, &node_name, &datacenter)?;
    let services = services(&raw)?;
    let checks: Vec<CheckSpec> = raw.checks.iter().cloned().map(definition::check_from_normalised).collect();
    let mut refused = merged.refused;
    refused.extend(scripts_refused(&services, &checks, raw.enable_script_checks || raw.enable_local_script_checks));
    let multiplier = raw.performance.raft_multiplier;
    let raft_multiplier = u32::try_from(multiplier).ok().filter(|value| (1..=10).contains(value)).ok_or_else(|| {
        invalid(format!("performance.raft_multiplier cannot be {multiplier}. Must be between 1 and 10"))
    })?;

    let config = Config {
        dev,
        node_name,
        node_id: identity::node_id(&raw.node_id)?,
        datacenter,
        data_dir,
        server: raw.server,
        bootstrap,
        bootstrap_expect,
        cluster,
        bind: addresses.bind,
        advertise: addresses.advertise,
        advertise_wan: addresses.advertise_wan,
        client_addrs: addresses.client,
        encrypted_dns: encrypted_dns::build(&raw, &addresses.dns_ips)?,
        dns_addrs: addresses.dns,
        http_addrs: addresses.http,
        dns_port: port("ports.dns", raw.ports.dns)?,
        http_port: port("ports.http", raw.ports.http)?,
        server_port: needed_port("ports.server", raw.ports.server)?,
        serf_lan_port: needed_port("ports.serf_lan", raw.ports.serf_lan)?,
        serf_wan_port: port("ports.serf_wan", raw.ports.serf_wan)?,
        tagged_addresses: tagged_addresses(&raw, host)?,
        node_meta: raw.node_meta.clone(),
        raft_multiplier,
        rpc_hold: duration::from_nanos(raw.performance.rpc_hold_timeout),
        leave_drain: duration::from_nanos(raw.performance.leave_drain_time),
        snapshot_threshold: positive("raft_snapshot_threshold", raw.raft_snapshot_threshold)?,
        trailing_logs: positive("raft_trailing_logs", raw.raft_trailing_logs)?,
        dns,
        http: http_options(&raw, dev)?,
        log: log_options(&raw)?,
        pid_file: (!raw.pid_file.is_empty()).then(|| PathBuf::from(&raw.pid_file)),
        unix_sockets: unix_sockets(&raw.unix_sockets)?,
        leave_on_terminate: raw.leave_on_terminate.unwrap_or(!raw.server),
        skip_leave_on_interrupt: raw.skip_leave_on_interrupt.unwrap_or(raw.server),
        enable_debug: raw.enable_debug,
        health: health::build(&raw)?,
        enable_agent_tls_for_checks: raw.enable_agent_tls_for_checks,
        enable_local_script_checks: raw.enable_script_checks || raw.enable_local_script_checks,
        enable_remote_script_checks: raw.enable_script_checks,
        services,
        checks,
        watches: watches::watches(&raw.watches, &mut warnings)?,
        warnings,
        refused,
    };
    check_distinct_addresses(&config)?;
    Ok(config)
}

/// Which definitions run commands where none may. All else that is wrong with them was told with their files.
fn scripts_refused(services: &[ServiceDefinition], checks: &[CheckSpec], allowed: bool) -> Vec<String> {
    let disabled =
        |result: Result<(), LocalError>| result.err().filter(|it| matches!(it, LocalError::ScriptsDisabled(_)));
    let service = |it: &ServiceDefinition| {
        disabled(declared_service(it, allowed)).map(|error| format!("service \"{}\": {error}", it.name))
    };
    let check =
        |it: &CheckSpec| disabled(declared_check(it, allowed)).map(|error| format!("check \"{}\": {error}", it.name));
    services.iter().filter_map(service).chain(checks.iter().filter_map(check)).collect()
}

fn invalid(text: String) -> ConfigError {
    ConfigError::Invalid(text)
}

fn data_dir(given: &str, dev: bool, warnings: &mut Vec<Warning>) -> Result<Option<PathBuf>, ConfigError> {
    if dev {
        if !given.is_empty() {
            warnings.push(Warning("data_dir has no effect with -dev: nothing is kept".into()));
        }
        return Ok(None);
    }
    if given.is_empty() {
        return Err(invalid("data_dir cannot be empty".into()));
    }
    let path = PathBuf::from(given);
    match fs::metadata(&path) {
        Ok(metadata) if !metadata.is_dir() => Err(invalid(format!("data_dir \"{given}\" is not a directory"))),
        // What is missing is made at the start.
        _ => Ok(Some(path)),
    }
}

/// Whether to form a cluster alone, and how many servers to wait for otherwise.
fn bootstrap(raw: &Raw, dev: bool, warnings: &mut Vec<Warning>) -> Result<(bool, u32), ConfigError> {
    let expect = u32::try_from(raw.bootstrap_expect).map_err(|_| {
        invalid(format!("bootstrap_expect cannot be {}. Must be greater than or equal to zero", raw.bootstrap_expect))
    })?;
    if expect > 0 && raw.bootstrap {
        return Err(invalid("'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive".into()));
    }
    let alone = raw.bootstrap || expect == 1;
    if alone && !raw.server {
        return Err(invalid("'bootstrap = true' requires 'server = true'".into()));
    }
    if expect > 0 && !raw.server {
        return Err(invalid("'bootstrap_expect > 0' requires 'server = true'".into()));
    }
    if expect > 1 && dev {
        return Err(invalid("'bootstrap_expect > 0' not allowed in dev mode".into()));
    }
    let mut warn = |text: String| warnings.push(Warning(text));
    match expect {
        0 => {}
        1 => warn("BootstrapExpect is set to 1; this is the same as Bootstrap mode.".into()),
        2 => warn("bootstrap_expect = 2: A cluster with 2 servers will provide no failure tolerance.".into()),
        _ if expect % 2 == 0 => warn(
            "bootstrap_expect is even number: A cluster with an even number of servers does not achieve optimum \
             fault tolerance."
                .into(),
        ),
        _ => {}
    }
    if alone {
        warn("bootstrap = true: do not enable unless necessary".into());
    }
    if expect > 1 {
        warn(format!("bootstrap_expect > 0: expecting {expect} servers"));
    }
    Ok((alone, if expect > 1 { expect } else { 0 }))
}

/// A port; `None` when it is switched off by zero or less.
pub(super) fn port(key: &str, value: i64) -> Result<Option<u16>, ConfigError> {
    match value {
        ..=0 => Ok(None),
        some => u16::try_from(some).map(Some).map_err(|_| invalid(format!("{key}: invalid port: {some}"))),
    }
}

fn needed_port(key: &str, value: i64) -> Result<u16, ConfigError> {
    port(key, value)?.ok_or_else(|| invalid(format!("{key} cannot be switched off")))
}

fn positive(key: &str, value: i64) -> Result<u64, ConfigError> {
    match u64::try_from(value) {
        Ok(value) if value > 0 => Ok(value),
        _ => Err(invalid(format!("{key} cannot be {value}. Must be greater than zero"))),
    }
}

fn not_negative(key: &str, value: i64) -> Result<usize, ConfigError> {
    usize::try_from(value)
        .map_err(|_| invalid(format!("{key} cannot be {value}. Must be greater than or equal to zero")))
}

fn warn_of_ports(ports: &raw::Ports, dev: bool, warnings: &mut Vec<Warning>) {
    if ports.https > 0 {
        warnings.push(Warning("ports.https has no effect: it is not built yet".into()));
    }
    if ports.grpc > 0 && !dev {
        let text = "ports.grpc has no effect: it belongs to the service mesh, which is not part of this product";
        warnings.push(Warning(text.into()));
    }
}

/// Where to listen, and what to tell others.
struct Addresses {
    bind: IpAddr,
    advertise: IpAddr,
    advertise_wan: IpAddr,
    client: Vec<IpAddr>,
    dns_ips: Vec<IpAddr>,
    dns: Vec<SocketAddr>,
    http: Vec<HttpListen>,
}

impl Addresses {
    fn build(raw: &Raw, host: &[Interface]) -> Result<Self, ConfigError> {
        let bind = one_ip("bind_addr", &raw.bind_addr, host)?;
        let advertise = match &raw.advertise_addr {
            Some(text) if !text.is_empty() => one_ip("advertise_addr", text, host)?,
            _ if bind.is_unspecified() => {
                address::advertised_for_any(bind, host).map_err(|error| invalid(error.to_string()))?
            }
            _ => bind,
        };
        if advertise.is_unspecified() {
            return Err(invalid("Advertise address cannot be 0.0.0.0, :: or [::]".into()));
        }
        let advertise_wan = match &raw.advertise_addr_wan {
            Some(text) if !text.is_empty() => one_ip("advertise_addr_wan", text, host)?,
            _ => advertise,
        };
        if advertise_wan.is_unspecified() {
            return Err(invalid("Advertise WAN address cannot be 0.0.0.0, :: or [::]".into()));
        }
        let client = only_ips("client_addr", client_addresses("client_addr", &raw.client_addr, host)?)?;
        let dns = match &raw.addresses.dns {
            Some(text) => only_ips("DNS address", client_addresses("addresses.dns", text, host)?)?,
            None => client.clone(),
        };
        let http = match &raw.addresses.http {
            Some(text) => client_addresses("addresses.http", text, host)?,
            None => client.iter().copied().map(ClientAddress::Ip).collect(),
        };
        let dns_port = port("ports.dns", raw.ports.dns)?;
        let http_port = port("ports.http", raw.ports.http)?;
        Ok(Self {
            bind,
            advertise,
            advertise_wan,
            client,
            dns: at(&dns, dns_port),
            dns_ips: dns,
            http: http
                .into_iter()
                .filter_map(|address| match (address, http_port) {
                    (ClientAddress::Unix(path), Some(_)) => Some(HttpListen::Unix(path)),
                    (ClientAddress::Ip(ip), Some(port)) => Some(HttpListen::Tcp(SocketAddr::new(ip, port))),
                    (_, None) => None,
                })
                .collect(),
        })
    }
}

/// The addresses with the port, if it is on.
pub(super) fn at(ips: &[IpAddr], port: Option<u16>) -> Vec<SocketAddr> {
    port.iter().flat_map(|port| ips.iter().map(|ip| SocketAddr::new(*ip, *port))).collect()
}

fn client_addresses(key: &'static str, text: &str, host: &[Interface]) -> Result<Vec<ClientAddress>, ConfigError> {
    address::client_addresses(text, host).map_err(|source| ConfigError::Address { key, source })
}

fn only_ips(what: &str, addresses: Vec<ClientAddress>) -> Result<Vec<IpAddr>, ConfigError> {
    let ip = |address| match address {
        ClientAddress::Ip(ip) => Ok(ip),
        ClientAddress::Unix(_) => Err(invalid(format!("{what} cannot be a unix socket"))),
    };
    addresses.into_iter().map(ip).collect()
}

fn one_ip(key: &'static str, text: &str, host: &[Interface]) -> Result<IpAddr, ConfigError> {
    match only_ips(key, client_addresses(key, text, host)?)?.as_slice() {
        [one] => Ok(*one),
        [] => Err(invalid(format!("{key} cannot be empty"))),
        _ => Err(invalid(format!(
            "{key} cannot contain multiple addresses. Use 'addresses.{{dns,http,https}}' instead."
        ))),
    }
}

/// The user's own, and those of one address family.
fn tagged_addresses(raw: &Raw, host: &[Interface]) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut tagged = raw.tagged_addresses.clone();
    let families: [(&str, &'static str, &Option<String>); 4] = [
        ("lan_ipv4", "advertise_addr_ipv4", &raw.advertise_addr_ipv4),
        ("lan_ipv6", "advertise_addr_ipv6", &raw.advertise_addr_ipv6),
        ("wan_ipv4", "advertise_addr_wan_ipv4", &raw.advertise_addr_wan_ipv4),
        ("wan_ipv6", "advertise_addr_wan_ipv6", &raw.advertise_addr_wan_ipv6),
    ];
    for (tag, key, text) in families {
        let Some(text) = text.as_ref().filter(|text| !text.is_empty()) else { continue };
        let ip = one_ip(key, text, host)?;
        if ip.is_ipv4() != key.ends_with("ipv4") {
            return Err(invalid(format!("{key} is of the wrong address family: {ip}")));
        }
        tagged.insert(tag.to_owned(), ip.to_string());
    }
    Ok(tagged)
}

/// No two listeners may have the same address. DNS and gossip listen by UDP and TCP.
fn check_distinct_addresses(config: &Config) -> Result<(), ConfigError> {
    let (mut tcp, mut udp) = (Taken::default(), Taken::default());
    for address in &config.dns_addrs {
        tcp.take("DNS", *address)?;
        udp.take("DNS", *address)?;
    }
    for address in &config.http_addrs {
        tcp.take("HTTP", address)?;
    }
    for address in &config.encrypted_dns.tls {
        tcp.take("DNS over TLS", *address)?;
    }
    for address in &config.encrypted_dns.https {
        tcp.take("DNS over HTTPS", *address)?;
    }
    for address in &config.encrypted_dns.quic {
        udp.take("DNS over QUIC", *address)?;
    }
    tcp.take("RPC Advertise", SocketAddr::new(config.advertise, config.server_port))?;
    let lan = SocketAddr::new(config.advertise, config.serf_lan_port);
    tcp.take("Serf Advertise LAN", lan)?;
    udp.take("Serf Advertise LAN", lan)?;
    if let Some(port) = config.serf_wan_port {
        let wan = SocketAddr::new(config.advertise_wan, port);
        tcp.take("Serf Advertise WAN", wan)?;
        udp.take("Serf Advertise WAN", wan)?;
    }
    Ok(())
}

/// Addresses of one protocol, and whose they are.
#[derive(Default)]
struct Taken(BTreeMap<String, &'static str>);

impl Taken {
    fn take(&mut self, name: &'static str, address: impl ToString) -> Result<(), ConfigError> {
        let address = address.to_string();
        match self.0.insert(address.clone(), name) {
            Some(before) => Err(invalid(format!("{name} address {address} already configured for {before}"))),
            None => Ok(()),
        }
    }
}

fn dns_policy(raw: &Raw, node_name: &str, datacenter: &str) -> Result<Policy, ConfigError> {
    let dns = &raw.dns_config;
    let recursors: Result<Vec<SocketAddr>, ConfigError> = raw.recursors.iter().map(|text| recursor(text)).collect();
    let zone = |name: &str| name.trim_matches('.').to_lowercase();
    let compat = compat(&dns.compat)?;
    let defaults = match compat {
        Compat::Consul => Policy::of_consul(),
        Compat::Rfc => Policy::default(),
    };
    let policy = Policy {
        compat,
        node_name: node_name.to_owned(),
        datacenter: datacenter.to_owned(),
        domain: zone(&raw.domain),
        alt_domain: zone(&raw.alt_domain),
        node_ttl: duration::from_nanos(dns.node_ttl),
        service_ttl: dns.service_ttl.iter().map(|(name, ttl)| (name.clone(), duration::from_nanos(*ttl))).collect(),
        only_passing: dns.only_passing,
        truncation: match dns.enable_truncate {
            None => defaults.truncation,
            Some(false) => Truncation::Never,
            Some(true) => Truncation::Always,
        },
        udp_payload_size: match dns.udp_payload_size {
            None => defaults.udp_payload_size,
            Some(size) => Some(udp_payload_size(size)?),
        },
        cookie_secret: cookie_secret(&dns.cookie_secret)?,
        log_queries: dns.log_queries,
        minimal_any: dns.minimal_any,
        responses_per_second: responses_per_second(dns.responses_per_second)?,
        zone_cuts: dns.zone_cuts.iter().map(|name| zone(name)).collect(),
        name_servers: dns.name_servers.iter().map(|name| zone(name)).collect(),
        udp_answer_limit: not_negative("dns_config.udp_answer_limit", dns.udp_answer_limit)?,
        a_record_limit: not_negative("dns_config.a_record_limit", dns.a_record_limit)?,
        disable_compression: dns.disable_compression,
        node_meta_txt: dns.enable_additional_node_meta_txt,
        translate_wan_addrs: raw.translate_wan_addrs,
        soa: Soa {
            refresh: soa_timer("refresh", dns.soa.refresh)?,
            retry: soa_timer("retry", dns.soa.retry)?,
            expire: soa_timer("expire", dns.soa.expire)?,
            min_ttl: soa_timer("min_ttl", dns.soa.min_ttl)?,
        },
        recursors: recursors?,
        recursor_timeout: duration::from_nanos(dns.recursor_timeout),
        recursor_random: is_random(&dns.recursor_strategy)?,
        recursor_cache_size: match dns.recursor_cache_size {
            None => defaults.recursor_cache_size,
            Some(size) => not_negative("dns_config.recursor_cache_size", size)?,
        },
        recursor_stale_max: dns.recursor_stale_max.map_or(defaults.recursor_stale_max, duration::from_nanos),
    };
    Zone::new(policy.clone()).map_err(|error| invalid(error.to_string()))?;
    Ok(policy)
}

fn compat(text: &str) -> Result<Compat, ConfigError> {
    match text {
        "" | "rfc" => Ok(Compat::Rfc),
        "consul" => Ok(Compat::Consul),
        _ => Err(invalid(format!("dns_config.compat cannot be {text:?}: it is \"rfc\" or \"consul\""))),
    }
}

fn udp_payload_size(value: i64) -> Result<u16, ConfigError> {
    let size = u16::try_from(value).ok().filter(|size| (UDP_PAYLOAD_MIN..=UDP_PAYLOAD_MAX).contains(size));
    let range = format!("it is {UDP_PAYLOAD_MIN} to {UDP_PAYLOAD_MAX} bytes");
    size.ok_or_else(|| invalid(format!("dns_config.udp_payload_size cannot be {value}: {range}")))
}

fn responses_per_second(value: i64) -> Result<u32, ConfigError> {
    u32::try_from(value)
        .map_err(|_| invalid(format!("dns_config.responses_per_second cannot be {value}: it has 32 bits")))
}

fn cookie_secret(text: &str) -> Result<Option<[u8; 16]>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    // The text itself is a secret: it is not shown.
    let secret = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32 && !text.starts_with('+'));
    let secret = secret.ok_or_else(|| invalid("dns_config.cookie_secret is not 32 hexadecimal digits".into()))?;
    Ok(Some(secret.to_be_bytes()))
}

fn soa_timer(name: &str, value: i64) -> Result<u32, ConfigError> {
    u32::try_from(value).map_err(|_| invalid(format!("dns_config.soa.{name} cannot be {value}: it has 32 bits")))
}

/// Whether recursors are asked in random order.
fn is_random(strategy: &str) -> Result<bool, ConfigError> {
    match strategy {
        "" | "sequential" => Ok(false),
        "random" => Ok(true),
        other => {
            Err(invalid(format!("dns_config.recursor_strategy must be \"sequential\" or \"random\", not {other:?}")))
        }
    }
}

/// `1.1.1.1`, `1.1.1.1:53`, `::1` or `[::1]:53`.
fn recursor(text: &str) -> Result<SocketAddr, ConfigError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let ip = address::ip(text).map_err(|_| invalid(format!("Invalid recursor address: {text}")))?;
    Ok(SocketAddr::new(ip, DNS_PORT))
}

fn services(raw: &Raw) -> Result<Vec<ServiceDefinition>, ConfigError> {
    let mut services = Vec::with_capacity(raw.services.len());
    for object in &raw.services {
        let service = definition::service_from_normalised(object.clone(), Strictness::File);
        if service.weights.is_some_and(|weights| weights.passing < 1) {
            let text =
                format!("Invalid weight definition for service {}: Passing must be greater than 0", service.name);
            return Err(invalid(text));
        }
        if service.weights.is_some_and(|weights| weights.warning < 0) {
            let text = format!(
                "Invalid weight definition for service {}: Warning must be greater or equal than 0",
                service.name
            );
            return Err(invalid(text));
        }
        identity::check_meta(&service.meta)
            .map_err(|problem| invalid(format!("invalid meta for service {}: {problem}", service.name)))?;
        services.push(service);
    }
    Ok(services)
}

fn http_options(raw: &Raw, dev: bool) -> Result<http::Options, ConfigError> {
    let network = |text: &String| {
        text.parse::<http::Network>().map_err(|_| invalid(format!("allow_write_http_from: invalid cidr: {text}")))
    };
    let networks: Result<Vec<http::Network>, ConfigError> =
        raw.http_config.allow_write_http_from.iter().map(network).collect();
    Ok(http::Options {
        response_headers: raw.http_config.response_headers.clone().into_iter().collect(),
        block_endpoints: raw.http_config.block_endpoints.clone(),
        allow_write_http_from: networks?,
        enable_debug: raw.enable_debug,
        discovery_max_stale: duration::from_nanos(raw.discovery_max_stale),
        http_max_conns_per_client: usize::try_from(raw.limits.http_max_conns_per_client).unwrap_or(0),
        default_query_time: duration::from_nanos(raw.default_query_time),
        max_query_time: duration::from_nanos(raw.max_query_time),
        translate_wan_addrs: raw.translate_wan_addrs,
        pretty: dev,
        ..http::Options::default()
    })
}

fn log_options(raw: &Raw) -> Result<logging::Options, ConfigError> {
    let level = logging::level_by_name(&raw.log_level).ok_or_else(|| {
        invalid(format!("Invalid log level: {}. Valid log levels are: [TRACE DEBUG INFO WARN ERR]", raw.log_level))
    })?;
    let age = match raw.log_rotate_duration {
        ..=0 => LOG_ROTATE_AGE,
        some => duration::from_nanos(some),
    };
    let file = (!raw.log_file.is_empty()).then(|| logging::Rotation {
        path: raw.log_file.clone(),
        max_bytes: u64::try_from(raw.log_rotate_bytes).unwrap_or(0),
        max_age: age,
        max_files: raw.log_rotate_max_files,
    });
    Ok(logging::Options { level, json: raw.log_json, file })
}

fn unix_sockets(raw: &raw::UnixSockets) -> Result<SocketFile, ConfigError> {
    let mode = match raw.mode.as_str() {
        "" => None,
        text => Some(
            u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .ok_or_else(|| invalid(format!("unix_sockets.mode: \"{text}\" is no octal file mode")))?,
        ),
    };
    Ok(SocketFile { mode, user: identity::user(&raw.user)?, group: identity::group(&raw.group)? })
}

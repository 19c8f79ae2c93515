//! The configuration as a whole: every key, the order of sources, what is refused. Files recorded beside the reference
//! are in `testdata/config`.

use std::{collections::BTreeSet, fs, path::Path, path::PathBuf};

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use usher_dns::policy::{Compat, Truncation};

use super::{
    address::Interface,
    keys::AGENT,
    schema::{Effect, Kind, Table},
    sources, *,
};

/// Keys that Consul 1.8 does not know: one by a slip in its own tables, a later version's and ours.
const OURS: &[&str] = &[
    "advertise_addr_wan_ipv6",
    "dns_config.cert_file",
    "dns_config.compat",
    "dns_config.cookie_secret",
    "dns_config.key_file",
    "dns_config.log_queries",
    "dns_config.minimal_any",
    "dns_config.name_servers",
    "dns_config.recursor_cache_size",
    "dns_config.recursor_stale_max",
    "dns_config.recursor_strategy",
    "dns_config.responses_per_second",
    "dns_config.udp_payload_size",
    "dns_config.zone_cuts",
    "ports.dns_https",
    "ports.dns_quic",
    "ports.dns_tls",
];
/// Keys of definitions that Consul 1.8 does not know: later versions' and ours.
const OURS_IN_DEFINITIONS: [&str; 14] = [
    "disable_redirects",
    "dns",
    "dns_expect",
    "dns_server",
    "dns_type",
    "draining",
    "failures_before_warning",
    "h2ping",
    "h2ping_use_tls",
    "lease",
    "lease_deregister_after",
    "priority",
    "tls_server_name",
    "udp",
];

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/config").join(name)
}

fn host() -> Vec<Interface> {
    vec![Interface { name: "eth0".into(), address: "10.0.0.5".parse().unwrap() }]
}

fn files(paths: &[PathBuf]) -> AgentFlags {
    AgentFlags { config_files: paths.to_vec(), ..AgentFlags::default() }
}

fn hcl(texts: &[&str]) -> AgentFlags {
    AgentFlags { hcl: texts.iter().map(|text| (*text).to_owned()).collect(), ..AgentFlags::default() }
}

fn load_text(text: &str) -> Result<Config, ConfigError> {
    load_on(&hcl(&[text]), &host())
}

/// The text is given `data_dir` and must be valid with it.
fn good(text: &str) -> Config {
    load_text(&format!("data_dir = \"/nowhere\"\n{text}")).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn problem(text: &str) -> String {
    match load_text(&format!("data_dir = \"/nowhere\"\n{text}")) {
        Ok(_) => panic!("{text} is valid"),
        Err(error) => error.to_string(),
    }
}

/// The paths of all keys in a value, as far as `table` knows what is a table.
fn paths(value: &Value, table: &Table, before: &str, into: &mut BTreeSet<String>) {
    let Value::Object(object) = value else { return };
    for (name, value) in object {
        let key = table.find(name).unwrap_or_else(|| panic!("{before}{name}"));
        let path = format!("{before}{}", key.name);
        match (key.kind, value) {
            (Kind::Table(inner), value) => paths(value, inner, &format!("{path}."), into),
            (Kind::Tables(inner), Value::Array(items)) => {
                items.iter().for_each(|item| paths(item, inner, &format!("{path}."), into));
            }
            _ => {}
        }
        into.insert(path);
    }
}

fn known_paths(table: &Table, before: &str, into: &mut BTreeSet<String>) {
    for key in table.keys {
        let path = format!("{before}{}", key.name);
        if let Kind::Table(inner) = key.kind {
            known_paths(inner, &format!("{path}."), into);
        }
        into.insert(path);
    }
}

#[test]
fn every_key_of_the_reference_is_known_and_every_known_key_is_the_reference_s() {
    let text = fs::read_to_string(testdata("full.json")).unwrap();
    let mut in_file = BTreeSet::new();
    paths(&serde_json::from_str(&text).unwrap(), &AGENT, "", &mut in_file);
    let mut known = BTreeSet::new();
    known_paths(&AGENT, "", &mut known);
    OURS.iter().for_each(|name| assert!(known.remove(*name)));
    // Lists of tables are in the file with an item, or without one where the reference wants none.
    let lists =
        ["services.", "service.checks.", "checks.", "segments.", "acl.tokens.managed_service_provider.", "watches."];
    in_file.retain(|path| !lists.iter().any(|list| path.starts_with(list)));
    // Of a definition, the file holds the keys Consul knows in files; requests know proxies besides.
    let ours = |path: &str| {
        let (table, key) = path.rsplit_once('.').unwrap_or_default();
        (table.ends_with("check") || table.ends_with("service")) && OURS_IN_DEFINITIONS.contains(&key)
    };
    known.retain(|path| !ours(path) && !path.ends_with("service.proxy"));
    let missing: Vec<&String> = known.symmetric_difference(&in_file).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_file_with_every_key_is_valid_and_warns_of_what_has_no_effect() {
    let config = load_on(&files(&[testdata("full.json")]), &host()).unwrap();
    let warned =
        |key: &str| config.warnings.iter().any(|warning| warning.0.contains(&format!(": {key} has no effect")));
    for key in AGENT.keys.iter().filter(|key| !OURS.contains(&key.name)) {
        let expected = !matches!(key.effect, Effect::Used | Effect::Moot);
        assert_eq!(warned(key.name), expected, "{}", key.name);
    }
    assert!(warned("limits.rpc_rate") && warned("service.connect") && warned("addresses.grpc"));
    assert_eq!(config.services.len(), 2);
    assert_eq!(config.checks.len(), 2);
    assert_eq!(config.node_name, "full");
    assert_eq!(config.dns.recursors.len(), 2);
}

#[test]
fn definitions_an_agent_would_refuse_are_told_with_their_file() {
    let refused = |text: &str| good(text).refused;
    assert!(refused("service { name = \"a\" check { ttl = \"1s\" } }").is_empty());
    for (text, expected) in [
        ("service { port = 1 }", "-hcl number 1: service number 1: Missing service name"),
        (
            "services = [{ name = \"a\" }, { name = \"b\" check { http = \"http://x/\" } }]",
            "-hcl number 1: service \"b\": Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
        ),
        ("check { name = \"c\" }", "-hcl number 1: check \"c\": Invalid check: TTL must be > 0 for TTL checks"),
        (
            "service { name = \"l\" lease = \"1ms\" }",
            "-hcl number 1: service \"l\": Invalid lease: Lease must be at least 1s",
        ),
        (
            "check { name = \"s\" args = [\"true\"] interval = \"1s\" }",
            "check \"s\": Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or \
             'enable_local_script_checks' to true",
        ),
    ] {
        assert_eq!(refused(text), [expected], "{text}");
    }
    let allowed = "enable_local_script_checks = true check { name = \"s\" args = [\"true\"] interval = \"1s\" }";
    assert!(refused(allowed).is_empty());
}

#[test]
fn a_file_may_say_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a.json", ""), ("b.json", " \n"), ("c.json", "null"), ("d.hcl", ""), ("e.json", "{}")] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    assert!(sources::merge(&files(&[folder.path().to_owned()])).is_ok());
}

#[test]
fn json_and_hcl_mean_the_same() {
    let [json, hcl] = ["full.json", "full.hcl"].map(|name| sources::merge(&files(&[testdata(name)])).unwrap().value);
    for (name, value) in &json {
        assert_eq!(Some(value), hcl.get(name), "{name}");
    }
    assert_eq!(json.len(), hcl.len());
}

#[test]
fn forms_of_hcl_are_valid_where_the_reference_takes_them() {
    // The reference takes a key without a value at the end of a file for nothing, and cuts a fraction off.
    let differing = ["node_name =", "ports { dns = .5 }"];
    let forms: Vec<(String, bool)> =
        serde_json::from_str(&fs::read_to_string(testdata("hcl-forms.json")).unwrap()).unwrap();
    assert!(forms.len() > 100);
    for (form, valid) in forms {
        let result = load_text(&format!("data_dir = \"/x\"\n{form}"));
        let expected = valid && !differing.contains(&form.as_str());
        assert_eq!(result.is_ok(), expected, "{form}: {:?}", result.err().map(|error| error.to_string()));
    }
}

#[test]
fn an_empty_configuration_wants_a_data_directory_and_has_consul_s_defaults() {
    assert_eq!(load_text("").unwrap_err().to_string(), "data_dir cannot be empty");
    let config = good("");
    assert_eq!((config.datacenter.as_str(), config.dns.domain.as_str()), ("dc1", "consul"));
    assert_eq!((config.bind.to_string().as_str(), config.advertise.to_string().as_str()), ("0.0.0.0", "10.0.0.5"));
    assert_eq!(config.dns_addrs, ["127.0.0.1:8600".parse().unwrap()]);
    assert_eq!(config.http_addrs, [HttpListen::Tcp("127.0.0.1:8500".parse().unwrap())]);
    assert_eq!((config.server_port, config.serf_lan_port, config.serf_wan_port), (8300, 8301, Some(8302)));
    assert_eq!((config.raft_multiplier, config.rpc_hold), (5, Duration::from_secs(7)));
    assert_eq!(config.log.level, tracing::Level::INFO);
    assert_eq!(config.http.default_query_time, Duration::from_secs(300));
    assert_eq!(config.http.http_max_conns_per_client, 200);
    assert!(!config.server && config.leave_on_terminate && !config.skip_leave_on_interrupt);
    assert_eq!(config.dns.recursor_timeout, Duration::from_secs(2));
    assert_eq!((config.dns.recursor_cache_size, config.dns.recursor_stale_max), (10_000, Duration::ZERO));
    assert!(!config.dns.recursor_random);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn recursors_are_used_as_told() {
    let text = "data_dir = \"/x\" dns_config { recursor_strategy = \"random\" recursor_cache_size = 0 \
                recursor_stale_max = \"36h\" }";
    let dns = load_text(text).unwrap().dns;
    assert!(dns.recursor_random);
    assert_eq!((dns.recursor_cache_size, dns.recursor_stale_max), (0, Duration::from_secs(36 * 3600)));
}

#[test]
fn development_needs_nothing() {
    let config = load_on(&AgentFlags { dev: true, ..AgentFlags::default() }, &[]).unwrap();
    assert!(config.server && config.data_dir.is_none() && config.enable_debug && !config.bootstrap);
    assert_eq!((config.bind.to_string().as_str(), config.raft_multiplier), ("127.0.0.1", 1));
    assert_eq!(config.log.level, tracing::Level::DEBUG);
    assert!(!config.leave_on_terminate && config.skip_leave_on_interrupt);
    let options = config.agent_options();
    assert!(options.bootstrap_expect == 1 && options.server && options.data_dir.is_none());
}

#[test]
fn later_sources_win_lists_are_appended_and_maps_merged() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::create_dir(folder.path().join("d/sub")).unwrap();
    let first = write(
        "first.hcl",
        "data_dir = \"/x\" recursors = [\"1.0.0.1\"] node_meta { a = \"1\" b = \"1\" } node_name = \"first\" \
         service { name = \"s1\" } log_level = \"WARN\" dns_config { node_ttl = \"1s\" service_ttl { a = \"1s\" } }",
    );
    write("d/b.json", r#"{"node_name": "b", "recursors": ["1.0.0.3"], "services": [{"name": "s3"}]}"#);
    write("d/a.hcl", "node_name = \"a\" domain = \"a.\" recursors = [\"1.0.0.2\"] service { name = \"s2\" }");
    write("d/c.txt", "not read");
    let flags = AgentFlags {
        config_files: vec![first, folder.path().join("d")],
        hcl: vec!["datacenter = \"by-hcl\" dns_config { only_passing = true service_ttl { b = \"2s\" } }".into()],
        lists: json!({"recursors": ["1.0.0.0"]}).as_object().cloned().unwrap(),
        values: json!({"datacenter": "by-flag", "log_level": "ERR", "node_meta": {"b": "2"}})
            .as_object()
            .cloned()
            .unwrap(),
        ..AgentFlags::default()
    };
    let config = load_on(&flags, &host()).unwrap();
    assert_eq!(config.node_name, "b");
    assert_eq!(config.dns.domain, "a");
    assert_eq!(config.datacenter, "by-hcl");
    assert_eq!(config.log.level, tracing::Level::ERROR);
    let recursors: Vec<String> = config.dns.recursors.iter().map(ToString::to_string).collect();
    assert_eq!(recursors, ["1.0.0.0:53", "1.0.0.1:53", "1.0.0.2:53", "1.0.0.3:53"]);
    assert_eq!(Value::from_iter(config.node_meta.clone()), json!({"a": "1", "b": "2"}));
    assert_eq!(config.dns.node_ttl, Duration::from_secs(1));
    assert!(config.dns.only_passing);
    assert_eq!(config.dns.service_ttl.len(), 2);
    let services: Vec<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(services, ["s1", "s2", "s3"]);
    assert!(config.warnings.iter().any(|warning| warning.0.contains("c.txt, extension must be .hcl or .json")));
}

#[test]
fn the_format_may_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("noext");
    fs::write(&path, "{\"data_dir\": \"/x\"}").unwrap();
    let with = |format: Option<&str>| {
        let flags = AgentFlags { config_format: format.map(str::to_owned), ..files(std::slice::from_ref(&path)) };
        load_on(&flags, &host()).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(with(Some("json")), Ok(()));
    assert_eq!(with(Some("yaml")), Err("-config-format must be either 'hcl' or 'json'".into()));
    assert_eq!(with(None), Err("data_dir cannot be empty".into()));
    fs::write(&path, "data_dir = \"/x\"").unwrap();
    assert_eq!(with(Some("hcl")), Ok(()));
    assert!(with(Some("json")).unwrap_err().starts_with(&format!("failed to parse {}:1:1: ", path.display())));
}

#[test]
fn errors_name_the_file_the_place_and_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let message = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let error = load_on(&files(std::slice::from_ref(&path)), &host()).unwrap_err().to_string();
        error.replace(&path.display().to_string(), "FILE")
    };
    let table: [(&str, &[u8], &str); 8] = [
        ("a.hcl", b"data_dir = \"x\"\nports {\n  foo = 1\n}", "failed to parse FILE:3:3: invalid config key ports.foo"),
        ("b.hcl", b"a = 1 b = 2", "failed to parse FILE:1:1: invalid config key a, invalid config key b"),
        (
            "c.hcl",
            b"\nservice { check { ttl = 5 } }",
            "failed to parse FILE:2:19: 'service.check.ttl' expected a duration such as \"10s\", got a number",
        ),
        (
            "d.json",
            b"{\"ports\": {\"dns\": \"x\"}}",
            "failed to parse FILE: 'ports.dns' expected a whole number, got a string",
        ),
        ("e.json", b"{\"data_dir\": ", "failed to parse FILE:1:13: EOF while parsing a value"),
        ("f.hcl", b"a = ", "failed to parse FILE:1:5: expected a value, got the end of the file"),
        ("g.hcl", b"a = \"\xff\"", "failed to parse FILE: it is not UTF-8"),
        ("h.json", b"[]", "failed to parse FILE: 'the top level' expected a map, got a list"),
    ];
    for (name, text, expected) in table {
        assert_eq!(message(name, text), expected);
    }
    let missing = folder.path().join("missing.hcl");
    assert!(load_on(&files(&[missing]), &host()).unwrap_err().to_string().starts_with("cannot read "));
}

#[test]
fn values_that_consul_refuses() {
    let table = [
        ("datacenter = \"\"", "datacenter cannot be empty"),
        ("datacenter = \"DC One!\"", "datacenter cannot be \"dc one!\". Please use only [a-z0-9-_]"),
        ("advertise_addr = \"0.0.0.0\"", "Advertise address cannot be 0.0.0.0, :: or [::]"),
        ("advertise_addr_wan = \"::\"", "Advertise WAN address cannot be 0.0.0.0, :: or [::]"),
        ("advertise_addr = \"foo\"", "advertise_addr: invalid ip address: foo"),
        ("ports { dns = 700000 }", "ports.dns: invalid port: 700000"),
        ("ports { dns = 8600 http = 8600 }", "HTTP address 127.0.0.1:8600 already configured for DNS"),
        (
            "ports { dns_tls = 8500 } cert_file = \"c\" key_file = \"k\"",
            "DNS over TLS address 127.0.0.1:8500 already configured for HTTP",
        ),
        (
            "ports { dns_quic = 8600 } cert_file = \"c\" key_file = \"k\"",
            "DNS over QUIC address 127.0.0.1:8600 already configured for DNS",
        ),
        (
            "ports { dns_https = 443 }",
            "ports.dns_https needs a certificate and its key: neither dns_config.cert_file nor cert_file is set",
        ),
        ("bootstrap = true", "'bootstrap = true' requires 'server = true'"),
        ("bootstrap_expect = 1", "'bootstrap = true' requires 'server = true'"),
        ("bootstrap_expect = 3", "'bootstrap_expect > 0' requires 'server = true'"),
        (
            "server = true bootstrap = true bootstrap_expect = 3",
            "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive",
        ),
        ("bootstrap_expect = -1", "bootstrap_expect cannot be -1. Must be greater than or equal to zero"),
        (
            "bind_addr = \"1.2.3.4 5.6.7.8\"",
            "bind_addr cannot contain multiple addresses. Use 'addresses.{dns,http,https}' instead.",
        ),
        ("bind_addr = \"unix:///foo\"", "bind_addr cannot be a unix socket"),
        ("bind_addr = \"\"", "bind_addr cannot be empty"),
        ("bind_addr = \"::\"", "No public IPv6 address found"),
        ("client_addr = \"foo\"", "client_addr: invalid ip address: foo"),
        ("addresses { dns = \"unix:///foo\" }", "DNS address cannot be a unix socket"),
        ("performance { raft_multiplier = 11 }", "performance.raft_multiplier cannot be 11. Must be between 1 and 10"),
        ("performance { raft_multiplier = 0 }", "performance.raft_multiplier cannot be 0. Must be between 1 and 10"),
        (
            "dns_config { udp_answer_limit = -1 }",
            "dns_config.udp_answer_limit cannot be -1. Must be greater than or equal to zero",
        ),
        ("dns_config { compat = \"bind\" }", "dns_config.compat cannot be \"bind\": it is \"rfc\" or \"consul\""),
        (
            "dns_config { udp_payload_size = 511 }",
            "dns_config.udp_payload_size cannot be 511: it is 512 to 65467 bytes",
        ),
        ("dns_config { cookie_secret = \"0123\" }", "dns_config.cookie_secret is not 32 hexadecimal digits"),
        ("dns_config { zone_cuts = [\"a..b\"] }", "zone cut \"a..b\" is not a DNS name"),
        ("dns_config { name_servers = [\"a..b\"] }", "name server \"a..b\" is not a DNS name"),
        ("http_config { allow_write_http_from = [\"foo\"] }", "allow_write_http_from: invalid cidr: foo"),
        ("log_level = \"bogus\"", "Invalid log level: bogus. Valid log levels are: [TRACE DEBUG INFO WARN ERR]"),
        ("recursors = [\"foo\"]", "Invalid recursor address: foo"),
        (
            "dns_config { recursor_strategy = \"fastest\" }",
            "dns_config.recursor_strategy must be \"sequential\" or \"random\", not \"fastest\"",
        ),
        (
            "dns_config { recursor_cache_size = -1 }",
            "dns_config.recursor_cache_size cannot be -1. Must be greater than or equal to zero",
        ),
        ("unix_sockets { mode = \"999\" }", "unix_sockets.mode: \"999\" is no octal file mode"),
        ("node_id = \"x\"", "node_id \"x\" is not a UUID"),
        (
            "service { name = \"x\" weights { passing = 0 } }",
            "Invalid weight definition for service x: Passing must be greater than 0",
        ),
        ("encrypt = \"abc\"", "encrypt has invalid key: illegal base64 data"),
        ("encrypt = \"AAAA\"", "encrypt has invalid key: key size must be 16, 24 or 32 bytes"),
        (
            "autopilot { max_trailing_logs = -8 }",
            "autopilot.max_trailing_logs cannot be -8. Must be greater than or equal to zero",
        ),
        ("protocol = 9", "Protocol version '9' too high. Must be in range: [2, 3]"),
        ("protocol = 1", "Protocol version '1' too low. Must be in range: [2, 3]"),
        ("raft_protocol = 9", "raft_protocol: Protocol version 9 must be >= 1 and <= 3"),
        ("ports { server = -1 }", "ports.server cannot be switched off"),
        ("advertise_addr_ipv4 = \"::1\"", "advertise_addr_ipv4 is of the wrong address family: ::1"),
    ];
    for (text, expected) in table {
        let got = problem(text);
        assert!(got.ends_with(expected), "{text}: {got}");
    }
    assert_eq!(
        load_text("data_dir = \"/dev/null\"").unwrap_err().to_string(),
        "data_dir \"/dev/null\" is not a directory"
    );
}

#[test]
fn values_that_count() {
    let config = good(
        "server = true bootstrap_expect = 1 client_addr = \"127.0.0.1 ::1\" addresses { http = \"unix:///run/u.sock\" } \
         ports { serf_wan = -1 dns = 53 } unix_sockets { mode = \"0660\" user = \"12\" } datacenter = \"DC2\" \
         log_file = \"/var/log/x\" log_rotate_bytes = 5 log_rotate_max_files = -1",
    );
    assert!(config.bootstrap && config.bootstrap_expect == 0 && config.agent_options().bootstrap_expect == 1);
    assert_eq!(config.datacenter, "dc2");
    assert_eq!(config.dns_addrs, ["127.0.0.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
    assert_eq!(config.http_addrs, [HttpListen::Unix("/run/u.sock".into())]);
    assert_eq!(config.serf_wan_port, None);
    assert_eq!(config.unix_sockets, SocketFile { mode: Some(0o660), user: Some(12), group: None });
    let file = config.log.file.unwrap();
    assert_eq!((file.max_bytes, file.max_files, file.max_age), (5, -1, Duration::from_secs(86_400)));

    let config = good("server = true bootstrap_expect = 4 ports { dns = -1 http = 0 }");
    assert!(!config.bootstrap && config.agent_options().bootstrap_expect == 4 && config.bootstrap_expect == 4);
    assert!(config.dns_addrs.is_empty() && config.http_addrs.is_empty());
    assert!(config.warnings.iter().any(|warning| warning.0.contains("even number")));
    assert_eq!(good("bind_addr = \"{{ GetInterfaceIP \\\"eth0\\\" }}\"").advertise.to_string(), "10.0.0.5");
}

#[test]
fn whose_letter_dns_keeps() {
    let policy = |text: &str| good(text).dns_policy();
    let policy_of = |inside: &str| policy(&format!("dns_config {{ {inside} }}"));
    let rfc = policy("");
    assert_eq!((rfc.compat, rfc.truncation, rfc.udp_payload_size), (Compat::Rfc, Truncation::BySize, None));
    let consul = policy_of("compat = \"consul\"");
    assert_eq!((consul.compat, consul.truncation), (Compat::Consul, Truncation::Never));
    assert_eq!(consul.udp_payload_size, Some(65_467));
    assert_eq!(policy_of("compat = \"consul\" enable_truncate = true").truncation, Truncation::Always);
    assert_eq!(policy_of("enable_truncate = false").truncation, Truncation::Never);
    let all = policy_of(
        "udp_payload_size = 1400 responses_per_second = 20 minimal_any = true zone_cuts = [\"Service.Consul.\"] \
         name_servers = [\"ns1.example.\"] cookie_secret = \"000102030405060708090a0b0c0d0e0f\"",
    );
    assert_eq!((all.udp_payload_size, all.responses_per_second, all.minimal_any), (Some(1400), 20, true));
    assert_eq!((all.zone_cuts, all.name_servers), (vec!["service.consul".to_owned()], vec!["ns1.example".to_owned()]));
    assert_eq!(all.cookie_secret, Some([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]));
}

#[test]
fn how_others_are_found() {
    let agent = good("").agent_options();
    assert_eq!((agent.retry_interval, agent.retry_interval_wan), (Duration::from_secs(30), Duration::from_secs(30)));
    assert_eq!((agent.retry_max, agent.retry_max_wan, agent.rejoin_after_leave), (0, 0, false));
    assert_eq!(agent.reconnect_timeout, Duration::from_secs(72 * 3600));
    assert_eq!(agent.autopilot, usher_cluster::catalog::autopilot::AutopilotConfig::default());
    assert!(agent.encrypt.is_none() && !agent.disable_keyring_file && !agent.server);

    let config = good(
        "start_join = [\"a\"] start_join_wan = [\"b\"] retry_join = [\"c\", \"provider=aws tag_key=x\", \"d:1\"] \
         retry_join_wan = [\"e\"] retry_interval = \"1s\" retry_interval_wan = \"0s\" retry_max = 3 retry_max_wan = -1 \
         rejoin_after_leave = true reconnect_timeout = \"1h\" reconnect_timeout_wan = \"-1s\" disable_keyring_file = true \
         encrypt = \"AAAAAAAAAAAAAAAAAAAAAA==\" encrypt_verify_incoming = false raft_protocol = 2 \
         autopilot { cleanup_dead_servers = false last_contact_threshold = \"1s\" min_quorum = 3 }",
    );
    let agent = config.agent_options();
    assert_eq!((agent.start_join, agent.start_join_wan), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert_eq!((agent.retry_join, agent.retry_join_wan), (vec!["c".into(), "d:1".into()], vec!["e".to_owned()]));
    assert_eq!((agent.retry_interval, agent.retry_interval_wan), (Duration::from_secs(1), Duration::from_secs(30)));
    assert_eq!((agent.retry_max, agent.retry_max_wan, agent.rejoin_after_leave), (3, 0, true));
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    assert_eq!((agent.reconnect_timeout, agent.reconnect_timeout_wan), (hours(1), hours(72)));
    assert!(agent.encrypt.is_some() && agent.disable_keyring_file);
    assert!(!agent.autopilot.cleanup_dead_servers && agent.autopilot.min_quorum == 3);
    assert_eq!(agent.autopilot.last_contact_threshold, Duration::from_secs(1));
    assert_eq!((agent.autopilot.max_trailing_logs, agent.autopilot.server_stabilization_time.as_secs()), (250, 10));
    let told = |text: &str| config.warnings.iter().any(|warning| warning.0.contains(text));
    assert!(told("retry_join: 'provider=aws' has no effect"), "{:?}", config.warnings);
    assert!(told("encrypt_verify_incoming = false is not built yet"), "{:?}", config.warnings);
}

#[test]
fn a_client_for_development_founds_nothing() {
    let flags =
        |values: Value| AgentFlags { dev: true, values: values.as_object().cloned().unwrap(), ..AgentFlags::default() };
    let options = load_on(&flags(json!({"server": false})), &[]).unwrap().agent_options();
    assert!(!options.server && options.bootstrap_expect == 0);
    let error = load_on(&flags(json!({"bootstrap_expect": 3})), &[]).unwrap_err().to_string();
    assert_eq!(error, "'bootstrap_expect > 0' not allowed in dev mode");
}

#[test]
fn debug_settings_hold_no_secrets() {
    let config = good(
        "encrypt = \"SECRETSECRETSECRETSECQ==\" retry_join = [\"provider=x secret=SECRET\"] acl { tokens { master = \"SECRET\" } } service { name = \"a\" token = \"SECRET\" }",
    );
    let mut shown = config.debug_config("id").to_string();
    config.warnings.iter().for_each(|warning| shown.push_str(&warning.0));
    assert!(shown.contains("\"NodeID\":\"id\"") && !shown.contains("SECRET"), "{shown}");
}

/// A value that fits no kind but the one given.
fn misfit(kind: Kind) -> Value {
    match kind {
        Kind::Bool | Kind::Texts | Kind::Tables(_) => json!("x"),
        Kind::Int | Kind::Uint | Kind::Float | Kind::Any => json!({"a": []}),
        _ => json!(true),
    }
}

fn check_misfits(table: &Table, before: &[&str]) {
    for key in table.keys {
        let mut path = before.to_vec();
        path.push(key.name);
        if let Kind::Table(inner) = key.kind
            && path.len() < 5
        {
            check_misfits(inner, &path);
        }
        if matches!(key.kind, Kind::Any) {
            continue;
        }
        let value = path.iter().rev().fold(misfit(key.kind), |value, name| json!({ *name: value }));
        let error = super::schema::normalise(&value, &AGENT, super::schema::Strictness::File).unwrap_err().to_string();
        assert!(error.starts_with(&format!("'{}' expected", path.join("."))), "{}: {error}", path.join("."));
    }
}

#[test]
fn a_wrong_type_is_an_error_that_names_the_key_for_every_key() {
    check_misfits(&AGENT, &[]);
}

/// Any value at any known key.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9a-z:/{} .-]{0,12}".prop_map(Value::from),
        Just(json!("127.0.0.1")),
        Just(json!("5s")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{1,6}", inner), 0..3)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn known_keys() -> Vec<&'static str> {
    AGENT.keys.iter().map(|key| key.name).collect()
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if json { "a.json" } else { "a.hcl" });
        fs::write(&path, bytes).unwrap();
        let _either = load_on(&files(&[path]), &host());
    }

    #[test]
    fn no_value_makes_it_panic(
        pairs in prop::collection::vec((prop::sample::select(known_keys()), anything()), 0..6),
    ) {
        let object: Map<String, Value> = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let text = Value::Object(object).to_string();
        let _either = load_on(&hcl(&["data_dir = \"/x\"", &text]), &host());
    }
}

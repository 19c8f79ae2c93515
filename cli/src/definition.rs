//! Services and checks as users write them: one reader for configuration files, `services register` and the HTTP API.
//!
//! ```text
//!   JSON value (from a file, HCL or a request) ─► known keys and types ─► ServiceDefinition, CheckSpec
//! ```
//!
//! Names are compared without regard to case and underscores (`EnableTagOverride`, `enable_tag_override`). Keys of the
//! service mesh are accepted where Consul accepts them, and passed over. Pure; whether a definition makes sense (a name,
//! an interval) is decided where it is registered.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value};
use usher_cluster::{
    catalog::model::{ServiceAddress, Status, Weights},
    local::definition::{CheckSpec, ServiceDefinition},
};

pub use crate::config::schema::Strictness;
use crate::config::{
    duration,
    schema::{Effect, Key, Kind, SchemaError, Table, mesh, normalise, used},
};

/// A definition could not be read; the text names the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Nobody knows this key. Clients of the HTTP API know the text.
    #[error("json: unknown field \"{0}\"")]
    UnknownField(String),
    /// A value has the wrong type, or is no duration.
    #[error(transparent)]
    Value(SchemaError),
}

impl From<SchemaError> for DefinitionError {
    fn from(error: SchemaError) -> Self {
        match error {
            SchemaError::UnknownKeys(mut keys) if !keys.is_empty() => Self::UnknownField(keys.swap_remove(0)),
            other => Self::Value(other),
        }
    }
}

const fn aliased(name: &'static str, aliases: &'static [&'static str], kind: Kind) -> Key {
    Key { name, aliases, kind, effect: Effect::Used }
}

/// The keys of a check.
pub static CHECK: Table = Table {
    any_style: true,
    keys: &[
        aliased("id", &["check_id"], Kind::Text),
        used("name", Kind::Text),
        used("notes", Kind::Text),
        used("service_id", Kind::Text),
        used("status", Kind::Text),
        used("token", Kind::Text),
        used("ttl", Kind::Duration),
        used("http", Kind::Text),
        used("header", Kind::TextsMap),
        used("method", Kind::Text),
        used("body", Kind::Text),
        used("disable_redirects", Kind::Bool),
        used("tcp", Kind::Text),
        used("udp", Kind::Text),
        aliased("h2ping", &["h2_ping"], Kind::Text),
        aliased("h2ping_use_tls", &["h2_ping_use_tls"], Kind::Bool),
        used("dns", Kind::Text),
        used("dns_server", Kind::Text),
        used("dns_type", Kind::Text),
        used("dns_expect", Kind::Texts),
        used("grpc", Kind::Text),
        used("grpc_use_tls", Kind::Bool),
        aliased("args", &["script_args"], Kind::Texts),
        used("docker_container_id", Kind::Text),
        used("shell", Kind::Text),
        used("alias_node", Kind::Text),
        used("alias_service", Kind::Text),
        used("tls_server_name", Kind::Text),
        used("tls_skip_verify", Kind::Bool),
        used("interval", Kind::Duration),
        used("timeout", Kind::Duration),
        used("success_before_passing", Kind::Int),
        used("failures_before_warning", Kind::Int),
        used("failures_before_critical", Kind::Int),
        used("deregister_critical_service_after", Kind::Duration),
        used("output_max_size", Kind::Int),
    ],
};

static WEIGHTS: Table = Table { any_style: true, keys: &[used("passing", Kind::Int), used("warning", Kind::Int)] };

static ADDRESS: Table = Table { any_style: true, keys: &[used("address", Kind::Text), used("port", Kind::Int)] };

/// The keys of a service.
pub static SERVICE: Table = Table {
    any_style: true,
    keys: &[
        used("id", Kind::Text),
        used("name", Kind::Text),
        used("tags", Kind::Texts),
        used("address", Kind::Text),
        used("tagged_addresses", Kind::TableMap(&ADDRESS)),
        used("meta", Kind::TextMap),
        used("port", Kind::Int),
        used("weights", Kind::Table(&WEIGHTS)),
        used("priority", Kind::Int),
        used("draining", Kind::Bool),
        used("enable_tag_override", Kind::Bool),
        used("check", Kind::Table(&CHECK)),
        used("checks", Kind::Tables(&CHECK)),
        used("token", Kind::Text),
        used("lease", Kind::Duration),
        used("lease_deregister_after", Kind::Duration),
        mesh("kind", Kind::Text),
        mesh("proxy", Kind::Any),
        mesh("connect", Kind::Any),
    ],
};

/// Reads a service definition; both `check` and `checks` count.
pub fn service_from_json(value: &Value, strictness: Strictness) -> Result<ServiceDefinition, DefinitionError> {
    let normalised = normalise(value, &SERVICE, strictness)?;
    Ok(service_from_normalised(normalised.value, strictness))
}

/// Reads a check definition.
pub fn check_from_json(value: &Value, strictness: Strictness) -> Result<CheckSpec, DefinitionError> {
    let normalised = normalise(value, &CHECK, strictness)?;
    Ok(RawCheck::from_normalised(normalised.value).into())
}

/// Makes a definition of an object that was normalised by [`SERVICE`].
pub fn service_from_normalised(object: Map<String, Value>, strictness: Strictness) -> ServiceDefinition {
    // Normalised by the table, so every field has the type asked for here; a test holds the two together.
    let raw: RawService = serde_json::from_value(Value::Object(object)).unwrap_or_default();
    let mut checks: Vec<CheckSpec> = raw.checks.into_iter().map(CheckSpec::from).collect();
    // A single check comes first, unless it says nothing at all.
    if let Some(check) = raw.check.map(CheckSpec::from).filter(|check| *check != CheckSpec::default()) {
        checks.insert(0, check);
    }
    ServiceDefinition {
        id: raw.id,
        name: raw.name,
        tags: raw.tags,
        address: raw.address,
        tagged_addresses: raw.tagged_addresses,
        meta: raw.meta,
        port: raw.port,
        weights: raw.weights.map(|weights| weights.resolve(strictness)),
        priority: raw.priority,
        draining: raw.draining,
        enable_tag_override: raw.enable_tag_override,
        checks,
        token: raw.token,
        lease: given(raw.lease),
        lease_deregister_after: given(raw.lease_deregister_after),
    }
}

/// Makes a definition of an object that was normalised by [`CHECK`].
pub fn check_from_normalised(object: Map<String, Value>) -> CheckSpec {
    RawCheck::from_normalised(object).into()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawService {
    id: String,
    name: String,
    tags: Vec<String>,
    address: String,
    tagged_addresses: BTreeMap<String, ServiceAddress>,
    meta: BTreeMap<String, String>,
    port: i64,
    weights: Option<RawWeights>,
    priority: Option<i64>,
    draining: bool,
    enable_tag_override: bool,
    check: Option<RawCheck>,
    checks: Vec<RawCheck>,
    token: String,
    lease: i64,
    lease_deregister_after: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawWeights {
    passing: Option<i64>,
    warning: Option<i64>,
}

impl RawWeights {
    /// What is left out is 1 in a file and 0 in a request, as with Consul.
    fn resolve(&self, strictness: Strictness) -> Weights {
        let missing = match strictness {
            Strictness::File => 1,
            Strictness::Api => 0,
        };
        Weights { passing: self.passing.unwrap_or(missing), warning: self.warning.unwrap_or(missing) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawCheck {
    id: String,
    name: String,
    notes: String,
    service_id: String,
    status: String,
    token: String,
    ttl: i64,
    http: String,
    header: BTreeMap<String, Vec<String>>,
    method: String,
    body: String,
    disable_redirects: bool,
    tcp: String,
    udp: String,
    h2ping: String,
    h2ping_use_tls: Option<bool>,
    dns: String,
    dns_server: String,
    dns_type: String,
    dns_expect: Vec<String>,
    grpc: String,
    grpc_use_tls: bool,
    args: Vec<String>,
    docker_container_id: String,
    shell: String,
    alias_node: String,
    alias_service: String,
    tls_server_name: String,
    tls_skip_verify: bool,
    interval: i64,
    timeout: i64,
    success_before_passing: i64,
    failures_before_warning: i64,
    failures_before_critical: i64,
    deregister_critical_service_after: i64,
    output_max_size: i64,
}

impl RawCheck {
    fn from_normalised(object: Map<String, Value>) -> Self {
        // As for services: the table has checked the types.
        serde_json::from_value(Value::Object(object)).unwrap_or_default()
    }
}

/// Zero means not given. What is negative stays visible as zero, so that registering can refuse it.
fn given(nanoseconds: i64) -> Option<Duration> {
    (nanoseconds != 0).then(|| duration::from_nanos(nanoseconds))
}

/// Times of which Consul takes a negative one for none.
fn positive(nanoseconds: i64) -> Option<Duration> {
    (nanoseconds > 0).then(|| duration::from_nanos(nanoseconds))
}

impl From<RawCheck> for CheckSpec {
    fn from(raw: RawCheck) -> Self {
        let count = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
        Self {
            id: raw.id,
            name: raw.name,
            notes: raw.notes,
            service_id: raw.service_id,
            status: (!raw.status.is_empty()).then(|| Status::from(raw.status.as_str())),
            token: raw.token,
            ttl: given(raw.ttl),
            http: raw.http,
            header: raw.header,
            method: raw.method,
            body: raw.body,
            disable_redirects: raw.disable_redirects,
            tcp: raw.tcp,
            udp: raw.udp,
            h2ping: raw.h2ping,
            h2ping_use_tls: raw.h2ping_use_tls,
            dns: raw.dns,
            dns_server: raw.dns_server,
            dns_type: raw.dns_type,
            dns_expect: raw.dns_expect,
            grpc: raw.grpc,
            grpc_use_tls: raw.grpc_use_tls,
            args: raw.args,
            docker_container_id: raw.docker_container_id,
            shell: raw.shell,
            alias_node: raw.alias_node,
            alias_service: raw.alias_service,
            tls_server_name: raw.tls_server_name,
            tls_skip_verify: raw.tls_skip_verify,
            interval: given(raw.interval),
            timeout: positive(raw.timeout),
            success_before_passing: count(raw.success_before_passing),
            failures_before_warning: count(raw.failures_before_warning),
            failures_before_critical: count(raw.failures_before_critical),
            deregister_critical_service_after: positive(raw.deregister_critical_service_after),
            // A negative one stays visible as zero, too.
            output_max_size: (raw.output_max_size != 0).then(|| count(raw.output_max_size)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn service(value: Value, strictness: Strictness) -> ServiceDefinition {
        service_from_json(&value, strictness).unwrap()
    }

    /// A value of the right type for a kind, different from its default.
    fn sample(kind: Kind) -> Value {
        match kind {
            Kind::Bool => json!(true),
            Kind::Int | Kind::Uint => json!(7),
            Kind::Float => json!(1.5),
            Kind::Text | Kind::Any => json!("passing"),
            Kind::Duration => json!("7s"),
            Kind::Texts | Kind::TextOrTexts => json!(["t"]),
            Kind::TextMap => json!({"k": "v"}),
            Kind::TextsMap => json!({"k": ["v"]}),
            Kind::DurationMap => json!({"k": "7s"}),
            Kind::Table(table) => full(table),
            Kind::Tables(table) => json!([full(table)]),
            Kind::TableMap(table) => json!({"k": full(table)}),
        }
    }

    fn full(table: &Table) -> Value {
        table.keys.iter().map(|key| (key.name.to_owned(), sample(key.kind))).collect::<Map<_, _>>().into()
    }

    #[test]
    fn every_known_key_of_a_check_reaches_the_definition() {
        for key in CHECK.keys {
            let spec = check_from_json(&json!({ key.name: sample(key.kind) }), Strictness::Api).unwrap();
            assert_ne!(spec, CheckSpec::default(), "{}", key.name);
        }
    }

    #[test]
    fn every_used_key_of_a_service_reaches_the_definition() {
        for key in SERVICE.keys {
            let definition = service(json!({ key.name: sample(key.kind) }), Strictness::Api);
            let changed = definition != ServiceDefinition::default();
            assert_eq!(changed, key.effect == Effect::Used, "{}", key.name);
        }
    }

    #[test]
    fn names_in_any_style() {
        let expected = service(
            json!({"name": "web", "enable_tag_override": true, "check": {"deregister_critical_service_after": "1m", "ttl": "5s"}}),
            Strictness::Api,
        );
        for value in [
            json!({"Name": "web", "EnableTagOverride": true, "Check": {"DeregisterCriticalServiceAfter": "1m", "TTL": "5s"}}),
            json!({"NAME": "web", "enabletagoverride": true, "check": {"deregistercriticalserviceafter": "60s", "Ttl": 5_000_000_000i64}}),
        ] {
            assert_eq!(service(value, Strictness::Api), expected);
        }
        assert_eq!(check_from_json(&json!({"CheckID": "a"}), Strictness::Api).unwrap().id, "a");
        assert_eq!(check_from_json(&json!({"ScriptArgs": ["a"]}), Strictness::Api).unwrap().args, ["a"]);
        assert!(check_from_json(&json!({"TLSSkipVerify": true}), Strictness::Api).unwrap().tls_skip_verify);
    }

    #[test]
    fn errors_name_the_key() {
        let table = [
            (json!({"name": "x", "chek": {}}), "json: unknown field \"chek\""),
            (json!({"name": "x", "check": {"bogus": 1}}), "json: unknown field \"check.bogus\""),
            (json!({"name": 5}), "'name' expected a string, got a number"),
            (json!({"name": "x", "port": "80"}), "'port' expected a whole number, got a string"),
            (json!({"name": "x", "port": 80.5}), "'port' expected a whole number, got a number"),
            (json!({"name": "x", "tags": "a"}), "'tags' expected a list of strings, got a string"),
            (json!({"name": "x", "tags": ["a", 1]}), "'tags[1]' expected a string, got a number"),
            (json!({"name": "x", "meta": {"a": 1}}), "'meta[a]' expected a string, got a number"),
            (json!({"checks": [{"ttl": "x"}]}), "checks[0].ttl: invalid duration: time: invalid duration \"x\""),
            (json!([]), "'the top level' expected a map, got a list"),
            (json!("x"), "'the top level' expected a map, got a string"),
            (json!(null), "'the top level' expected a map, got null"),
        ];
        for (value, expected) in table {
            let error = service_from_json(&value, Strictness::Api).unwrap_err();
            assert_eq!(error.to_string(), expected, "{value}");
        }
    }

    #[test]
    fn files_and_requests_differ_where_consul_does() {
        let wrapped = json!({"name": ["web"], "weights": [{"passing": 5}], "check": [{"ttl": "5s"}]});
        let definition = service(wrapped.clone(), Strictness::File);
        assert_eq!(definition.weights, Some(Weights { passing: 5, warning: 1 }));
        assert_eq!(definition.checks[0].ttl, Some(Duration::from_secs(5)));
        assert!(service_from_json(&wrapped, Strictness::Api).is_err());
        assert_eq!(
            service(json!({"weights": {"passing": 5}}), Strictness::Api).weights,
            Some(Weights { passing: 5, warning: 0 })
        );
        assert!(check_from_json(&json!({"ttl": 5}), Strictness::File).is_err());
        assert!(service_from_json(&json!({"check": [{"ttl": "5s"}, {"ttl": "6s"}]}), Strictness::File).is_err());
    }

    #[test]
    fn an_empty_check_is_none_and_a_single_one_comes_first() {
        assert!(service(json!({"check": {}}), Strictness::Api).checks.is_empty());
        let both = service(json!({"checks": [{"name": "b"}], "check": {"name": "a"}}), Strictness::Api);
        let names: Vec<&str> = both.checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn mesh_keys_are_passed_over() {
        let definition = service(
            json!({"name": "x", "Kind": "connect-proxy", "Proxy": {"a": 1}, "Connect": {"Native": true}, "port": null}),
            Strictness::Api,
        );
        assert_eq!(definition, ServiceDefinition { name: "x".into(), ..ServiceDefinition::default() });
    }

    #[test]
    fn a_negative_time_is_kept_as_nothing_so_that_it_can_be_refused() {
        assert_eq!(check_from_json(&json!({"ttl": "-5s"}), Strictness::Api).unwrap().ttl, Some(Duration::ZERO));
        assert_eq!(check_from_json(&json!({"ttl": 0}), Strictness::Api).unwrap().ttl, None);
        let check = |size: i64| check_from_json(&json!({"OutputMaxSize": size}), Strictness::Api).unwrap();
        assert_eq!([-1, 0, 5].map(|size| check(size).output_max_size), [Some(0), None, Some(5)]);
        let harmless = json!({"Timeout": "-1s", "DeregisterCriticalServiceAfter": -5});
        assert_eq!(check_from_json(&harmless, Strictness::Api).unwrap(), CheckSpec::default());
    }
}

//! Whether a definition is valid. Pure; the texts are those Consul answers and its clients match.
//!
//! What is refused is refused here, once, whatever way the definition came. What is merely unwise (a name DNS cannot
//! carry) is accepted and told as a warning.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{
    LocalError, Source,
    definition::{CheckSpec, OUTPUT_MAX_BYTES, ServiceDefinition},
};
use crate::{
    catalog::model::{SERF_HEALTH, Status, Weights},
    health::probe,
};

/// A DNS label's longest form (RFC 1035 section 2.3.4).
const DNS_LABEL_MAX_BYTES: usize = 63;
/// The most an SRV record's weight can say (RFC 2782).
const WEIGHT_MAX: i64 = 65_535;
/// Pairs of metadata a service may have.
const META_MAX_PAIRS: usize = 64;
const META_KEY_MAX_BYTES: usize = 128;
const META_VALUE_MAX_BYTES: usize = 512;
const META_RESERVED_PREFIX: &str = "consul-";
/// The shortest lease, and the shortest time after its end that a service is kept.
const LEASE_MIN: Duration = Duration::from_secs(1);
/// The longest lease: a service without a sign of life for longer is not self-registered.
const LEASE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Whether checks may run commands, by where their definition came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScriptPolicy {
    /// From configuration files.
    pub(crate) from_config: bool,
    /// From the HTTP API.
    pub(crate) from_api: bool,
}

impl ScriptPolicy {
    fn allows(self, source: Source) -> bool {
        match source {
            Source::Config => self.from_config,
            Source::Api => self.from_api,
        }
    }
}

/// Refuses what Consul's service registration refuses, in its order.
pub(crate) fn service(
    definition: &ServiceDefinition,
    source: Source,
    scripts: ScriptPolicy,
) -> Result<Vec<String>, LocalError> {
    if definition.name.is_empty() {
        return Err(invalid("Missing service name"));
    }
    if is_unspecified(&definition.address) {
        return Err(invalid("Invalid service address"));
    }
    if let Some(weights) = definition.weights {
        weights_are_valid(weights)?;
    }
    if let Some(priority) = definition.priority.filter(|priority| u16::try_from(*priority).is_err()) {
        return Err(invalid(format!("Invalid priority {priority}: it is 0 to 65535")));
    }
    meta_is_valid(&definition.meta)?;
    lease_is_valid(definition)?;
    for check in &definition.checks {
        check_kind_is_valid(check)?;
    }
    if definition.checks.iter().any(|check| !has_known_status(check)) {
        return Err(invalid("Status for checks must 'passing', 'warning', 'critical'"));
    }
    for check in &definition.checks {
        check_is_allowed(check, source, scripts)?;
    }
    Ok(service_warnings(definition))
}

/// Refuses what Consul's check registration refuses, in its order.
pub(crate) fn check(check: &CheckSpec, source: Source, scripts: ScriptPolicy) -> Result<(), LocalError> {
    if check.name.is_empty() {
        return Err(invalid("Missing check name"));
    }
    if !has_known_status(check) {
        return Err(invalid("Bad check status"));
    }
    check_kind_is_valid(check)?;
    let id = if check.id.is_empty() { &check.name } else { &check.id };
    if is_managed(id) {
        return Err(managed());
    }
    check_is_allowed(check, source, scripts)
}

/// Refuses a service of a configuration file that registering would refuse; `scripts` is whether its checks may run
/// commands.
pub fn declared_service(definition: &ServiceDefinition, scripts: bool) -> Result<(), LocalError> {
    let policy = ScriptPolicy { from_config: scripts, from_api: false };
    service(definition, Source::Config, policy).map(drop)
}

/// The same for a check that stands alone.
pub fn declared_check(spec: &CheckSpec, scripts: bool) -> Result<(), LocalError> {
    check(spec, Source::Config, ScriptPolicy { from_config: scripts, from_api: false })
}

/// Whether a name can be asked for by DNS as one label.
pub(crate) fn is_dns_label(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= DNS_LABEL_MAX_BYTES
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn invalid(text: impl Into<String>) -> LocalError {
    LocalError::Invalid(text.into())
}

/// `0.0.0.0` and `::` say where to listen, not where to be found.
fn is_unspecified(address: &str) -> bool {
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

fn weights_are_valid(weights: Weights) -> Result<(), LocalError> {
    if weights.passing < 1 {
        return Err(invalid("Invalid Weights: Passing must be greater than 0"));
    }
    if weights.warning < 0 {
        return Err(invalid("Invalid Weights: Warning must be greater or equal than 0"));
    }
    if weights.passing > WEIGHT_MAX || weights.warning > WEIGHT_MAX {
        return Err(invalid("Invalid Weights: DNS Weight must be between 0 and 65535"));
    }
    Ok(())
}

fn meta_is_valid(meta: &BTreeMap<String, String>) -> Result<(), LocalError> {
    if meta.len() > META_MAX_PAIRS {
        return Err(invalid(format!(
            "Invalid Service Meta: Node metadata cannot contain more than {META_MAX_PAIRS} key/value pairs"
        )));
    }
    for (key, value) in meta {
        pair_is_valid(key, value).map_err(|reason| {
            invalid(format!("Invalid Service Meta: Couldn't load metadata pair ('{key}', '{value}'): {reason}"))
        })?;
    }
    Ok(())
}

fn pair_is_valid(key: &str, value: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("Key cannot be blank".to_owned());
    }
    if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Err("Key contains invalid characters".to_owned());
    }
    if key.len() > META_KEY_MAX_BYTES {
        return Err(format!("Key is too long (limit: {META_KEY_MAX_BYTES} characters)"));
    }
    if key.starts_with(META_RESERVED_PREFIX) {
        return Err(format!("Key prefix '{META_RESERVED_PREFIX}' is reserved for internal use"));
    }
    if value.len() > META_VALUE_MAX_BYTES {
        return Err(format!("Value is too long (limit: {META_VALUE_MAX_BYTES} characters)"));
    }
    Ok(())
}

/// What a check may be, in Consul's order and words; the kinds it does not have come after those it has.
fn check_kind_is_valid(check: &CheckSpec) -> Result<(), LocalError> {
    let alias = !check.alias_node.is_empty() || !check.alias_service.is_empty();
    let consuls = [&check.http, &check.tcp, &check.grpc];
    let looks = !check.args.is_empty() || consuls.iter().any(|target| !target.is_empty());
    let others = [&check.udp, &check.h2ping, &check.dns];
    let runs = looks || others.iter().any(|target| !target.is_empty());
    let (interval, ttl) = (is_set(check.interval), is_set(check.ttl));
    let reason = if interval && ttl {
        "Interval and TTL cannot both be specified"
    } else if looks && !interval {
        "Interval must be > 0 for Script, HTTP, or TCP checks"
    } else if runs && !interval {
        "Interval must be > 0 for UDP, H2PING, or DNS checks"
    } else if runs && alias {
        "Interval cannot be set for Alias checks"
    } else if alias && ttl {
        "TTL must be not be set for Alias checks"
    } else if !runs && !alias && !ttl {
        "TTL must be > 0 for TTL checks"
    } else if check.output_max_size == Some(0) {
        "MaxOutputMaxSize must be positive"
    } else if check.output_max_size.is_some_and(|size| size > OUTPUT_MAX_BYTES) {
        return Err(invalid(format!("Invalid check: OutputMaxSize must be at most {OUTPUT_MAX_BYTES}")));
    } else {
        // Consul finds out when it is run: a check that can never pass is told to whoever writes it.
        return probe::validate(check).map_err(|error| invalid(format!("Invalid check: {error}")));
    };
    Err(invalid(format!("Invalid check: {reason}")))
}

/// A negative or missing time is none.
fn is_set(duration: Option<Duration>) -> bool {
    duration.is_some_and(|duration| !duration.is_zero())
}

/// A lease that ends before it can be renewed helps nobody.
fn lease_is_valid(definition: &ServiceDefinition) -> Result<(), LocalError> {
    let Some(lease) = definition.lease else {
        return match definition.lease_deregister_after {
            Some(_) => Err(invalid("Invalid lease: LeaseDeregisterAfter cannot be set without Lease")),
            None => Ok(()),
        };
    };
    if lease < LEASE_MIN {
        return Err(invalid(format!("Invalid lease: Lease must be at least {}s", LEASE_MIN.as_secs())));
    }
    if lease > LEASE_MAX {
        return Err(invalid(format!("Invalid lease: Lease must be at most {}h", LEASE_MAX.as_secs() / 3600)));
    }
    if definition.lease_deregister_after.is_some_and(|after| after < LEASE_MIN) {
        return Err(invalid(format!("Invalid lease: LeaseDeregisterAfter must be at least {}s", LEASE_MIN.as_secs())));
    }
    Ok(())
}

fn has_known_status(check: &CheckSpec) -> bool {
    !matches!(check.status, Some(Status::Other(_)))
}

fn check_is_allowed(check: &CheckSpec, source: Source, scripts: ScriptPolicy) -> Result<(), LocalError> {
    if is_managed(&check.id) {
        return Err(managed());
    }
    may_run(check, source, scripts)
}

/// Refuses what runs programs where that is not allowed.
pub(super) fn may_run(check: &CheckSpec, source: Source, scripts: ScriptPolicy) -> Result<(), LocalError> {
    if !check.args.is_empty() && !scripts.allows(source) {
        return Err(LocalError::ScriptsDisabled(source));
    }
    Ok(())
}

/// The leader writes this check from membership; another writer of it could hide a living node, or show a dead one.
fn is_managed(check_id: &str) -> bool {
    check_id.eq_ignore_ascii_case(SERF_HEALTH)
}

fn managed() -> LocalError {
    invalid(format!("CheckID \"{SERF_HEALTH}\" is managed by the cluster"))
}

fn service_warnings(definition: &ServiceDefinition) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(label_warning("Service name", &definition.name));
    for tag in &definition.tags {
        warnings.extend(label_warning("Service tag", tag));
    }
    warnings
}

fn label_warning(what: &str, label: &str) -> Option<String> {
    if is_dns_label(label) {
        return None;
    }
    if label.len() > DNS_LABEL_MAX_BYTES {
        return Some(format!(
            "{what} will not be discoverable via DNS due to it being too long. Valid lengths are between 1 and \
             {DNS_LABEL_MAX_BYTES} bytes.: label=\"{label}\""
        ));
    }
    Some(format!(
        "{what} will not be discoverable via DNS due to invalid characters. Valid characters include all \
         alpha-numerics and dashes.: label=\"{label}\""
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Option<Duration> = Some(Duration::from_secs(1));

    fn named(change: impl FnOnce(&mut ServiceDefinition)) -> ServiceDefinition {
        let mut definition = ServiceDefinition { name: "x".to_owned(), ..ServiceDefinition::default() };
        change(&mut definition);
        definition
    }

    fn with_check(change: impl FnOnce(&mut CheckSpec)) -> ServiceDefinition {
        let mut check = CheckSpec::default();
        change(&mut check);
        named(|definition| definition.checks = vec![check])
    }

    fn refusal(definition: &ServiceDefinition) -> String {
        service(definition, Source::Api, ScriptPolicy::default())
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn services_are_refused_with_consuls_texts() {
        let pair = |key: &str, value: &str| {
            let (key, value) = (key.to_owned(), value.to_owned());
            named(|it| it.meta = BTreeMap::from([(key, value)]))
        };
        let weights = |passing, warning| named(|it| it.weights = Some(Weights { passing, warning }));
        let cases = [
            (ServiceDefinition::default(), "Missing service name"),
            (named(|it| it.address = "0.0.0.0".to_owned()), "Invalid service address"),
            (named(|it| it.address = "::".to_owned()), "Invalid service address"),
            (named(|it| it.address = "[::]".to_owned()), "Invalid service address"),
            (weights(0, 0), "Invalid Weights: Passing must be greater than 0"),
            (weights(-1, 1), "Invalid Weights: Passing must be greater than 0"),
            (weights(1, -1), "Invalid Weights: Warning must be greater or equal than 0"),
            (weights(70_000, 0), "Invalid Weights: DNS Weight must be between 0 and 65535"),
            (
                pair("a b", "c"),
                "Invalid Service Meta: Couldn't load metadata pair ('a b', 'c'): Key contains invalid characters",
            ),
            (pair("", "c"), "Invalid Service Meta: Couldn't load metadata pair ('', 'c'): Key cannot be blank"),
            (
                pair("consul-x", "c"),
                "Invalid Service Meta: Couldn't load metadata pair ('consul-x', 'c'): Key prefix 'consul-' is reserved for internal use",
            ),
            (with_check(|_| ()), "Invalid check: TTL must be > 0 for TTL checks"),
            (with_check(|it| it.ttl = Some(Duration::ZERO)), "Invalid check: TTL must be > 0 for TTL checks"),
            (with_check(|it| it.interval = SECOND), "Invalid check: TTL must be > 0 for TTL checks"),
            (with_check(|it| it.docker_container_id = "c".to_owned()), "Invalid check: TTL must be > 0 for TTL checks"),
            (
                with_check(|it| it.http = "http://127.0.0.1:1/".to_owned()),
                "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
            ),
            (
                with_check(|it| it.grpc = "127.0.0.1:1".to_owned()),
                "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
            ),
            (
                with_check(|it| it.udp = "127.0.0.1:1".to_owned()),
                "Invalid check: Interval must be > 0 for UDP, H2PING, or DNS checks",
            ),
            (
                with_check(|it| (it.dns, it.alias_node, it.interval) = ("x".to_owned(), "n".to_owned(), SECOND)),
                "Invalid check: Interval cannot be set for Alias checks",
            ),
            (
                with_check(|it| (it.ttl, it.output_max_size) = (SECOND, Some(0))),
                "Invalid check: MaxOutputMaxSize must be positive",
            ),
            (
                with_check(|it| (it.ttl, it.output_max_size) = (SECOND, Some(2_000_000))),
                "Invalid check: OutputMaxSize must be at most 1048576",
            ),
            (named(|it| it.lease = Some(Duration::from_millis(999))), "Invalid lease: Lease must be at least 1s"),
            (named(|it| it.lease = Some(Duration::ZERO)), "Invalid lease: Lease must be at least 1s"),
            (named(|it| it.lease = Some(Duration::from_secs(86_401))), "Invalid lease: Lease must be at most 24h"),
            (
                named(|it| (it.lease, it.lease_deregister_after) = (SECOND, Some(Duration::ZERO))),
                "Invalid lease: LeaseDeregisterAfter must be at least 1s",
            ),
            (
                named(|it| it.lease_deregister_after = SECOND),
                "Invalid lease: LeaseDeregisterAfter cannot be set without Lease",
            ),
            (
                with_check(|it| (it.http, it.interval) = ("nothttp".to_owned(), SECOND)),
                "Invalid check: Invalid HTTP \"nothttp\": relative URL without a base",
            ),
            (
                with_check(|it| (it.tcp, it.interval) = ("nowhere".to_owned(), SECOND)),
                "Invalid check: Invalid TCP \"nowhere\": missing port in address",
            ),
            (
                with_check(|it| (it.ttl, it.interval) = (SECOND, SECOND)),
                "Invalid check: Interval and TTL cannot both be specified",
            ),
            (
                with_check(|it| (it.ttl, it.alias_service) = (SECOND, "y".to_owned())),
                "Invalid check: TTL must be not be set for Alias checks",
            ),
            (
                with_check(|it| (it.ttl, it.status) = (SECOND, Some(Status::from("bogus")))),
                "Status for checks must 'passing', 'warning', 'critical'",
            ),
            (
                with_check(|it| (it.args, it.interval) = (vec!["true".to_owned()], SECOND)),
                "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true",
            ),
            (
                with_check(|it| (it.id, it.ttl) = ("SerfHealth".to_owned(), SECOND)),
                "CheckID \"serfHealth\" is managed by the cluster",
            ),
        ];
        for (definition, expected) in cases {
            assert_eq!(refusal(&definition), expected, "{definition:?}");
        }
    }

    #[test]
    fn sizes_of_metadata_are_limited() {
        let many = named(|it| it.meta = (0..65).map(|n| (format!("k{n}"), String::new())).collect());
        assert_eq!(refusal(&many), "Invalid Service Meta: Node metadata cannot contain more than 64 key/value pairs");
        let long_key = named(|it| it.meta = BTreeMap::from([("k".repeat(129), String::new())]));
        assert!(refusal(&long_key).ends_with("Key is too long (limit: 128 characters)"));
        let long_value = named(|it| it.meta = BTreeMap::from([("k".to_owned(), "v".repeat(513))]));
        assert!(refusal(&long_value).ends_with("Value is too long (limit: 512 characters)"));
        let most = named(|it| it.meta = (0..64).map(|n| (format!("{n:0>128}"), "v".repeat(512))).collect());
        assert_eq!(refusal(&most), "");
    }

    #[test]
    fn what_consul_accepts_is_accepted() {
        let cases = [
            named(|_| ()),
            named(|it| it.port = -5),
            named(|it| it.port = 70_000),
            named(|it| it.id = "bad/id".to_owned()),
            named(|it| it.address = "db.example.com".to_owned()),
            with_check(|it| it.ttl = SECOND),
            with_check(|it| (it.http, it.interval) = ("http://127.0.0.1:1".to_owned(), SECOND)),
            with_check(|it| it.alias_service = "y".to_owned()),
            with_check(|it| (it.udp, it.interval) = ("127.0.0.1:1".to_owned(), SECOND)),
            with_check(|it| (it.h2ping, it.interval) = ("127.0.0.1:1".to_owned(), SECOND)),
            with_check(|it| {
                (it.dns, it.dns_server, it.interval) = ("example.com".to_owned(), "127.0.0.1:53".to_owned(), SECOND);
            }),
            // The first of several kinds, in the order of `CheckSpec::kind`, is meant.
            with_check(|it| (it.http, it.tcp, it.interval) = ("http://a/".to_owned(), "b:1".to_owned(), SECOND)),
            with_check(|it| (it.ttl, it.timeout) = (SECOND, SECOND)),
            named(|it| it.lease = SECOND),
            with_check(|it| (it.ttl, it.status) = (SECOND, Some(Status::Warning))),
        ];
        for definition in cases {
            assert_eq!(refusal(&definition), "", "{definition:?}");
        }
    }

    #[test]
    fn names_dns_cannot_carry_are_warned_of() {
        let warnings =
            |definition: &ServiceDefinition| service(definition, Source::Api, ScriptPolicy::default()).unwrap().len();
        assert_eq!(warnings(&named(|it| it.tags = vec!["a-1".to_owned()])), 0);
        assert_eq!(warnings(&named(|it| it.name = "x.y z".to_owned())), 1);
        assert_eq!(warnings(&named(|it| it.name = "x".repeat(64))), 1);
        assert_eq!(warnings(&named(|it| it.tags = vec![String::new(), "a_b".to_owned(), "ok".to_owned()])), 2);
    }

    #[test]
    fn scripts_are_allowed_by_where_they_come_from() {
        let script = with_check(|it| (it.args, it.interval) = (vec!["true".to_owned()], SECOND));
        let from_config = ScriptPolicy { from_config: true, from_api: false };
        assert!(service(&script, Source::Config, from_config).is_ok());
        assert!(service(&script, Source::Api, from_config).is_err());
        let text = service(&script, Source::Config, ScriptPolicy::default()).unwrap_err().to_string();
        assert!(text.contains("'enable_local_script_checks'"), "{text}");
    }

    #[test]
    fn checks_alone_are_refused_with_consuls_texts() {
        let spec = |change: fn(&mut CheckSpec)| {
            let mut spec = CheckSpec { name: "x".to_owned(), ttl: SECOND, ..CheckSpec::default() };
            change(&mut spec);
            spec
        };
        let cases = [
            (spec(|_| ()), ""),
            (spec(|it| it.name.clear()), "Missing check name"),
            (spec(|it| it.status = Some(Status::from("bad"))), "Bad check status"),
            (spec(|it| it.ttl = None), "Invalid check: TTL must be > 0 for TTL checks"),
            (spec(|it| it.name = "serfHealth".to_owned()), "CheckID \"serfHealth\" is managed by the cluster"),
        ];
        for (case, expected) in cases {
            let refusal = check(&case, Source::Api, ScriptPolicy::default()).err();
            assert_eq!(refusal.map(|error| error.to_string()).unwrap_or_default(), expected, "{case:?}");
        }
    }
}

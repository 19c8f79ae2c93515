//! How the agent finds others and keeps with them: joining, the key of gossip, patience with the silent, autopilot.
//!
//! Pure: the merged keys in, checked values out, in the words Consul uses where it refuses them.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use usher_cluster::catalog::autopilot::AutopilotConfig;

use super::{
    ConfigError, Warning, duration,
    raw::{self, Raw},
};

/// The time between attempts to join where none is given, as in Consul.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// How long a failed member is tried where nothing is given, as in Consul.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(72 * 3600);
/// The lengths of an AES key.
const KEY_SIZES: [usize; 3] = [16, 24, 32];
/// The protocol numbers of Consul's agents and of its servers' consensus: what is within is taken for ours.
const PROTOCOLS: std::ops::RangeInclusive<i64> = 2..=3;
const RAFT_PROTOCOLS: std::ops::RangeInclusive<i64> = 1..=3;

/// How an agent finds the members of a pool and keeps with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joining {
    /// Agents joined at the start, which fails if none is reached.
    pub start: Vec<String>,
    /// Agents tried again and again until one is reached.
    pub retry: Vec<String>,
    /// The time between such attempts.
    pub interval: Duration,
    /// How many such attempts; 0 for no limit.
    pub max_attempts: u32,
    /// How long a failed member is tried before it is forgotten.
    pub reconnect_timeout: Duration,
}

/// Everything about being one of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The pool of the datacenter.
    pub lan: Joining,
    /// The pool between datacenters.
    pub wan: Joining,
    /// Whether an agent that left joins those it knew when it starts again.
    pub rejoin_after_leave: bool,
    /// The key of gossip (base64), where no key ring is kept yet.
    pub encrypt: Option<String>,
    /// Keep the key ring in memory alone.
    pub disable_keyring_file: bool,
    /// Autopilot's settings until an operator sets others.
    pub autopilot: AutopilotConfig,
}

impl Cluster {
    pub(super) fn build(raw: &Raw, warnings: &mut Vec<Warning>) -> Result<Self, ConfigError> {
        check_protocols(raw)?;
        for (key, verify) in [
            ("encrypt_verify_incoming", raw.encrypt_verify_incoming),
            ("encrypt_verify_outgoing", raw.encrypt_verify_outgoing),
        ] {
            // It would let gossip in the clear through while keys are rolled out.
            if verify == Some(false) && !raw.encrypt.is_empty() {
                warnings.push(Warning(format!("{key} = false is not built yet: with a key, all gossip is encrypted")));
            }
        }
        let lan = Joining {
            start: raw.start_join.clone(),
            retry: without_providers("retry_join", &raw.retry_join, warnings),
            interval: or_default(raw.retry_interval, RETRY_INTERVAL),
            max_attempts: attempts(raw.retry_max),
            reconnect_timeout: or_default(raw.reconnect_timeout, RECONNECT_TIMEOUT),
        };
        let wan = Joining {
            start: raw.start_join_wan.clone(),
            retry: without_providers("retry_join_wan", &raw.retry_join_wan, warnings),
            interval: or_default(raw.retry_interval_wan, RETRY_INTERVAL),
            max_attempts: attempts(raw.retry_max_wan),
            reconnect_timeout: or_default(raw.reconnect_timeout_wan, RECONNECT_TIMEOUT),
        };
        Ok(Self {
            lan,
            wan,
            rejoin_after_leave: raw.rejoin_after_leave,
            encrypt: key(&raw.encrypt)?,
            disable_keyring_file: raw.disable_keyring_file,
            autopilot: autopilot(&raw.autopilot)?,
        })
    }
}

fn invalid(text: impl Into<String>) -> ConfigError {
    ConfigError::Invalid(text.into())
}

/// Numbers an old configuration may carry: those Consul 1.8 takes change nothing, others are a mistake.
fn check_protocols(raw: &Raw) -> Result<(), ConfigError> {
    if raw.protocol != 0 && !PROTOCOLS.contains(&raw.protocol) {
        let side = if raw.protocol < *PROTOCOLS.start() { "low" } else { "high" };
        return Err(invalid(format!(
            "Protocol version '{}' too {side}. Must be in range: [{}, {}]",
            raw.protocol,
            PROTOCOLS.start(),
            PROTOCOLS.end()
        )));
    }
    if raw.raft_protocol != 0 && !RAFT_PROTOCOLS.contains(&raw.raft_protocol) {
        return Err(invalid(format!(
            "raft_protocol: Protocol version {} must be >= {} and <= {}",
            raw.raft_protocol,
            RAFT_PROTOCOLS.start(),
            RAFT_PROTOCOLS.end()
        )));
    }
    Ok(())
}

/// Nothing and less stand for the default.
fn or_default(nanoseconds: i64, default: Duration) -> Duration {
    if nanoseconds > 0 { duration::from_nanos(nanoseconds) } else { default }
}

/// Below zero there is no limit either.
fn attempts(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// Addresses alone: those to be asked of a cloud's API (`provider=aws …`) are warned of.
fn without_providers(key: &str, given: &[String], warnings: &mut Vec<Warning>) -> Vec<String> {
    let (providers, addresses): (Vec<&String>, Vec<&String>) =
        given.iter().partition(|text| text.split_whitespace().any(|word| word.starts_with("provider=")));
    for provider in providers {
        // Further words may be secrets.
        let name = provider.split_whitespace().find(|word| word.starts_with("provider=")).unwrap_or_default();
        warnings.push(Warning(format!("{key}: '{name}' has no effect: finding agents by a provider is not built yet")));
    }
    addresses.into_iter().cloned().collect()
}

/// A key, or none; the text of a key never stands in an error.
fn key(text: &str) -> Result<Option<String>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let bytes =
        BASE64_STANDARD.decode(text).map_err(|_| invalid("encrypt has invalid key: illegal base64 data".to_owned()))?;
    if !KEY_SIZES.contains(&bytes.len()) {
        return Err(invalid("encrypt has invalid key: key size must be 16, 24 or 32 bytes"));
    }
    Ok(Some(text.to_owned()))
}

fn autopilot(raw: &raw::Autopilot) -> Result<AutopilotConfig, ConfigError> {
    let trailing = raw.max_trailing_logs;
    Ok(AutopilotConfig {
        cleanup_dead_servers: raw.cleanup_dead_servers,
        last_contact_threshold: duration::from_nanos(raw.last_contact_threshold),
        max_trailing_logs: u64::try_from(trailing).map_err(|_| {
            invalid(format!("autopilot.max_trailing_logs cannot be {trailing}. Must be greater than or equal to zero"))
        })?,
        min_quorum: raw.min_quorum,
        server_stabilization_time: duration::from_nanos(raw.server_stabilization_time),
    })
}

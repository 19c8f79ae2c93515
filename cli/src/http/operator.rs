//! `/v1/operator/…`: the servers that vote, how autopilot looks after them, and the keys of gossip.
//!
//! The agent's handle does the work; here are parameters, bodies and Consul's JSON and texts. What only the leader knows
//! comes here on the leader alone. Reading who votes is in [`super::status`].

use http::StatusCode;
use serde::Serialize;
use usher_cluster::{
    agent::{ClusterHealth, PeerName, PoolKeys, ServerHealth},
    catalog::{
        autopilot::{Autopilot, AutopilotConfig},
        command::{AutopilotChange, Command, Refusal},
    },
    gossip::KeyOperation,
    raft::ProposeError,
};

use super::{
    body::{self, BodyError, Fields},
    context::Cx,
    keys::{self, KeysView},
    params::parse_bool,
    query::{self, QueryOptions},
    reply::{Failure, Reply},
};
use crate::config::duration;

/// `DELETE /v1/operator/raft/peer?address=…` or `?id=…`: takes a server out that can no longer leave by itself.
pub(super) async fn remove_peer(cx: Cx) -> Result<Reply, Failure> {
    let (id, address) = (cx.params.value("id"), cx.params.value("address"));
    let peer = match (cx.params.has("id"), cx.params.has("address")) {
        (true, true) => return Err(Failure::bad_request("Must specify only one of ?id or ?address")),
        (true, false) => PeerName::Id(id),
        (false, true) => PeerName::Address(address),
        (false, false) => {
            return Err(Failure::bad_request(
                "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove",
            ));
        }
    };
    cx.route()?;
    cx.api.agent.remove_peer(peer).await.map_err(Failure::internal)?;
    Ok(Reply::empty())
}

/// `GET /v1/operator/autopilot/configuration`.
pub(super) async fn autopilot(cx: Cx) -> Result<Reply, Failure> {
    let options = QueryOptions::parse(&cx.params, &cx.cache_control, &cx.options)?;
    cx.route()?;
    query::confirm(&cx, options.consistency).await?;
    Reply::json(&AutopilotView::from(cx.api.agent.catalog().load().autopilot()))
}

/// `PUT /v1/operator/autopilot/configuration`; with `?cas=` only as of that index, and the answer says whether.
pub(super) async fn set_autopilot(cx: Cx) -> Result<Reply, Failure> {
    let config = autopilot_config(&cx.body)
        .map_err(|error| Failure::bad_request(format!("Error parsing autopilot config: {error}")))?;
    let cas = match cx.params.has("cas") {
        false => None,
        true => Some(index(cx.params.value("cas"))?),
    };
    let datacenter = cx.route_to("")?.to_owned();
    let command = Command::Autopilot(AutopilotChange { config, cas, initial: false });
    match cx.api.agent.write(&datacenter, command).await?.outcome {
        Ok(()) => Reply::json(&true),
        Err(Refusal::Stale) => Reply::json(&false),
        Err(refusal) => Err(refusal.into()),
    }
}

fn index(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| Failure::bad_request(format!("Error parsing cas value: parsing {text:?}: invalid syntax")))
}

/// Reads new settings; what is left out is zero, as in Consul, and not what it was.
fn autopilot_config(bytes: &[u8]) -> Result<AutopilotConfig, BodyError> {
    let mut fields = Fields::of(body::value(bytes)?, "AutopilotConfiguration")?;
    let config = AutopilotConfig {
        cleanup_dead_servers: fields.switch("CleanupDeadServers")?,
        last_contact_threshold: duration::from_nanos(fields.duration("LastContactThreshold")?),
        max_trailing_logs: fields.unsigned("MaxTrailingLogs")?,
        min_quorum: fields.unsigned("MinQuorum")?,
        server_stabilization_time: duration::from_nanos(fields.duration("ServerStabilizationTime")?),
    };
    // Of the enterprise edition, and what the answer to a GET has besides.
    fields.ignore(&["RedundancyZoneTag", "DisableUpgradeMigration", "UpgradeVersionTag", "CreateIndex", "ModifyIndex"]);
    fields.finish()?;
    Ok(config)
}

/// `GET /v1/operator/autopilot/health`: 429 when a server is not healthy. Only the leader knows.
pub(super) async fn health(cx: Cx) -> Result<Reply, Failure> {
    cx.route()?;
    let agent = &cx.api.agent;
    let health = match agent.server_health() {
        Some(health) => health,
        // It leads but has not looked yet.
        None if agent.status().is_leader => ClusterHealth::default(),
        None => return Err(ProposeError::NoLeader.into()),
    };
    let status = if health.healthy { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
    Ok(Reply::json(&HealthView::from(&health))?.with_status(status))
}

/// `GET /v1/operator/keyring`: which keys how many members have.
pub(super) async fn list_keys(cx: Cx) -> Result<Reply, Failure> {
    let mut pools = operate(&cx, KeyOperation::List, local_only(&cx)?).await?;
    // Consul tells of the wide pool first.
    pools.sort_by_key(|pool| !pool.wan);
    let datacenter = cx.api.agent.router().local();
    let views: Vec<KeysView<'_>> = pools.iter().map(|pool| KeysView::of(pool, datacenter)).collect();
    Reply::json(&views)
}

/// `POST /v1/operator/keyring`: all members understand a further key.
pub(super) async fn install_key(cx: Cx) -> Result<Reply, Failure> {
    change_keys(&cx, KeyOperation::Install).await
}

/// `PUT /v1/operator/keyring`: all members encrypt with a key they have.
pub(super) async fn use_key(cx: Cx) -> Result<Reply, Failure> {
    change_keys(&cx, KeyOperation::Use).await
}

/// `DELETE /v1/operator/keyring`: all members forget a key.
pub(super) async fn remove_key(cx: Cx) -> Result<Reply, Failure> {
    change_keys(&cx, KeyOperation::Remove).await
}

async fn change_keys(cx: &Cx, operation: fn(String) -> KeyOperation) -> Result<Reply, Failure> {
    let decode = |error: BodyError| Failure::bad_request(format!("Request decode failed: {error}"));
    let mut fields = body::value(&cx.body).and_then(|value| Fields::of(value, "keyring")).map_err(decode)?;
    let key = fields.text("Key").map_err(decode)?;
    if local_only(cx)? {
        return Err(Failure::bad_request("Invalid use of local-only: local-only can only be set for list requests"));
    }
    operate(cx, operation(key), false).await?;
    Ok(Reply::empty())
}

/// Does it in every pool; fails with Consul's list of errors unless all members did it.
async fn operate(cx: &Cx, operation: KeyOperation, local_only: bool) -> Result<Vec<PoolKeys>, Failure> {
    check_relay_factor(cx.params.value("relay-factor"))?;
    if !cx.api.agent.is_server() {
        return Err(Failure::internal("keyring operations must run against a server node"));
    }
    let mut pools = cx.api.agent.keyring(operation).await;
    pools.retain(|pool| !(local_only && pool.wan));
    match keys::problems(&pools, cx.api.agent.router().local()) {
        None => Ok(pools),
        Some(text) => Err(Failure::internal(text)),
    }
}

fn local_only(cx: &Cx) -> Result<bool, Failure> {
    let text = cx.params.value("local-only");
    if text.is_empty() {
        return Ok(false);
    }
    parse_bool(text)
        .ok_or_else(|| Failure::bad_request(format!("Error parsing local-only: parsing {text:?}: invalid syntax")))
}

/// How many others repeat an answer: checked and passed over, since answers here come over TCP.
fn check_relay_factor(text: &str) -> Result<(), Failure> {
    if text.is_empty() {
        return Ok(());
    }
    let factor: i64 = text
        .parse()
        .map_err(|_| Failure::bad_request(format!("Error parsing relay factor: parsing {text:?}: invalid syntax")))?;
    if (0..=5).contains(&factor) {
        return Ok(());
    }
    Err(Failure::bad_request("Invalid relay-factor: Relay factor must be in range: [0, 5]"))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AutopilotView {
    cleanup_dead_servers: bool,
    last_contact_threshold: String,
    max_trailing_logs: u64,
    min_quorum: u64,
    server_stabilization_time: String,
    /// This and the next two are the enterprise edition's; its clients print them.
    redundancy_zone_tag: &'static str,
    disable_upgrade_migration: bool,
    upgrade_version_tag: &'static str,
    create_index: u64,
    modify_index: u64,
}

impl From<&Autopilot> for AutopilotView {
    fn from(autopilot: &Autopilot) -> Self {
        let config = &autopilot.config;
        Self {
            cleanup_dead_servers: config.cleanup_dead_servers,
            last_contact_threshold: duration::format(config.last_contact_threshold),
            max_trailing_logs: config.max_trailing_logs,
            min_quorum: config.min_quorum,
            server_stabilization_time: duration::format(config.server_stabilization_time),
            redundancy_zone_tag: "",
            disable_upgrade_migration: false,
            upgrade_version_tag: "",
            create_index: autopilot.create_index,
            modify_index: autopilot.modify_index,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HealthView<'a> {
    healthy: bool,
    failure_tolerance: usize,
    servers: Vec<ServerHealthView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServerHealthView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    address: &'a str,
    serf_status: &'static str,
    version: &'a str,
    leader: bool,
    last_contact: String,
    last_term: u64,
    last_index: u64,
    healthy: bool,
    voter: bool,
    stable_since: String,
}

impl<'a> From<&'a ClusterHealth> for HealthView<'a> {
    fn from(health: &'a ClusterHealth) -> Self {
        Self {
            healthy: health.healthy,
            failure_tolerance: health.failure_tolerance,
            servers: health.servers.iter().map(ServerHealthView::from).collect(),
        }
    }
}

impl<'a> From<&'a ServerHealth> for ServerHealthView<'a> {
    fn from(server: &'a ServerHealth) -> Self {
        Self {
            id: &server.id,
            name: &server.name,
            address: &server.address,
            serf_status: server.status.as_str(),
            // Members tell a revision after a colon.
            version: server.version.split(':').next().unwrap_or_default(),
            leader: server.leader,
            // Consul's way to say never.
            last_contact: server.last_contact.map_or_else(|| "-1ns".to_owned(), duration::format),
            last_term: server.last_term,
            last_index: server.last_index,
            healthy: server.healthy,
            voter: server.voter,
            stable_since: seconds(server.stable_since),
        }
    }
}

/// RFC 3339 to the second, in UTC; a time that cannot be written so is Go's zero time.
fn seconds(time: std::time::SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).and_then(|time| time.round(jiff::Unit::Second));
    time.map_or_else(|_| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use usher_cluster::membership::MemberStatus;

    use super::*;

    #[test]
    fn settings_in_a_body() {
        let read = |text: &str| autopilot_config(text.as_bytes()).map_err(|error| error.to_string());
        let config = read(
            r#"{"CleanupDeadServers":true,"LastContactThreshold":"300ms","MaxTrailingLogs":99,"MinQuorum":3,
                "ServerStabilizationTime":5000000,"RedundancyZoneTag":"","CreateIndex":4}"#,
        );
        let expected = AutopilotConfig {
            cleanup_dead_servers: true,
            last_contact_threshold: Duration::from_millis(300),
            max_trailing_logs: 99,
            min_quorum: 3,
            server_stabilization_time: Duration::from_millis(5),
        };
        assert_eq!(config, Ok(expected));
        let zero = read("{}").unwrap();
        assert!(!zero.cleanup_dead_servers && zero.last_contact_threshold.is_zero() && zero.max_trailing_logs == 0);
        for (text, problem) in [
            ("", "EOF"),
            (r#"{"Bogus":true}"#, "json: unknown field \"Bogus\""),
            (r#"{"LastContactThreshold":"x"}"#, "time: invalid duration \"x\""),
            (
                r#"{"MaxTrailingLogs":-1}"#,
                "json: cannot unmarshal number into field AutopilotConfiguration.MaxTrailingLogs of type uint64",
            ),
        ] {
            assert_eq!(read(text), Err(problem.to_owned()), "{text}");
        }
    }

    #[test]
    fn health_in_consuls_words() {
        let server = ServerHealth {
            id: "i".to_owned(),
            name: "n1".to_owned(),
            address: "10.0.0.1:8300".to_owned(),
            status: MemberStatus::Alive,
            version: "0.1.0:".to_owned(),
            leader: true,
            last_contact: Some(Duration::ZERO),
            last_term: 2,
            last_index: 22,
            healthy: true,
            voter: true,
            stable_since: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_353_565_100),
        };
        let silent = ServerHealth { last_contact: None, leader: false, healthy: false, ..server.clone() };
        let health = ClusterHealth { healthy: false, failure_tolerance: 1, servers: vec![server, silent] };
        let json = serde_json::to_string(&HealthView::from(&health)).unwrap();
        assert!(
            json.starts_with(
                r#"{"Healthy":false,"FailureTolerance":1,"Servers":[{"ID":"i","Name":"n1","Address":"10.0.0.1:8300","SerfStatus":"alive","Version":"0.1.0","Leader":true,"LastContact":"0s","LastTerm":2,"LastIndex":22,"Healthy":true,"Voter":true,"StableSince":"2026-11-22T13:19:25Z"},"#
            ),
            "{json}"
        );
        assert!(json.contains(r#""LastContact":"-1ns""#), "{json}");
    }
}

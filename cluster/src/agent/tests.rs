//! A whole agent in one process.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use super::*;
use crate::catalog::Topic;

/// An agent on loopback whose ports the system chooses, that keeps nothing.
pub(crate) fn options(name: &str) -> Options {
    Options {
        node_name: name.to_owned(),
        node_id: None,
        datacenter: "dc1".to_owned(),
        data_dir: None,
        server: true,
        bootstrap_expect: 1,
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        advertise: IpAddr::V4(Ipv4Addr::LOCALHOST),
        advertise_wan: IpAddr::V4(Ipv4Addr::LOCALHOST),
        server_port: 0,
        serf_lan_port: 0,
        serf_wan_port: Some(0),
        node_meta: BTreeMap::new(),
        tagged_addresses: BTreeMap::new(),
        raft_multiplier: 1,
        rpc_hold: Duration::from_secs(7),
        snapshot_threshold: 16_384,
        trailing_logs: 10_240,
        services: Vec::new(),
        checks: Vec::new(),
        enable_local_script_checks: false,
        enable_remote_script_checks: false,
        version: "0.1.0".to_owned(),
        ..Options::default()
    }
}

async fn start(options: Options) -> Agent {
    Agent::start(options, Arc::new(crate::access::AllowAll)).await.unwrap()
}

async fn refusal(options: Options) -> String {
    Agent::start(options, Arc::new(crate::access::AllowAll)).await.err().unwrap().to_string()
}

/// Waits until the catalog shows what is expected of node `n1`.
async fn shows(agent: &Agent, expected: &[&str]) {
    let agreed = async {
        let mut watch = agent.catalog().watch(Topic::Node(Arc::from("n1")));
        while shown(agent) != expected {
            watch.changed().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), agreed).await;
    assert!(in_time.is_ok(), "the catalog shows {:?}, not {expected:?}", shown(agent));
}

/// What the catalog shows of node `n1`, as `id:port` and `+check`.
fn shown(agent: &Agent) -> Vec<String> {
    let state = agent.catalog().state();
    let Some(entry) = state.node_entry("n1") else { return Vec::new() };
    let consul = i64::from(agent.options().server_port);
    let port = |port: i64| if port == consul { "server".to_owned() } else { port.to_string() };
    let services = entry.services.iter().map(|service| format!("{}:{}", service.id, port(service.port)));
    services.chain(entry.checks.iter().map(|check| format!("+{}", check.id))).collect()
}

fn service(id: &str, port: i64) -> ServiceDefinition {
    let check = CheckSpec { ttl: Some(Duration::from_secs(1)), ..CheckSpec::default() };
    ServiceDefinition { name: id.to_owned(), port, checks: vec![check], ..ServiceDefinition::default() }
}

fn kept(directory: &tempfile::TempDir) -> Options {
    Options { data_dir: Some(directory.path().to_owned()), ..options("n1") }
}

#[tokio::test]
async fn an_agent_puts_itself_and_its_configuration_into_the_catalog() {
    let agent = start(Options { services: vec![service("web", 80)], ..options("n1") }).await;
    shows(&agent, &["consul:server", "web:80", "+serfHealth", "+service:web"]).await;
    let state = agent.catalog().state();
    let node = &state.node_entry("n1").unwrap().node;
    let tagged: Vec<&str> = node.tagged_addresses.keys().map(String::as_str).collect();
    assert_eq!(tagged, ["lan", "lan_ipv4", "wan", "wan_ipv4"]);
    assert_eq!(node.id, agent.node_id());
    assert_eq!(node.meta.get("consul-network-segment").map(String::as_str), Some(""));
    agent.shutdown().await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_nothing_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let agent = start(kept(&directory)).await;
    agent.register_service(service("web", 80), false).await.unwrap();
    shows(&agent, &["consul:server", "web:80", "+serfHealth", "+service:web"]).await;
    let (node_id, ports) = (agent.node_id().to_owned(), agent.options().server_port);
    let indexes = |agent: &Agent| {
        let state = agent.catalog().state();
        let entry = state.node_entry("n1").unwrap().clone();
        (entry.index, entry.checks_index)
    };
    let before = indexes(&agent);
    agent.shutdown().await;

    let again = start(Options { server_port: ports, ..kept(&directory) }).await;
    assert_eq!(again.node_id(), node_id);
    assert_eq!(shown(&again), ["consul:server", "web:80", "+serfHealth", "+service:web"], "before any sync");
    assert_eq!(again.local().state().services.len(), 1);
    again.local().compare_all().await.unwrap();
    assert_eq!(indexes(&again), before);
    again.shutdown().await;
}

#[tokio::test]
async fn a_new_address_is_written_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let agent = start(kept(&directory)).await;
    shows(&agent, &["consul:server", "+serfHealth"]).await;
    agent.shutdown().await;
    let moved = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let again = start(Options { advertise: moved, ..kept(&directory) }).await;
    let address = || again.catalog().state().node_entry("n1").unwrap().node.address.clone();
    let written = async {
        let mut watch = again.catalog().watch(Topic::Node(Arc::from("n1")));
        while address() != "127.0.0.2" {
            watch.changed().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), written).await.unwrap();
    again.shutdown().await;
}

#[tokio::test]
async fn a_second_agent_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(kept(&directory)).await;
    let text = refusal(kept(&directory)).await;
    assert!(text.contains("in use by another agent"), "{text}");
    first.shutdown().await;
    start(kept(&directory)).await.shutdown().await;
}

#[tokio::test]
async fn what_prevents_a_start_leaves_the_directory_free() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = refusal(Options { server_port: port, ..kept(&directory) }).await;
    assert!(text.starts_with("cannot listen on tcp"), "{text}");
    let text = refusal(Options { services: vec![ServiceDefinition::default()], ..kept(&directory) }).await;
    assert_eq!(text, "Failed to register service \"\": Missing service name");
    start(kept(&directory)).await.shutdown().await;
}

#[tokio::test]
async fn a_reload_in_memory_forgets_the_api_and_on_disk_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    for (options, expected) in [
        (options("n1"), &["consul:server", "new:2", "+serfHealth", "+service:new"][..]),
        (kept(&directory), &["api:3", "consul:server", "new:2", "+serfHealth", "+service:api", "+service:new"]),
    ] {
        let agent = start(Options { services: vec![service("old", 1)], ..options }).await;
        agent.register_service(service("api", 3), false).await.unwrap();
        agent.reload(Declared { services: vec![service("new", 2)], ..Declared::default() }).await.unwrap();
        shows(&agent, expected).await;
        let refused =
            agent.reload(Declared { services: vec![ServiceDefinition::default()], ..Declared::default() }).await;
        assert_eq!(refused.unwrap_err(), "Failed to register service \"\": Missing service name");
        assert_eq!(shown(&agent), expected);
        agent.shutdown().await;
    }
}

#[tokio::test]
async fn writes_name_their_datacenter() {
    let agent = start(options("n1")).await;
    let node = || {
        let registration = crate::catalog::command::Registration {
            node: "db".to_owned(),
            address: "10.0.0.9".to_owned(),
            ..Default::default()
        };
        Command::Register(registration)
    };
    assert_eq!(agent.write("dc2", node()).await.unwrap_err().to_string(), "No path to datacenter");
    assert_eq!(agent.write("DC1", node()).await.unwrap().outcome, Ok(()));
    assert!(agent.catalog().state().node_entry("db").is_some());
    agent.shutdown().await;
}

#[tokio::test]
async fn an_agent_joins_itself_in_both_pools() {
    let agent = start(options("n1")).await;
    let (lan, wan) = (agent.options().serf_lan_port, agent.options().serf_wan_port.unwrap());
    assert_eq!(agent.join(&[format!("127.0.0.1:{lan}")], false).await, Ok(1));
    assert_eq!(agent.join(&["127.0.0.1".to_owned()], true).await, Ok(1));
    assert!(agent.join(&[format!("127.0.0.1:{wan}")], false).await.is_err());
    agent.leave().await;
    agent.shutdown().await;
}

#[tokio::test]
async fn a_reload_gives_the_node_other_pairs() {
    let agent = start(options("n1")).await;
    shows(&agent, &["consul:server", "+serfHealth"]).await;
    let node_meta = BTreeMap::from([("rack".to_owned(), "7".to_owned())]);
    agent.reload(Declared { node_meta, ..Declared::default() }).await.unwrap();
    let rack = || agent.catalog().state().node_entry("n1").and_then(|it| it.node.meta.get("rack").cloned());
    let written = async {
        let mut watch = agent.catalog().watch(Topic::Node(Arc::from("n1")));
        while rack().is_none() {
            watch.changed().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), written).await.unwrap();
    assert_eq!(rack().as_deref(), Some("7"));
    agent.shutdown().await;
}

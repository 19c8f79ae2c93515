//! A whole agent in one process.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

/// An agent on loopback whose ports the system chooses, that keeps nothing.
pub(crate) fn options(name: &str) -> Options {
    Options {
        node_name: name.to_owned(),
        node_id: None,
        datacenter: "dc1".to_owned(),
        data_dir: None,
        server: true,
        bootstrap: true,
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
    }
}

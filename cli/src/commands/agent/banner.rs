//! What the agent prints at its start, in the words and places Consul's users and scripts know.

use std::path::PathBuf;

use crate::config::{Config, VERSION};

/// The lines of the start banner.
pub(super) fn lines(config: &Config, node_id: &str) -> Vec<String> {
    let port = |port: Option<u16>| port.map_or(-1, i64::from);
    let clients: Vec<String> = config.client_addrs.iter().map(ToString::to_string).collect();
    let gossip = config.cluster.encrypt.is_some() || has_keys(config);
    let segment = if config.server { "<all>" } else { "" };
    let entry = |name: &str, value: String| format!("{name:>18}: {value}");
    vec![
        entry("Version", format!("'{VERSION}'")),
        entry("Node ID", format!("'{node_id}'")),
        entry("Node name", format!("'{}'", config.node_name)),
        entry("Datacenter", format!("'{}' (Segment: '{segment}')", config.datacenter)),
        entry("Server", format!("{} (Bootstrap: {})", config.server, config.bootstrap)),
        entry(
            "Client Addr",
            format!(
                "[{}] (HTTP: {}, HTTPS: -1, gRPC: -1, DNS: {})",
                clients.join(" "),
                port(config.http_port),
                port(config.dns_port)
            ),
        ),
        entry(
            "Cluster Addr",
            format!("{} (LAN: {}, WAN: {})", config.advertise, config.serf_lan_port, port(config.serf_wan_port)),
        ),
        entry(
            "Encrypt",
            format!("Gossip: {gossip}, TLS-Outgoing: false, TLS-Incoming: false, Auto-Encrypt-TLS: false"),
        ),
    ]
}

/// Whether a key ring is kept, which counts more than what is configured.
fn has_keys(config: &Config) -> bool {
    let kept = |folder: &PathBuf| folder.join("serf/local.keyring").exists();
    !config.cluster.disable_keyring_file && config.data_dir.as_ref().is_some_and(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, AgentFlags};

    #[test]
    fn the_banner_of_an_agent_for_development() {
        let flags = AgentFlags { dev: true, hcl: vec!["node_name = \"n1\"".into()], ..AgentFlags::default() };
        let banner = lines(&config::load(&flags).unwrap(), "an-id").join("\n");
        let expected = format!(
            "           Version: '{VERSION}'
           Node ID: 'an-id'
         Node name: 'n1'
        Datacenter: 'dc1' (Segment: '<all>')
            Server: true (Bootstrap: false)
       Client Addr: [127.0.0.1] (HTTP: 8500, HTTPS: -1, gRPC: -1, DNS: 8600)
      Cluster Addr: 127.0.0.1 (LAN: 8301, WAN: 8302)
           Encrypt: Gossip: false, TLS-Outgoing: false, TLS-Incoming: false, Auto-Encrypt-TLS: false"
        );
        assert_eq!(banner, expected);
    }
}

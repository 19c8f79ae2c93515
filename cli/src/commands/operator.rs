//! `usher operator`: tools for those who run the cluster.

use std::process::ExitCode;

use super::{CommandError, ask, cluster_client, error::Doing};
use crate::{
    client::{
        Client,
        api::{RaftConfiguration, RaftServer},
        flags::ClusterFlags,
    },
    output::{Output, columns::columns},
};

/// Look after the cluster itself
///
/// Example:
///     usher operator raft list-peers
#[derive(Debug, clap::Subcommand)]
#[command(verbatim_doc_comment)]
#[expect(missing_docs, reason = "clap shows what stands at the arguments")]
pub enum Command {
    #[command(subcommand)]
    Raft(Raft),
}

/// Look at the servers that agree on the catalog
#[derive(Debug, clap::Subcommand)]
#[expect(missing_docs, reason = "clap shows what stands at the arguments")]
pub enum Raft {
    ListPeers(ListPeers),
}

/// List the servers that agree on the catalog, and which of them leads
///
/// Without a leader, -stale shows what the asked server knows.
///
/// Example:
///     usher operator raft list-peers
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct ListPeers {
    #[command(flatten)]
    ignored: super::Ignored,
    #[command(flatten)]
    cluster: ClusterFlags,
}

impl Command {
    /// Runs the command.
    pub fn run(self, out: &mut Output) -> Result<ExitCode, CommandError> {
        match self {
            Self::Raft(Raft::ListPeers(args)) => ask(list_peers(&cluster_client(&args.cluster)?, out)),
        }
    }
}

async fn list_peers(client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let request = client.cluster("/v1/operator/raft/configuration");
    let configuration: RaftConfiguration =
        client.get(request).await.doing("Error getting peers: Failed to retrieve raft configuration")?;
    out.line(peers(&configuration.servers))?;
    Ok(ExitCode::SUCCESS)
}

fn peers(servers: &[RaftServer]) -> String {
    let header = ["Node", "ID", "Address", "State", "Voter", "RaftProtocol"].map(String::from);
    columns(std::iter::once(header).chain(servers.iter().map(|server| {
        let RaftServer { id, node, address, leader, voter, protocol_version } = server.clone();
        let state = if leader { "leader" } else { "follower" };
        let protocol = if protocol_version.is_empty() { "<=1".into() } else { protocol_version };
        [node, id, address, state.into(), voter.to_string(), protocol]
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    // As Consul's command prints the same servers.
    #[test]
    fn lists_peers() {
        let server = |id: &str, node: &str, leader, voter, version: &str| RaftServer {
            id: id.into(),
            node: node.into(),
            address: "a:1".into(),
            leader,
            voter,
            protocol_version: version.into(),
        };
        let servers = [server("i1", "n1", false, true, "3"), server("i2", "", true, false, "")];
        let expected = "\
            Node  ID  Address  State     Voter  RaftProtocol\n\
            n1    i1  a:1      follower  true   3\n      \
                  i2  a:1      leader    false  <=1";
        assert_eq!(peers(&servers), expected);
    }
}

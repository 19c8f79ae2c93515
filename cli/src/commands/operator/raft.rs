//! `usher operator raft`: the servers that agree on the catalog.

use std::process::ExitCode;

use hyper::Method;

use crate::{
    client::{
        Client,
        api::{RaftConfiguration, RaftServer},
        flags::ClusterFlags,
    },
    commands::{CommandError, Ignored, ask, cluster_client, error::Doing},
    output::{Output, columns::columns},
};

/// Look at the servers that agree on the catalog, or take one out
///
/// Example:
///     usher operator raft list-peers
#[derive(Debug, clap::Subcommand)]
#[command(verbatim_doc_comment)]
pub enum Raft {
    /// List them.
    ListPeers(ListPeers),
    /// Take one out.
    RemovePeer(RemovePeer),
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
    ignored: Ignored,
    #[command(flatten)]
    cluster: ClusterFlags,
}

/// Take a server out that will not come back
///
/// For a server that has gone without leaving and that autopilot does not remove. One that is alive
/// should be stopped with 'usher leave' instead.
///
/// Examples:
///     usher operator raft remove-peer -address=10.0.0.5:8300
///     usher operator raft remove-peer -id=adf4238a-882b-9ddc-4a9d-5b6758e4159e
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct RemovePeer {
    /// The server's address, as 'list-peers' shows it.
    #[arg(long, value_name = "address")]
    address: Option<String>,
    /// The server's id, as 'list-peers' shows it.
    #[arg(long, value_name = "id")]
    id: Option<String>,
    #[command(flatten)]
    ignored: Ignored,
    #[command(flatten)]
    cluster: ClusterFlags,
}

impl Raft {
    /// Runs the command.
    pub(super) fn run(self, out: &mut Output) -> Result<ExitCode, CommandError> {
        match self {
            Self::ListPeers(args) => ask(list_peers(&cluster_client(&args.cluster)?, out)),
            Self::RemovePeer(args) => ask(remove_peer(&args, &cluster_client(&args.cluster)?, out)),
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

async fn remove_peer(args: &RemovePeer, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (key, value) = match (given(&args.address), given(&args.id)) {
        (Some(_), Some(_)) => {
            return Err(CommandError::Usage("Error removing peer: cannot give both an address and id".into()));
        }
        (None, None) => {
            let text = "Error removing peer: an address or id is required for the peer to remove";
            return Err(CommandError::Usage(text.into()));
        }
        (Some(address), None) => ("address", address),
        (None, Some(id)) => ("id", id),
    };
    let request = client.cluster("/v1/operator/raft/peer").with(key, &value);
    client.change(Method::DELETE, request, None).await.doing("Error removing peer")?;
    out.line(format!("Removed peer with {key} \"{value}\""))?;
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

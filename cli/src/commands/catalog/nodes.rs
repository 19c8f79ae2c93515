//! `usher catalog nodes`.

use std::process::ExitCode;

use super::{Pair, listed, nothing_found};
use crate::{
    client::{Client, api::Node, flags::ClusterFlags},
    commands::error::{CommandError, Doing},
    output::{Output, columns::columns},
};

/// List the nodes of a datacenter
///
/// Examples:
///     usher catalog nodes
///     usher catalog nodes -service=web -detailed
///     usher catalog nodes -node-meta=rack=r1
///     usher catalog nodes -near=_agent
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Show whole ids, all addresses and metadata.
    #[arg(long)]
    detailed: bool,
    /// Show only nodes this expression is true for, such as 'Meta.rack == "r1"'.
    #[arg(long, value_name = "expression", default_value = "", hide_default_value = true)]
    filter: String,
    /// Sort by the time a packet takes from this node; _agent means the agent's own.
    #[arg(long, value_name = "node", default_value = "", hide_default_value = true)]
    near: String,
    /// Show only nodes with this metadata. May be given several times.
    #[arg(long, value_name = "key=value")]
    node_meta: Vec<Pair>,
    /// Show only nodes that have an instance of this service.
    #[arg(long, value_name = "name", default_value = "", hide_default_value = true)]
    service: String,
    #[command(flatten)]
    pub(super) cluster: ClusterFlags,
}

/// Runs the command.
pub async fn run(args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let mut request = if args.service.is_empty() {
        client.cluster("/v1/catalog/nodes")
    } else {
        client.cluster_of("/v1/catalog/service", &args.service)
    };
    request = request.with_some("filter", &args.filter).with_some("near", &args.near);
    for Pair { key, value } in &args.node_meta {
        request = request.with("node-meta", &format!("{key}:{value}"));
    }
    let nodes: Option<Vec<Node>> = client.get(request).await.doing("Error listing nodes")?;
    let nodes = nodes.unwrap_or_default();
    if nodes.is_empty() {
        out.problem(nothing_found("nodes"));
        return Ok(ExitCode::SUCCESS);
    }
    out.line(if args.detailed { detailed(&nodes) } else { standard(&nodes) })?;
    Ok(ExitCode::SUCCESS)
}

fn standard(nodes: &[Node]) -> String {
    let header = ["Node", "ID", "Address", "DC"].map(String::from);
    columns(std::iter::once(header).chain(nodes.iter().map(|node| {
        let short = node.id.split('-').next().unwrap_or_default();
        [node.node.clone(), short.to_owned(), node.address.clone(), node.datacenter.clone()]
    })))
}

fn detailed(nodes: &[Node]) -> String {
    let header = ["Node", "ID", "Address", "DC", "TaggedAddresses", "Meta"].map(String::from);
    columns(std::iter::once(header).chain(nodes.iter().map(|node| {
        let Node { id, node, address, datacenter, tagged_addresses, meta } = node.clone();
        [node, id, address, datacenter, listed(&tagged_addresses), listed(&meta)]
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<Node> {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let alpha =
            Node { node: "alpha".into(), address: "10.1.0.1".into(), datacenter: "dc1".into(), ..Node::default() };
        let beta = Node {
            id: "78b15363-c1d0-742c-45e4-9541d283e657".into(),
            node: "beta".into(),
            address: "10.1.0.20".into(),
            datacenter: "dc1".into(),
            tagged_addresses: map(&[("wan", "2"), ("lan", "1")]),
            meta: map(&[("b", "2"), ("a", "")]),
        };
        vec![alpha, beta]
    }

    // As Consul's command prints the same nodes.
    #[test]
    fn sets_columns() {
        let expected = "\
            Node   ID        Address    DC\n\
            alpha            10.1.0.1   dc1\n\
            beta   78b15363  10.1.0.20  dc1";
        assert_eq!(standard(&nodes()), expected);
        let expected = [
            "Node   ID                                    Address    DC   TaggedAddresses  Meta",
            "alpha                                        10.1.0.1   dc1                   ",
            "beta   78b15363-c1d0-742c-45e4-9541d283e657  10.1.0.20  dc1  lan=1, wan=2     a=, b=2",
        ];
        assert_eq!(detailed(&nodes()), expected.join("\n"));
    }
}

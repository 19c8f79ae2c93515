//! `usher catalog services`.

use std::{collections::BTreeMap, process::ExitCode};

use super::{Pair, nothing_found};
use crate::{
    client::{Client, api::NodeServices, flags::ClusterFlags, request::Request},
    commands::error::{CommandError, Doing},
    output::{Output, columns::tabbed},
};

/// The blanks between a service and its tags.
const GAP: usize = 6;

/// List the services of a datacenter
///
/// Examples:
///     usher catalog services
///     usher catalog services -tags
///     usher catalog services -node=web-17
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Show only services with an instance on this node.
    #[arg(long, value_name = "name", default_value = "", hide_default_value = true)]
    node: String,
    /// Show only services with an instance on nodes with this metadata. May be given several times.
    #[arg(long, value_name = "key=value")]
    node_meta: Vec<Pair>,
    /// Show the tags beside each service.
    #[arg(long)]
    tags: bool,
    #[command(flatten)]
    pub(super) cluster: ClusterFlags,
}

/// Runs the command.
pub async fn run(args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let services = if args.node.is_empty() { of_all(args, client).await? } else { of_node(args, client).await? };
    if services.is_empty() {
        out.problem(nothing_found("services"));
        return Ok(ExitCode::SUCCESS);
    }
    out.line(if args.tags { with_tags(services) } else { names(services) })?;
    Ok(ExitCode::SUCCESS)
}

type Services = BTreeMap<String, Vec<String>>;

async fn of_all(args: &Args, client: &Client) -> Result<Services, CommandError> {
    let request = filtered(client.cluster("/v1/catalog/services"), args);
    let services: Option<BTreeMap<String, Option<Vec<String>>>> =
        client.get(request).await.doing("Error listing services")?;
    let services = services.unwrap_or_default();
    Ok(services.into_iter().map(|(name, tags)| (name, tags.unwrap_or_default())).collect())
}

/// A node that is not known has no services.
async fn of_node(args: &Args, client: &Client) -> Result<Services, CommandError> {
    let request = filtered(client.cluster_of("/v1/catalog/node", &args.node), args);
    let node: Option<NodeServices> = client.get(request).await.doing("Error listing services for node")?;
    Ok(by_name(node.unwrap_or_default()))
}

fn filtered(request: Request, args: &Args) -> Request {
    args.node_meta
        .iter()
        .fold(request, |request, Pair { key, value }| request.with("node-meta", &format!("{key}:{value}")))
}

/// The tags of all instances together.
fn by_name(node: NodeServices) -> Services {
    let mut services = Services::new();
    for instance in node.services.into_values() {
        services.entry(instance.service).or_default().extend(instance.tags);
    }
    services
}

fn names(services: Services) -> String {
    let names: Vec<String> = services.into_keys().collect();
    names.join("\n")
}

fn with_tags(services: Services) -> String {
    let rows = services.into_iter().map(|(name, mut tags)| {
        tags.sort();
        [name, tags.join(",")]
    });
    // The blanks behind a last service without tags are not printed.
    tabbed(rows, GAP).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::api::NodeService;

    fn instance(id: &str, service: &str, tags: &[&str]) -> (String, NodeService) {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        (id.to_owned(), NodeService { service: service.into(), tags })
    }

    // As Consul's command prints the same services.
    #[test]
    fn lists() {
        let node = NodeServices {
            services: [
                instance("w1", "web", &["b", "a"]),
                instance("w2", "web", &["b", "c"]),
                instance("x", "longername", &[]),
            ]
            .into(),
        };
        assert_eq!(names(by_name(node.clone())), "longername\nweb");
        assert_eq!(with_tags(by_name(node)), "longername      \nweb             a,b,b,c");
        let node = NodeServices { services: [instance("c", "cache", &["a"]), instance("d", "db", &[])].into() };
        assert_eq!(with_tags(by_name(node)), "cache      a\ndb");
    }
}

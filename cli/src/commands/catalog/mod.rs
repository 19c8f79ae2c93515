//! `usher catalog`: the lists of datacenters, nodes and services.

pub mod datacenters;
pub mod nodes;
pub mod services;

use std::{collections::BTreeMap, process::ExitCode};

use super::{CommandError, ask, cluster_client};
use crate::output::Output;

/// List what the whole cluster knows
///
/// The catalog holds the services and nodes of all agents; 'usher services' is about those of one.
///
/// Examples:
///     usher catalog services
///     usher catalog nodes -service=web
#[derive(Debug, clap::Subcommand)]
#[command(verbatim_doc_comment)]
#[expect(missing_docs, reason = "clap shows what stands at the arguments")]
pub enum Command {
    Datacenters(datacenters::Args),
    Nodes(nodes::Args),
    Services(services::Args),
}

impl Command {
    /// Runs the command.
    pub fn run(self, out: &mut Output) -> Result<ExitCode, CommandError> {
        match self {
            Self::Datacenters(args) => ask(datacenters::run(&args, &cluster_client(&args.cluster)?, out)),
            Self::Nodes(args) => ask(nodes::run(&args, &cluster_client(&args.cluster)?, out)),
            Self::Services(args) => ask(services::run(&args, &cluster_client(&args.cluster)?, out)),
        }
    }
}

/// One `key=value` of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Before the first `=`.
    pub key: String,
    /// Behind it.
    pub value: String,
}

impl std::str::FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) => Ok(Self { key: key.into(), value: value.into() }),
            None => Err(format!("Missing \"=\" value in argument: {text}")),
        }
    }
}

/// What is said instead of an empty list.
fn nothing_found(what: &str) -> String {
    format!("No {what} match the given query - try expanding your search.")
}

/// `a=1, b=2`.
fn listed(pairs: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(", ")
}

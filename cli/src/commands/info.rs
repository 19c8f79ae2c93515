//! `usher info`: the agent's figures about itself.

use std::{collections::BTreeMap, process::ExitCode};

use super::{CommandError, Ignored, error::Doing};
use crate::{
    client::{Client, api::AgentSelf, flags::HttpFlags},
    output::Output,
};

/// Show figures of a running agent, for operators
///
/// Prints what the agent counts and knows of itself, in groups: agent, consensus, gossip and so on.
///
/// Example:
///     usher info
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    ignored: Ignored,
    #[command(flatten)]
    pub(super) http: HttpFlags,
}

/// Runs the command.
pub async fn run(_args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let agent: AgentSelf = client.get(client.agent("/v1/agent/self")).await.doing("Error querying agent")?;
    let text = groups(&agent.stats);
    if !text.is_empty() {
        out.line(text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn groups(stats: &BTreeMap<String, BTreeMap<String, String>>) -> String {
    let mut lines = Vec::new();
    for (group, figures) in stats {
        lines.push(format!("{group}:"));
        lines.extend(figures.iter().map(|(name, value)| format!("\t{name} = {value}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_sorted() {
        let stats = [
            ("raft".to_owned(), [("term".to_owned(), "2".to_owned()), ("state".to_owned(), String::new())].into()),
            ("agent".to_owned(), BTreeMap::new()),
        ];
        assert_eq!(groups(&stats.into()), "agent:\nraft:\n\tstate = \n\tterm = 2");
        assert_eq!(groups(&BTreeMap::new()), "");
    }
}

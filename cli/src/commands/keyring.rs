//! `usher keyring`: the keys of gossip, changed while everybody speaks.

use std::process::ExitCode;

use hyper::Method;
use serde_json::json;

use super::{CommandError, Ignored, error::Doing};
use crate::{
    client::{Client, api::PoolKeys, flags::HttpFlags, request::Request},
    output::Output,
};

const PATH: &str = "/v1/operator/keyring";
/// How many others may repeat an answer.
const RELAY_FACTORS: std::ops::RangeInclusive<i64> = 0..=5;

/// Look at the keys of encrypted gossip, or change them in the whole cluster
///
/// A key is changed in three steps, none of which interrupts anybody: install the new one, use it,
/// remove the old one. Asks a server; exits with 1 if not every member did what was asked.
///
/// Examples:
///     usher keyring -list
///     usher keyring -install=$KEY
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Let all members understand a further key.
    #[arg(long, value_name = "key", default_value = "", hide_default_value = true)]
    install: String,
    /// Let all members encrypt with a key they have.
    #[arg(long, value_name = "key", default_value = "", hide_default_value = true)]
    r#use: String,
    /// Let all members forget a key that none encrypts with.
    #[arg(long, value_name = "key", default_value = "", hide_default_value = true)]
    remove: String,
    /// List the keys, and how many members have each.
    #[arg(long)]
    list: bool,
    /// List the keys members encrypt with.
    #[arg(long)]
    list_primary: bool,
    /// List the keys of this datacenter's pool alone.
    #[arg(long)]
    local_only: bool,
    /// Taken for scripts' sake, 0 to 5: answers need no relays.
    #[arg(long, value_name = "number", default_value_t = 0, hide_default_value = true)]
    relay_factor: i64,
    #[command(flatten)]
    ignored: Ignored,
    #[command(flatten)]
    pub(super) http: HttpFlags,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action<'a> {
    List { primary: bool },
    Change { method: Method, key: &'a str, doing: &'static str },
}

/// Runs the command.
pub async fn run(args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let action = action(args)?;
    let request = request(client, args)?;
    match action {
        Action::List { primary } => {
            let what = if primary { "installed primary" } else { "installed" };
            out.line(format!("==> Gathering {what} encryption keys..."))?;
            let pools: Vec<PoolKeys> = client.get(request).await.doing("error")?;
            out.line(listed(&pools, primary))?;
        }
        Action::Change { method, key, doing } => {
            out.line(format!("==> {doing} gossip encryption key..."))?;
            client.change(method, request, Some(&json!({ "Key": key }))).await.doing("error")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The one thing that is asked for.
fn action(args: &Args) -> Result<Action<'_>, CommandError> {
    let change = |method, key, doing| Action::Change { method, key, doing };
    let asked = [
        (!args.install.is_empty(), change(Method::POST, args.install.as_str(), "Installing new")),
        (!args.r#use.is_empty(), change(Method::PUT, args.r#use.as_str(), "Changing primary")),
        (!args.remove.is_empty(), change(Method::DELETE, args.remove.as_str(), "Removing")),
        (args.list, Action::List { primary: false }),
        (args.list_primary, Action::List { primary: true }),
    ];
    let mut asked = asked.into_iter().filter(|(asked, _)| *asked).map(|(_, action)| action);
    match (asked.next(), asked.next()) {
        (Some(action), None) => Ok(action),
        (Some(_), Some(_)) => Err(CommandError::Usage("Only a single action is allowed".into())),
        (None, _) => Err(CommandError::Usage(
            "One of -list, -list-primary, -install, -use and -remove is needed (see 'usher keyring -help')".into(),
        )),
    }
}

fn request(client: &Client, args: &Args) -> Result<Request, CommandError> {
    if !RELAY_FACTORS.contains(&args.relay_factor) {
        let text = "Error parsing relay factor: Relay factor must be in range: [0, 5]";
        return Err(CommandError::Usage(text.into()));
    }
    let request = client.agent(PATH);
    match args.local_only {
        false => Ok(request),
        true if args.list || args.list_primary => Ok(request.with("local-only", "true")),
        true => {
            Err(CommandError::Usage("Error validating local-only: local-only can only be set for list requests".into()))
        }
    }
}

/// A part for each pool: its name, what members said, its keys with how many members have them.
fn listed(pools: &[PoolKeys], primary: bool) -> String {
    let mut lines = Vec::new();
    for pool in pools {
        lines.push(String::new());
        lines.push(match (pool.wan, pool.segment.as_str()) {
            (true, _) => "WAN:".to_owned(),
            (false, "") => format!("{} (LAN):", pool.datacenter),
            (false, segment) => format!("{} (LAN) [{segment}]:", pool.datacenter),
        });
        if !pool.messages.is_empty() {
            lines.push("  ===> Errors:".to_owned());
            lines.extend(pool.messages.iter().map(|(name, text)| format!("  {name}: {text}")));
        }
        let keys = if primary { &pool.primary_keys } else { &pool.keys };
        lines.extend(keys.iter().map(|(key, count)| format!("  {key} [{count}/{}]", pool.num_nodes)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn args(args: &[&str]) -> Args {
        let command = Args::augment_args(Command::new("keyring").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(args).unwrap()).unwrap()
    }

    #[test]
    fn one_thing_at_a_time() {
        let told = |words: &[&str]| action(&args(words)).map_err(|error| error.to_string()).map(|_| ());
        assert_eq!(told(&["--list"]), Ok(()));
        assert_eq!(told(&["--list", "--install=K"]), Err("Only a single action is allowed".into()));
        assert!(told(&[]).unwrap_err().starts_with("One of -list"));
        let words = args(&["--remove=K"]);
        let expected = Action::Change { method: Method::DELETE, key: "K", doing: "Removing" };
        assert_eq!(action(&words).unwrap(), expected);
    }

    // As Consul's command prints the same keys.
    #[test]
    fn lists_keys_by_pool() {
        let pool = |wan, nodes| PoolKeys {
            wan,
            datacenter: "dc1".into(),
            keys: [("A=".into(), nodes), ("B=".into(), 1)].into(),
            primary_keys: [("A=".into(), nodes)].into(),
            num_nodes: nodes,
            ..PoolKeys::default()
        };
        let pools = [pool(true, 3), pool(false, 4)];
        assert_eq!(listed(&pools, false), "\nWAN:\n  A= [3/3]\n  B= [1/3]\n\ndc1 (LAN):\n  A= [4/4]\n  B= [1/4]");
        assert_eq!(listed(&pools, true), "\nWAN:\n  A= [3/3]\n\ndc1 (LAN):\n  A= [4/4]");
    }
}

//! `usher operator autopilot`: the settings by which the leader looks after the servers.

use std::process::ExitCode;

use serde_json::Value;

use crate::{
    client::{Client, api::AutopilotConfiguration, flags::ClusterFlags},
    commands::{CommandError, Ignored, ask, cluster_client, error::Doing},
    config::duration,
    output::Output,
};

const PATH: &str = "/v1/operator/autopilot/configuration";

/// Show or change how the leader looks after the servers
///
/// Example:
///     usher operator autopilot get-config
#[derive(Debug, clap::Subcommand)]
#[command(verbatim_doc_comment)]
pub enum Autopilot {
    /// Show the settings.
    GetConfig(GetConfig),
    /// Change settings.
    SetConfig(SetConfig),
}

/// Show the settings of autopilot
///
/// Example:
///     usher operator autopilot get-config
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct GetConfig {
    #[command(flatten)]
    ignored: Ignored,
    #[command(flatten)]
    cluster: ClusterFlags,
}

/// Change settings of autopilot; those not named stay as they are
///
/// Example:
///     usher operator autopilot set-config -cleanup-dead-servers=false
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct SetConfig {
    /// Whether servers that failed are removed once a new one has joined.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    cleanup_dead_servers: Option<bool>,
    /// How long a server may be silent and still count as healthy, such as 200ms.
    #[arg(long, value_name = "duration", value_parser = checked_duration)]
    last_contact_threshold: Option<String>,
    /// How many log entries a server may be behind and still count as healthy.
    #[arg(long, value_name = "number")]
    max_trailing_logs: Option<u64>,
    /// How many servers must stay at least when failed ones are removed.
    #[arg(long, value_name = "number")]
    min_quorum: Option<u64>,
    /// How long a new server must be healthy before it votes, such as 10s.
    #[arg(long, value_name = "duration", value_parser = checked_duration)]
    server_stabilization_time: Option<String>,
    /// (Consul Enterprise; no effect)
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_upgrade_migration: Option<bool>,
    /// (Consul Enterprise; no effect)
    #[arg(long, value_name = "name")]
    redundancy_zone_tag: Option<String>,
    /// (Consul Enterprise; no effect)
    #[arg(long, value_name = "name")]
    upgrade_version_tag: Option<String>,
    #[command(flatten)]
    ignored: Ignored,
    #[command(flatten)]
    cluster: ClusterFlags,
}

/// A text that is a duration.
fn checked_duration(text: &str) -> Result<String, duration::DurationError> {
    duration::parse(text).map(|_| text.to_owned())
}

impl Autopilot {
    /// Runs the command.
    pub(super) fn run(self, out: &mut Output) -> Result<ExitCode, CommandError> {
        match self {
            Self::GetConfig(args) => ask(get(&cluster_client(&args.cluster)?, out)),
            Self::SetConfig(args) => ask(set(&args, &cluster_client(&args.cluster)?, out)),
        }
    }
}

async fn get(client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let config: AutopilotConfiguration =
        client.get(client.cluster(PATH)).await.doing("Error querying Autopilot configuration")?;
    out.line(shown(&config))?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the settings, changes those that are named, and writes them if nobody has changed them meanwhile.
async fn set(args: &SetConfig, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let config: AutopilotConfiguration =
        client.get(client.cluster(PATH)).await.doing("Error querying Autopilot configuration")?;
    let index = config.modify_index.to_string();
    let body = body(&changed(args, config))?;
    let written: bool = client
        .put_if(client.cluster(PATH).with("cas", &index), &body)
        .await
        .doing("Error setting Autopilot configuration")?;
    if !written {
        return Err(CommandError::Other("Configuration could not be atomically updated, please try again".into()));
    }
    out.line("Configuration updated!")?;
    Ok(ExitCode::SUCCESS)
}

fn body(config: &AutopilotConfiguration) -> Result<Value, CommandError> {
    serde_json::to_value(config).map_err(|error| CommandError::Other(format!("cannot write JSON: {error}")))
}

fn changed(args: &SetConfig, config: AutopilotConfiguration) -> AutopilotConfiguration {
    let text = |given: &Option<String>, known: String| given.clone().unwrap_or(known);
    AutopilotConfiguration {
        cleanup_dead_servers: args.cleanup_dead_servers.unwrap_or(config.cleanup_dead_servers),
        last_contact_threshold: text(&args.last_contact_threshold, config.last_contact_threshold),
        max_trailing_logs: args.max_trailing_logs.unwrap_or(config.max_trailing_logs),
        min_quorum: args.min_quorum.unwrap_or(config.min_quorum),
        server_stabilization_time: text(&args.server_stabilization_time, config.server_stabilization_time),
        redundancy_zone_tag: text(&args.redundancy_zone_tag, config.redundancy_zone_tag),
        disable_upgrade_migration: args.disable_upgrade_migration.unwrap_or(config.disable_upgrade_migration),
        upgrade_version_tag: text(&args.upgrade_version_tag, config.upgrade_version_tag),
        modify_index: config.modify_index,
    }
}

fn shown(config: &AutopilotConfiguration) -> String {
    [
        format!("CleanupDeadServers = {}", config.cleanup_dead_servers),
        format!("LastContactThreshold = {}", config.last_contact_threshold),
        format!("MaxTrailingLogs = {}", config.max_trailing_logs),
        format!("MinQuorum = {}", config.min_quorum),
        format!("ServerStabilizationTime = {}", config.server_stabilization_time),
        format!("RedundancyZoneTag = {:?}", config.redundancy_zone_tag),
        format!("DisableUpgradeMigration = {}", config.disable_upgrade_migration),
        format!("UpgradeVersionTag = {:?}", config.upgrade_version_tag),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn config() -> AutopilotConfiguration {
        AutopilotConfiguration {
            cleanup_dead_servers: true,
            last_contact_threshold: "200ms".into(),
            max_trailing_logs: 250,
            server_stabilization_time: "10s".into(),
            modify_index: 4,
            ..AutopilotConfiguration::default()
        }
    }

    // As Consul's command prints the same settings.
    #[test]
    fn shows_the_settings() {
        let expected = "\
            CleanupDeadServers = true\n\
            LastContactThreshold = 200ms\n\
            MaxTrailingLogs = 250\n\
            MinQuorum = 0\n\
            ServerStabilizationTime = 10s\n\
            RedundancyZoneTag = \"\"\n\
            DisableUpgradeMigration = false\n\
            UpgradeVersionTag = \"\"";
        assert_eq!(shown(&config()), expected);
    }

    #[test]
    fn changes_what_is_named_alone() {
        let parse = |args: &[&str]| {
            let command = SetConfig::augment_args(Command::new("set-config").no_binary_name(true));
            SetConfig::from_arg_matches(&command.try_get_matches_from(args).unwrap()).unwrap()
        };
        assert_eq!(changed(&parse(&[]), config()), config());
        let args = parse(&["--cleanup-dead-servers=false", "--min-quorum=3", "--last-contact-threshold=1s"]);
        let expected = AutopilotConfiguration {
            cleanup_dead_servers: false,
            min_quorum: 3,
            last_contact_threshold: "1s".into(),
            ..config()
        };
        assert_eq!(changed(&args, config()), expected);
        let sent = body(&expected).unwrap().to_string();
        assert!(sent.contains("\"LastContactThreshold\":\"1s\"") && sent.contains("\"MinQuorum\":3"), "{sent}");
    }
}

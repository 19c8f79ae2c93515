//! How long servers wait for each other, and the rest of what openraft is told.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use super::Options;

/// Openraft's configuration for these options.
///
/// The multiplier (1 to 10, 5 where nothing is set) scales as Consul's does, from shorter times: heartbeats every 20 ms
/// times the multiplier. A follower trusts a silent leader for six to twelve of them beyond the leader's lease of twelve
/// (openraft adds the two), so that at 5 a dead leader is replaced 0.9 to 1.2 seconds after its last heartbeat. The lower
/// bounds (50 ms, 150 ms) keep a machine that is short of processors from holding elections for no reason.
pub(super) fn config(options: &Options) -> Config {
    let multiplier = u64::from(options.multiplier.clamp(1, 10));
    let election = (60 * multiplier).max(150);
    Config {
        cluster_name: "usher".to_owned(),
        heartbeat_interval: (20 * multiplier).max(50),
        election_timeout_min: election,
        election_timeout_max: 2 * election,
        // A server that was cut off asks before it makes the others vote.
        enable_pre_vote: Some(true),
        // A restart is a new term, as in the paper: who leads in a term led in it from its beginning.
        enable_leader_restore: Some(false),
        // A leader that has lost its quorum falls silent, so that those who still hear it elect another.
        quorum_loss_probe_interval: Some(4 * election),
        install_snapshot_timeout: 10_000,
        max_payload_entries: 1024,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_threshold.max(1)),
        max_in_snapshot_log_to_keep: options.trailing_logs,
        // A follower is sent a snapshot when what it lacks is no longer kept.
        replication_lag_threshold: options.snapshot_threshold.saturating_add(options.trailing_logs),
        ..Config::default()
    }
}

/// How old news of a leader may be for it still to count as one: by then another would have been elected.
pub(super) fn lease(config: &Config) -> Duration {
    Duration::from_millis(2 * config.election_timeout_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_multiplier_makes_a_valid_configuration() {
        for multiplier in [0, 1, 2, 5, 10, u32::MAX] {
            let options = Options { multiplier, ..Options::for_tests(None) };
            let config = config(&options).validate().unwrap();
            assert!(config.election_timeout_min >= 3 * config.heartbeat_interval, "multiplier {multiplier}");
        }
    }
}

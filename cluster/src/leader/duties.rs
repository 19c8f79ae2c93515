//! The loop of the leader's duties: waits for leadership, and does them as long as it lasts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Duties, reconcile, servers};
use crate::{
    catalog::{
        NodeEntry,
        command::{AutopilotChange, Command},
        model::Status,
    },
    local::sync::CONSUL_SERVICE,
    membership::Member,
};

/// How long after a failed attempt the next one is made.
const RETRY: Duration = Duration::from_millis(500);
/// How often a leader looks whether the catalog still shows what it wrote (Consul's).
const RECONCILE_INTERVAL: Duration = Duration::from_secs(60);
/// How long a node may be in the catalog and not among the members before it counts as failed: a new leader may not
/// have met everybody yet.
const ABSENT_AFTER: Duration = Duration::from_secs(30);
/// Commands under way at once.
const WRITES_MAX: usize = 32;

/// Does the duties whenever this server leads, until `stop`.
pub(crate) async fn run(duties: Duties, stop: CancellationToken) {
    let mut leads = false;
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => return,
            now = duties.consensus.leadership_changed(leads) => {
                leads = now;
                tracing::info!(target: "agent.server", "cluster leadership {}", if leads { "acquired" } else { "lost" });
            }
            () = lead(&duties), if leads => {}
        }
        if !leads {
            duties.report.clear();
        }
    }
}

/// All duties, for as long as it is awaited.
async fn lead(duties: &Duties) {
    tokio::join!(keep_catalog(duties), servers::keep_servers(duties));
}

/// Keeps the members in the catalog.
async fn keep_catalog(duties: &Duties) {
    set_autopilot(duties).await;
    let mut members = duties.members.clone();
    let mut before: Arc<Vec<Member>> = Arc::default();
    let mut absent = Absent::default();
    // What runs on this host goes first: where its node is shown healthy, its services are there, too.
    if let Err(error) = duties.local.compare_all().await {
        tracing::warn!(target: "agent.server", %error, "cannot write what is registered here yet");
        duties.local.request_comparison();
    }
    loop {
        let now = members.borrow_and_update().clone();
        let written = reconcile(duties, &before, &now, &mut absent).await;
        let pause = match written {
            Ok(()) => {
                before = now;
                if absent.is_waiting() { ABSENT_AFTER / 4 } else { RECONCILE_INTERVAL }
            }
            Err(reason) => {
                tracing::warn!(target: "agent.server", error = %reason, "cannot write the members into the catalog yet");
                RETRY
            }
        };
        tokio::select! {
            changed = members.changed() => if changed.is_err() { return std::future::pending().await },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// A cluster's first settings are those its first leader was configured with.
async fn set_autopilot(duties: &Duties) {
    loop {
        if duties.catalog.state().autopilot().modify_index > 0 {
            return;
        }
        let change = AutopilotChange { config: duties.autopilot.clone(), cas: None, initial: true };
        match duties.proposer.propose(Command::Autopilot(change)).await {
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(target: "agent.server", %error, "cannot set autopilot up yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Writes what differs. `before` are the members of the last time that succeeded.
async fn reconcile(duties: &Duties, before: &[Member], now: &[Member], absent: &mut Absent) -> Result<(), String> {
    let mut commands = Vec::new();
    {
        let state = duties.catalog.state();
        let taken = duties.local.has_service(CONSUL_SERVICE);
        let plan = reconcile::plan(&duties.own, now, &state, taken);
        commands.extend(plan.commands);
        let reaped = |entry: &NodeEntry| before.iter().any(|old| old.name.eq_ignore_ascii_case(&entry.node.name));
        for entry in absent.due(&plan.missing, Instant::now()) {
            let name = entry.node.name.clone();
            commands.extend(reconcile::absent(&duties.own, &entry).map(|command| (name, command)));
        }
        for entry in plan.missing.iter().filter(|entry| reaped(entry)) {
            let name = entry.node.name.clone();
            commands.extend(reconcile::reaped(&duties.own, &name, &state).map(|command| (name, command)));
        }
    }
    let mut writes = stream::iter(commands)
        .map(|(name, command)| async move { write(duties, name, command).await })
        .buffer_unordered(WRITES_MAX);
    while let Some(written) = writes.next().await {
        written?;
    }
    Ok(())
}

async fn write(duties: &Duties, name: String, command: Command) -> Result<(), String> {
    let done = match &command {
        Command::Deregister(_) => "member is gone, deregistering",
        Command::Register(registration) if registration.checks.iter().any(|check| check.status == Status::Critical) => {
            "member failed, marking health critical"
        }
        _ => "member joined, marking health alive",
    };
    let applied = duties.proposer.propose(command).await.map_err(|error| error.to_string())?;
    match applied.outcome {
        Ok(()) => tracing::info!(target: "agent.server", "{done}: member={name}"),
        // Trying again at once would be refused again; the next look comes by itself.
        Err(refusal) => tracing::error!(target: "agent.server", error = %refusal, "cannot reconcile member {name}"),
    }
    Ok(())
}

/// Nodes that are in the catalog and not among the members, and since when.
#[derive(Debug, Default)]
struct Absent {
    since: HashMap<String, Instant>,
}

impl Absent {
    /// Those of `missing` that have been so for long enough.
    fn due(&mut self, missing: &[Arc<NodeEntry>], now: Instant) -> Vec<Arc<NodeEntry>> {
        self.since.retain(|name, _| missing.iter().any(|entry| entry.node.name == *name));
        let mut due = Vec::new();
        for entry in missing {
            let since = *self.since.entry(entry.node.name.clone()).or_insert(now);
            if now.duration_since(since) >= ABSENT_AFTER {
                due.push(entry.clone());
            }
        }
        due
    }

    fn is_waiting(&self) -> bool {
        !self.since.is_empty()
    }
}

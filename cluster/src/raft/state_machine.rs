//! The state machine: committed entries go into the catalog, in order, once.
//!
//! A batch of entries makes one new version of the catalog, which is published before anyone is answered: who was told
//! of a write sees it. Everything is in memory; after a restart the newest snapshot and the log bring it back. The
//! catalog itself decides what a command does; this only carries it there.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures_util::{Stream, StreamExt};
use openraft::{
    EntryPayload, RaftSnapshotBuilder, Snapshot,
    alias::SnapshotOf,
    storage::{EntryResponder, RaftStateMachine},
};

use super::{
    snapshot::{SnapshotData, Snapshots},
    types::{Answer, LogId, Proposal, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::catalog::{Catalog, Changes, State, command::Outcome};

/// The state machine, and the writer's copy of the catalog's state.
pub(super) struct StateMachine {
    catalog: Arc<Catalog>,
    state: State,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    snapshots: Snapshots,
}

impl StateMachine {
    /// A state machine that publishes to `catalog`, beginning from `restored` or from nothing.
    pub(super) fn new(catalog: Arc<Catalog>, snapshots: Snapshots, restored: Option<(SnapshotMeta, State)>) -> Self {
        let (meta, mut state) = restored.unwrap_or_default();
        state.set_as_of(meta.last_log_id.map_or(0, |last| last.index));
        catalog.publish(state.clone(), Changes::default());
        Self { catalog, state, last_applied: meta.last_log_id, membership: meta.last_membership, snapshots }
    }

    /// Applies one command. A command that makes the catalog fail stops the server: what is left of the state is not
    /// published.
    fn apply_command(&mut self, index: u64, proposal: Proposal, changes: &mut Changes) -> io::Result<Outcome> {
        let command = proposal.into_command();
        catch_unwind(AssertUnwindSafe(|| self.state.apply(index, command, changes)))
            .map_err(|_| io::Error::other(format!("the catalog failed over the command of entry {index}")))
    }

    /// Also after entries that are none of the catalog's: how far it has come is part of what readers see.
    fn publish(&mut self, changes: Changes) {
        self.state.set_as_of(self.last_applied.map_or(0, |last| last.index));
        self.catalog.publish(self.state.clone(), changes);
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.last_applied, last_membership: self.membership.clone() }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        let mut changes = Changes::default();
        let mut answers = Vec::new();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            #[cfg(test)]
            super::simulated::applied(&entry);
            let outcome = match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Normal(proposal) => {
                    Some(self.apply_command(entry.log_id.index, proposal, &mut changes)?)
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    None
                }
            };
            self.last_applied = Some(entry.log_id);
            if let Some(responder) = responder {
                answers.push((responder, Answer(outcome)));
            }
        }
        self.publish(changes);
        for (responder, answer) in answers {
            responder.send(answer);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { meta: self.meta(), state: self.state.clone(), snapshots: self.snapshots.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> io::Result<()> {
        let (wanted, snapshots) = (meta.clone(), self.snapshots.clone());
        let state = blocking(move || {
            let received = match &data {
                SnapshotData::Received(path) => Some(path.clone()),
                SnapshotData::File(_) | SnapshotData::State(_) => None,
            };
            let state = data.into_state(&wanted)?;
            let is_kept = snapshots.newest()?.is_some_and(|(newest, _)| newest == wanted);
            match received {
                _ if is_kept => {}
                Some(path) => snapshots.adopt(&wanted, &path, &state)?,
                None => drop(snapshots.keep(&wanted, state.clone())?),
            }
            Ok(state)
        });
        self.state = state.await?;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        #[cfg(test)]
        if crate::simulation::bug() == Some(crate::simulation::Bug::SilentSnapshot) {
            self.publish(Changes::default());
            return Ok(());
        }
        self.publish(Changes::everything());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<TypeConfig, SnapshotData>>> {
        let snapshots = self.snapshots.clone();
        let newest = blocking(move || snapshots.newest()).await?;
        Ok(newest.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Writes a snapshot of the state as it was, while writes go on.
pub(super) struct SnapshotBuilder {
    meta: SnapshotMeta,
    state: State,
    snapshots: Snapshots,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, SnapshotData>> {
        let (meta, state, snapshots) = (self.meta.clone(), self.state.clone(), self.snapshots.clone());
        let snapshot = blocking(move || snapshots.keep(&meta, state)).await?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot })
    }
}

/// Runs file work where it does not hold up other tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    crate::blocking::run(work).await?
}

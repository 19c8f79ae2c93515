//! The way of registrations into the catalog: what differs is proposed, one service after the other, each under the lock
//! that keeps its changes in order.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use futures_util::{StreamExt, stream};
use tokio::sync::MutexGuard;

use super::{
    LOCKS, Local,
    build::fold,
    records::{Effect, Operation, Target},
    sync::{Mode, Plan, View},
};
use crate::{
    catalog::{
        command::{Command, Registration},
        model::Check,
    },
    raft::ProposeError,
};

/// Commands on their way to consensus at once while everything is compared.
const PUSHES_MAX: usize = 64;
/// How often one target is looked at again because the catalog's tags were taken over meanwhile.
const ADOPTIONS_MAX: usize = 4;

impl Local {
    /// Brings these targets of the catalog up to what is registered here.
    pub(crate) async fn push(&self, targets: Vec<Target>, mode: Mode) -> Result<(), ProposeError> {
        let mut pushes = stream::iter(targets)
            .map(|target| async move {
                let _lock = self.lock(&target).await;
                self.push_locked(&target, mode).await
            })
            .buffer_unordered(PUSHES_MAX);
        while let Some(pushed) = pushes.next().await {
            pushed?;
        }
        Ok(())
    }

    /// Brings the catalog up to a change whose lock is held. What cannot be done now is done later.
    pub(super) async fn push_all(&self, effect: &Effect, mode: Mode) {
        for target in &effect.targets {
            let Err(error) = self.push_locked(target, mode).await else { continue };
            tracing::warn!(
                target: "agent",
                error = %error,
                "Registration is kept and will be synchronised later: {}",
                describe(target)
            );
            self.request_comparison();
            return;
        }
    }

    async fn push_locked(&self, target: &Target, mode: Mode) -> Result<(), ProposeError> {
        for _ in 0..ADOPTIONS_MAX {
            self.see_written().await?;
            match self.plan(target, mode) {
                Plan::InSync => return Ok(()),
                Plan::Propose(commands) => return self.propose_all(target, commands).await,
                Plan::AdoptTags(tags) => {
                    let Target::Service(id) = target else { return Ok(()) };
                    let adopted = self.change(Operation::AdoptTags { id: id.clone(), tags }).await;
                    adopted.map_err(|error| ProposeError::Stopped(error.to_string()))?;
                }
            }
        }
        // Somebody changes the tags faster than they can be read; the next comparison goes on.
        Ok(())
    }

    /// Waits until this agent's copy of the catalog shows what was written here before.
    async fn see_written(&self) -> Result<(), ProposeError> {
        match self.written.load(Ordering::Acquire) {
            0 => Ok(()),
            written => self.proposer.refresh(written).await,
        }
    }

    fn plan(&self, target: &Target, mode: Mode) -> Plan {
        let state = self.catalog.state();
        let records = self.records.load_full();
        let node = self.node.load();
        let entry = state.node_entry(&fold(&node.name)).map(AsRef::as_ref);
        let words_wait = |key: &str| self.outbox.words_wait(key);
        View { node: &node, records: &records, entry, server: self.server, words_wait: &words_wait }.plan(target, mode)
    }

    async fn propose_all(&self, target: &Target, commands: Vec<Command>) -> Result<(), ProposeError> {
        for command in commands {
            let applied = self.proposer.propose(command).await?;
            self.written.fetch_max(applied.index, Ordering::AcqRel);
            match applied.outcome {
                Ok(()) => tracing::info!(target: "agent", "Synced {}", describe(target)),
                Err(refusal) => {
                    tracing::warn!(target: "agent", error = %refusal, "The catalog refused {}", describe(target));
                }
            }
        }
        Ok(())
    }

    /// Has the changes of a target follow one another.
    pub(super) async fn lock(&self, target: &Target) -> MutexGuard<'_, ()> {
        #[expect(clippy::indexing_slicing, reason = "the position is a remainder of the number of locks")]
        self.locks[lock_of(target)].lock().await
    }

    /// The same for several: always in one order, so that two who do cannot wait for each other.
    async fn lock_all(&self, targets: &BTreeSet<Target>) -> Vec<MutexGuard<'_, ()>> {
        let positions: BTreeSet<usize> = targets.iter().map(lock_of).collect();
        let mut guards = Vec::with_capacity(positions.len());
        for lock in positions.into_iter().filter_map(|position| self.locks.get(position)) {
            guards.push(lock.lock().await);
        }
        guards
    }

    /// Tells the catalog what is known of these checks now, in one command. Without a leader that fails at once: meanwhile
    /// no registration of these services would go on, and what is known then is told later.
    pub(super) async fn push_results(&self, keys: &[String]) -> Result<(), ProposeError> {
        let records = self.records.load();
        let targets: BTreeSet<Target> = keys.iter().filter_map(|key| records.target_of_check(key)).collect();
        let locks = self.lock_all(&targets).await;
        let records = self.records.load_full();
        let checks: Vec<Check> = keys
            .iter()
            // A check that went elsewhere meanwhile was told by whoever moved it.
            .filter(|key| records.target_of_check(key).is_some_and(|target| targets.contains(&target)))
            .filter_map(|key| Some((**records.check(key)?).clone()))
            .collect();
        if checks.is_empty() {
            return Ok(());
        }
        let told: Vec<String> = checks.iter().map(|check| check.id.clone()).collect();
        let node = self.node.load().registration();
        let command = Command::Register(Registration { skip_node_update: true, checks, ..node });
        let applied = self.proposer.try_propose(command).await?;
        self.written.fetch_max(applied.index, Ordering::AcqRel);
        match applied.outcome {
            Ok(()) => {
                for id in told {
                    tracing::debug!(target: "agent", "Synced check: check={id}");
                }
                Ok(())
            }
            // The catalog lost the service, or has not got it yet: it is registered whole.
            Err(refusal) => {
                tracing::debug!(target: "agent", error = %refusal, "The catalog refused results of checks");
                drop(locks);
                self.push(targets.into_iter().collect(), Mode::Compare).await
            }
        }
    }
}

fn lock_of(target: &Target) -> usize {
    let key = match target {
        Target::Node => "",
        Target::Service(key) | Target::Check(key) => key,
    };
    crc32fast::hash(key.as_bytes()) as usize % LOCKS
}

fn describe(target: &Target) -> String {
    match target {
        Target::Node => "node info".to_owned(),
        Target::Service(id) => format!("service: service={id}"),
        Target::Check(id) => format!("check: check={id}"),
    }
}

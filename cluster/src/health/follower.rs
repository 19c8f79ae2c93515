//! The task that keeps checks true which follow others: here through what this agent shows, on other nodes through the
//! catalog, which is asked to keep them at hand. What cannot be known now stays as it was.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use imbl::ordmap::DiffItem;
use tokio::task::AbortHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Shared, alias};
use crate::{
    catalog::{Catalog, Interest, Topic},
    local::{Specs, definition::CheckSpec, fold},
};

/// How soon the checks followed here are looked at again, at most: many change at once.
const PAUSE: Duration = Duration::from_millis(10);
/// How long until a catalog that could not be asked is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Runs until `stop`.
pub(super) async fn run(shared: Arc<Shared>, tasks: TaskTracker, stop: CancellationToken) {
    let follower = Follower { shared, tasks, seen: Specs::new(), here: BTreeMap::new(), elsewhere: BTreeMap::new() };
    stop.run_until_cancelled_owned(follower.run()).await;
}

struct Follower {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    /// Which checks this task knows of.
    seen: Specs,
    /// Those that follow what is here.
    here: BTreeMap<String, Arc<CheckSpec>>,
    /// Those that follow another node, each with a task of its own.
    elsewhere: BTreeMap<String, AbortHandle>,
}

impl Follower {
    async fn run(mut self) {
        let mut specs = self.shared.local.specs();
        let mut shown = self.shared.local.versions();
        loop {
            let now = specs.borrow_and_update().clone();
            self.take_in(now);
            shown.mark_unchanged();
            self.look_here();
            // The senders live as long as the agent does.
            let ended = tokio::select! {
                changed = specs.changed() => changed.is_err(),
                changed = shown.changed(), if !self.here.is_empty() => changed.is_err(),
            };
            if ended {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn take_in(&mut self, now: Specs) {
        let before = std::mem::replace(&mut self.seen, now.clone());
        for item in before.diff(&now) {
            match item {
                DiffItem::Add(key, spec) | DiffItem::Update { new: (key, spec), .. } => {
                    self.remove(key);
                    self.add(key, spec);
                }
                DiffItem::Remove(key, _) => self.remove(key),
            }
        }
    }

    fn add(&mut self, key: &str, spec: &Arc<CheckSpec>) {
        if spec.kind() != alias::KIND {
            return;
        }
        if alias::is_local(spec, &self.shared.local.node_name()) {
            self.here.insert(key.to_owned(), spec.clone());
            return;
        }
        let task = self.tasks.spawn(follow(self.shared.clone(), key.to_owned(), spec.clone()));
        self.elsewhere.insert(key.to_owned(), task.abort_handle());
    }

    fn remove(&mut self, key: &str) {
        self.here.remove(key);
        if let Some(task) = self.elsewhere.remove(key) {
            task.abort();
        }
    }

    fn look_here(&self) {
        if self.here.is_empty() {
            return;
        }
        let (table, own) = (self.shared.local.table(), self.shared.local.node_name());
        let node = table.node_checks();
        for (key, spec) in &self.here {
            let outcome = alias::local(&table, &node, key, spec, &own);
            self.shared.submit(&mut self.shared.tables.lock(), key, spec, outcome);
        }
    }
}

/// Tasks that follow other nodes end with the one that began them.
impl Drop for Follower {
    fn drop(&mut self) {
        self.elsewhere.values().for_each(AbortHandle::abort);
    }
}

/// Follows what is on another node.
async fn follow(shared: Arc<Shared>, key: String, spec: Arc<CheckSpec>) {
    let node = fold(&spec.alias_node);
    let catalog = shared.local.catalog().clone();
    let _lease = hold(&catalog, &node).await;
    let mut watch = catalog.watch(Topic::Node(Arc::from(node.as_str())));
    loop {
        let state = catalog.state();
        let outcome = alias::remote(state.node_entry(&node).map(AsRef::as_ref), &spec);
        drop(state);
        shared.submit(&mut shared.tables.lock(), &key, &spec, outcome);
        watch.changed().await;
    }
}

/// Has a catalog that keeps only parts keep this node; one that keeps all of it may not be filled yet.
async fn hold(catalog: &Catalog, node: &str) -> Option<crate::catalog::Lease> {
    loop {
        let Some(source) = catalog.source() else {
            catalog.reached(1).await;
            return None;
        };
        match source.want(Interest::node(node)).await {
            Ok(lease) => return Some(lease),
            Err(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}

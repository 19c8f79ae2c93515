//! Who waits for what: wakes exactly the readers of what a change touched.
//!
//! ```text
//!   apply ─► Changes (topics of a batch) ─► Watchers::wake ─► the Watches of those topics
//! ```
//!
//! A topic is in the registry only while someone watches it: the first watch puts it there, the last one dropped
//! takes it away. So the registry is as large as the number of watches alive, which their callers limit. A watch
//! remembers the generation its topic was at when it began; whatever bumps it afterwards is seen, awaited or not.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    key::{Key, fold},
    model::Status,
};

/// Locks the registry is split into, so that readers who come and go do not meet at one.
const SHARDS: usize = 32;

/// What a reader can wait for. Names are compared without regard to ASCII case. [`super::query`] says which query
/// pairs with which.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The list of nodes, or any node's own data.
    Nodes,
    /// One node: itself, its instances, its checks.
    Node(Arc<str>),
    /// One node and its instances, but not its checks.
    NodeServices(Arc<str>),
    /// The checks of one node and of its instances.
    NodeChecks(Arc<str>),
    /// The list of service names and their tags.
    Services,
    /// Which services run on nodes with which metadata, and their tags.
    ServicesByNodeMeta,
    /// The instances of one service, with their nodes and health.
    Service(Arc<str>),
    /// The checks of one service's instances, without those of their nodes.
    ServiceChecks(Arc<str>),
    /// The names of the nodes and instances that have an address.
    Address(IpAddr),
    /// Any check.
    Checks,
    /// The checks in a status; the registrants' own texts are one.
    ChecksInState(Status),
}

impl Topic {
    /// The form under which equal topics are equal values.
    fn folded(self) -> Self {
        let name = |name: Arc<str>| match fold(&name) {
            std::borrow::Cow::Borrowed(_) => name,
            std::borrow::Cow::Owned(folded) => Key::from(folded),
        };
        match self {
            Self::Node(node) => Self::Node(name(node)),
            Self::NodeServices(node) => Self::NodeServices(name(node)),
            Self::NodeChecks(node) => Self::NodeChecks(name(node)),
            Self::Service(service) => Self::Service(name(service)),
            Self::ServiceChecks(service) => Self::ServiceChecks(name(service)),
            Self::ChecksInState(Status::Other(_)) => Self::ChecksInState(Status::Other(String::new())),
            other => other,
        }
    }
}

/// The topics a batch of commands touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    topics: HashSet<Topic>,
    everything: bool,
}

impl Changes {
    /// Every topic there is: the state was replaced as a whole (a snapshot was installed).
    pub fn everything() -> Self {
        Self { topics: HashSet::new(), everything: true }
    }

    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.topics.is_empty()
    }

    /// Whether `topic` was touched.
    pub fn contains(&self, topic: &Topic) -> bool {
        self.everything || self.topics.contains(&topic.clone().folded())
    }

    /// Adds a topic, whose name must be folded.
    pub(super) fn add(&mut self, topic: Topic) {
        self.topics.insert(topic);
    }

    /// Adds the topic of the checks in a status.
    pub(super) fn add_state(&mut self, status: &Status) {
        self.topics.insert(Topic::ChecksInState(status.clone()).folded());
    }
}

/// A started watch: resolves once its topic was touched after it began.
#[derive(Debug)]
pub struct Watch {
    topic: Topic,
    slot: Arc<Slot>,
    shard: Arc<Shard>,
    seen: u64,
}

impl Watch {
    /// Waits for the next change of the topic: returns at once if there was one since the watch began or since the
    /// last return. Several changes may be told as one. May be dropped and called again without losing any.
    pub async fn changed(&mut self) {
        loop {
            // Made before the generation is read: from here on it hears of changes, polled or not.
            let notified = self.slot.notify.notified();
            let generation = self.slot.generation.load(Ordering::Acquire);
            if generation != self.seen {
                self.seen = generation;
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut slots = self.shard.lock();
        let Some((_, watches)) = slots.get_mut(&self.topic) else { return };
        *watches -= 1;
        if *watches == 0 {
            slots.remove(&self.topic);
        }
    }
}

/// What the watches of one topic share.
#[derive(Debug, Default)]
struct Slot {
    generation: AtomicU64,
    notify: Notify,
}

/// Topics with how many watches they have.
type Shard = Mutex<HashMap<Topic, (Arc<Slot>, usize)>>;

/// The registry.
#[derive(Debug)]
pub(super) struct Watchers {
    shards: Vec<Arc<Shard>>,
    hasher: RandomState,
}

impl Default for Watchers {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Arc::default()).collect(), hasher: RandomState::new() }
    }
}

impl Watchers {
    pub(super) fn watch(&self, topic: Topic) -> Watch {
        let topic = topic.folded();
        let shard = self.shard(&topic).clone();
        let mut slots = shard.lock();
        let (slot, watches) = slots.entry(topic.clone()).or_default();
        *watches += 1;
        let slot = slot.clone();
        drop(slots);
        let seen = slot.generation.load(Ordering::Acquire);
        Watch { topic, slot, shard, seen }
    }

    pub(super) fn wake(&self, changes: Changes) {
        if changes.everything {
            return self.wake_all();
        }
        for topic in &changes.topics {
            let slot = self.shard(topic).lock().get(topic).map(|(slot, _)| slot.clone());
            if let Some(slot) = slot {
                slot.bump();
            }
        }
    }

    /// How many topics are watched.
    #[cfg(test)]
    pub(super) fn topics(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn wake_all(&self) {
        for shard in &self.shards {
            let slots: Vec<_> = shard.lock().values().map(|(slot, _)| slot.clone()).collect();
            slots.iter().for_each(|slot| slot.bump());
        }
    }

    fn shard(&self, topic: &Topic) -> &Arc<Shard> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let place = self.hasher.hash_one(topic) as usize % SHARDS;
        #[expect(clippy::indexing_slicing, reason = "there are SHARDS of them")]
        &self.shards[place]
    }
}

impl Slot {
    fn bump(&self) {
        self.generation.fetch_add(1, Ordering::Release);
        self.notify.notify_waiters();
    }
}

//! Who waits for what: wakes exactly the readers of what a change touched.

use std::sync::Arc;

/// What a reader can wait for. Names are compared without regard to ASCII case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The list of nodes, or any node's own data.
    Nodes,
    /// The list of service names and their tags.
    Services,
    /// One node: itself, its instances, its checks.
    Node(Arc<str>),
    /// The instances of one service, with their nodes and health.
    Service(Arc<str>),
    /// Any check (lists by status).
    Checks,
}

/// The topics a batch of commands touched.
#[derive(Debug, Default)]
pub struct Changes {
    _topics: std::collections::HashSet<Topic>,
}

/// A started watch: resolves once its topic was touched after it began.
pub struct Watch {}

impl Watch {
    /// Waits for the next change of the topic.
    pub async fn changed(&mut self) {
        unimplemented!()
    }
}

#[derive(Default)]
pub(super) struct Watchers {}

impl Watchers {
    pub(super) fn watch(&self, _topic: Topic) -> Watch {
        unimplemented!()
    }
    pub(super) fn wake(&self, _changes: Changes) {
        unimplemented!()
    }
}

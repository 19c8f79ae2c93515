//! When this server last heard of its leader. Openraft counts that too, but does not tell.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The moment. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Contact(Arc<Mutex<Option<Instant>>>);

impl Contact {
    /// The leader was heard of now.
    pub(super) fn heard(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// How long ago that was; `None` if it never was.
    pub(super) fn age(&self) -> Option<Duration> {
        self.0.lock().map(|moment| moment.elapsed())
    }
}

//! Why consensus had to stop, told once: by whichever part saw it first, to whoever waits for it.

use tokio::sync::watch;

/// A place for the one reason. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Failure(watch::Sender<Option<String>>);

impl Failure {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Notes a reason, unless there is one already.
    pub(super) fn note(&self, reason: &str) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                tracing::error!(target: "agent.server.raft", "consensus cannot go on: {reason}");
                *first = Some(reason.to_owned());
            }
            is_first
        });
    }

    /// The reason, if there is one.
    pub(super) fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits for a reason.
    pub(super) async fn wait(&self) -> String {
        let mut receiver = self.0.subscribe();
        loop {
            if let Some(reason) = receiver.borrow_and_update().clone() {
                return reason;
            }
            // The sender is `self`, so this cannot fail while it is waited for.
            if receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

//! The task that tells the catalog what was found: everything that is due in one command, one command at a time.
//!
//! While no leader is in reach it keeps trying; what changes meanwhile is told as it is then.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Local, outbox::Outbox, records::Noted};
use crate::raft::ProposeError;

/// Checks told in one command.
const BATCH_MAX: usize = 256;
/// The first and the longest pause after a command that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The outbox as its users share it.
pub(super) struct Telling {
    outbox: Mutex<Outbox>,
    changed: Notify,
}

impl Telling {
    pub(super) fn new(update_interval: Duration) -> Self {
        Self { outbox: Mutex::new(Outbox::new(update_interval)), changed: Notify::new() }
    }

    /// Notes what is to be told.
    pub(super) fn note(&self, all: Vec<Noted>) {
        if all.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut outbox = self.outbox.lock();
        for noted in all {
            outbox.note(noted, now, rand::random());
        }
        drop(outbox);
        self.changed.notify_one();
    }

    /// Forgets everything that waits.
    pub(super) fn forget(&self) {
        self.outbox.lock().clear();
    }

    /// Whether only words of this check wait.
    pub(super) fn words_wait(&self, key: &str) -> bool {
        self.outbox.lock().words_wait(key)
    }
}

/// Runs until `stop`.
pub(crate) async fn run(local: Arc<Local>, stop: CancellationToken) {
    let telling = local.outbox.clone();
    let mut pause = FIRST_PAUSE;
    loop {
        let next = telling.outbox.lock().next();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = telling.changed.notified() => {}
            () = due => {}
        }
        let keys = telling.outbox.lock().take(Instant::now(), BATCH_MAX);
        if keys.is_empty() {
            continue;
        }
        let pushed = tokio::select! {
            () = stop.cancelled() => return,
            pushed = local.push_results(&keys) => pushed,
        };
        match pushed {
            Ok(()) => pause = FIRST_PAUSE,
            Err(ProposeError::Stopped(_)) => return,
            Err(error) => {
                // The first says it; the others would fill the log for as long as there is no leader.
                if pause == FIRST_PAUSE {
                    tracing::warn!(target: "agent", %error, "Results of {} checks will be synchronised later", keys.len());
                }
                telling.outbox.lock().retry(keys, Instant::now() + pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

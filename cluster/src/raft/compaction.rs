//! Keeps a log of large entries small: openraft counts entries, this counts bytes.
//!
//! Ten thousand entries kept behind a snapshot are three megabytes of registrations, but could be gigabytes of large
//! values. When what was appended comes to more than the limit a snapshot is taken early, and of the entries before it
//! only half the limit's bytes are kept.

use openraft::async_runtime::watch::WatchReceiver as _;

use super::{Raft, log_store::Tail};

/// Bytes of entries between snapshots, on disk.
pub(super) const DISK_BYTES: u64 = 64 * 1024 * 1024;
/// The same in memory, where the log is part of what the process takes.
pub(super) const MEMORY_BYTES: u64 = 8 * 1024 * 1024;

/// Runs until consensus stops.
pub(super) async fn run(raft: Raft, tail: std::sync::Arc<Tail>) {
    let mut metrics = raft.metrics();
    loop {
        tokio::select! {
            () = tail.oversized() => {}
            ended = stopped(&mut metrics) => return ended,
        }
        if compact(&raft, &tail).await.is_none() {
            return;
        }
    }
}

/// Takes a snapshot and drops what is too much before it; `None` when consensus has stopped.
async fn compact(raft: &Raft, tail: &Tail) -> Option<()> {
    super::take_snapshot(raft).await?;
    let snapshot = super::current(&mut raft.metrics()).snapshot?;
    if let Some(excess) = tail.excess() {
        raft.trigger().purge_log(excess.min(snapshot.index)).await.ok()?;
    }
    Some(())
}

async fn stopped(metrics: &mut super::Metrics) {
    while super::current(metrics).running_state.is_ok() {
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

//! The task that compares everything with the catalog: at the start, when asked (a leader was found, a push failed), when
//! this node was made anew there, and from time to time.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Local, sync::next_comparison};
use crate::{catalog::Watch, raft::ProposeError};

/// How long after its start a server compares for the first time.
const FIRST: Duration = Duration::from_secs(1);
/// How long after its node was made anew an agent compares, at most: all do that at once where a cluster forms.
const SPREAD: Duration = Duration::from_secs(1);

/// Runs until `stop`. `members` says how many agents there are, `random` gives numbers in 0..1.
pub(crate) async fn run(
    local: Arc<Local>,
    members: impl Fn() -> usize,
    mut random: impl FnMut() -> f64,
    stop: CancellationToken,
) {
    let mut failures = 0;
    let mut watch = local.watch_own_services();
    let mut seen = local.own_node_made();
    // What was kept or declared goes to the catalog at once; a server's leader is found first, and asks for it itself.
    let mut first = Some(if local.is_server() { FIRST } else { Duration::ZERO });
    loop {
        let pause = first.take().unwrap_or_else(|| next_comparison(members(), failures, random()));
        tokio::select! {
            () = stop.cancelled() => return,
            () = local.compare.notified() => {}
            () = made_anew(&local, &mut watch, &mut seen) => {
                let spread = SPREAD.mul_f64(random().clamp(0.0, 1.0));
                if stop.run_until_cancelled(tokio::time::sleep(spread)).await.is_none() {
                    return;
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
        let compared = tokio::select! {
            () = stop.cancelled() => return,
            compared = local.compare_all() => compared,
        };
        match compared {
            Ok(()) => failures = 0,
            Err(ProposeError::Stopped(_)) => return,
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!(target: "agent", error = %error, "Cannot synchronise with the catalog yet");
            }
        }
    }
}

/// Waits until the catalog has this node as it was not `seen` before. It was removed then, because the agent had left or
/// was taken to have, and with it what is registered here; the leader knows and writes the node alone. A server that was
/// away may have found everything in order in the old catalog it began with.
async fn made_anew(local: &Local, watch: &mut Watch, seen: &mut Option<u64>) {
    loop {
        let made = local.own_node_made();
        if made.is_some() && made != *seen {
            *seen = made;
            return;
        }
        watch.changed().await;
    }
}

//! The task that compares everything with the catalog: at the start, when asked (a leader was found, a push failed), and
//! from time to time.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Local, sync::next_comparison};
use crate::raft::ProposeError;

/// How long after its start a server compares for the first time.
const FIRST: Duration = Duration::from_secs(1);

/// Runs until `stop`. `members` says how many agents there are, `random` gives numbers in 0..1.
pub(crate) async fn run(
    local: Arc<Local>,
    members: impl Fn() -> usize,
    mut random: impl FnMut() -> f64,
    stop: CancellationToken,
) {
    let mut failures = 0;
    // What was kept or declared goes to the catalog at once; a server's leader is found first, and asks for it itself.
    let mut first = Some(if local.is_server() { FIRST } else { Duration::ZERO });
    loop {
        let pause = first.take().unwrap_or_else(|| next_comparison(members(), failures, random()));
        tokio::select! {
            () = stop.cancelled() => return,
            () = local.compare.notified() => {}
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
